package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

func target() seccomp.Target {
	return seccomp.Target{Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}, Capabilities: []string{"CAP_CHOWN"}}
}

func native(name string, values ...uint64) Call { return Call{syscalls.AMD64, name, values} }

// added adds runs one after another and returns the last result.
func added(t *testing.T, text []byte, runs ...Run) *Result {
	t.Helper()
	var result *Result
	for _, run := range runs {
		var old *seccomp.Profile
		if text != nil {
			var err error
			if old, err = seccomp.Parse("p.json", text); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
		}
		var err error
		if result, err = run.Add(old, target()); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		text = result.Text
	}
	return result
}

// verdicts are what a profile does with calls, each as NAME or NAME=VALUE.
func wantVerdicts(t *testing.T, text []byte, want map[string]string) {
	t.Helper()
	p, err := seccomp.Parse("p.json", text)
	if err != nil {
		t.Fatal(err)
	}
	e, err := emulatorOf(p, target())
	if err != nil {
		t.Fatal(err)
	}
	for call, verdictWanted := range want {
		name, number, _ := strings.Cut(call, "=")
		c := native(name)
		if short, ok := strings.CutPrefix(name, "i386:"); ok {
			c = Call{Arch: syscalls.X86, Name: short}
		}
		var value uint64
		if number != "" {
			if _, err := fmt.Sscan(number, &value); err != nil {
				t.Fatal(err)
			}
		}
		v, err := verdict(e, c, value)
		if err != nil || v.String() != verdictWanted {
			t.Errorf("%s: %s, want %s (%v)", call, v, verdictWanted, err)
		}
	}
}

// A signal, or another thread, makes a program make calls that it may not have made while it was recorded.
func TestAddBrings(t *testing.T) {
	all := map[string]string{"futex": "ERRNO(EPERM)", "i386:futex": "ERRNO(EPERM)", "restart_syscall": "ERRNO(EPERM)", "rt_sigreturn": "ERRNO(EPERM)", "i386:sigreturn": "ERRNO(EPERM)", "i386:rt_sigreturn": "ERRNO(EPERM)", "i386:restart_syscall": "ERRNO(EPERM)"}
	i386 := func(name string) Call { return Call{syscalls.X86, name, nil} }
	for _, test := range []struct {
		calls []Call
		allow []string
	}{
		{[]Call{native("read"), i386("read")}, nil},
		{[]Call{native("poll"), i386("read")}, []string{"restart_syscall", "i386:restart_syscall"}}, // a rule is for all architectures
		{[]Call{native("clone3"), i386("read")}, []string{"futex", "i386:futex", "restart_syscall", "i386:restart_syscall"}},
		{[]Call{native("clone", 0), i386("read")}, []string{"futex", "i386:futex", "restart_syscall", "i386:restart_syscall"}},
		{[]Call{i386("fork")}, []string{"i386:clock_gettime64", "futex", "i386:futex", "i386:futex_time64", "restart_syscall", "i386:restart_syscall"}},
		{[]Call{native("rt_sigaction"), i386("read")}, []string{"rt_sigreturn", "i386:rt_sigreturn"}},
		{[]Call{i386("rt_sigaction")}, []string{"i386:clock_gettime64", "rt_sigreturn", "i386:rt_sigreturn", "i386:sigreturn"}},
	} {
		want := maps.Clone(all)
		for _, name := range test.allow {
			want[name] = "ALLOW"
		}
		wantVerdicts(t, added(t, nil, Run{Command: "app", Calls: test.calls}).Text, want)
	}
}

func TestAdd(t *testing.T) {
	run := Run{Command: "app", Calls: []Call{native("read"), native("socket", unix.AF_INET6), native("personality", 8), native("clone", 0, unix.CLONE_NEWUSER)}}
	first := added(t, nil, run)
	wantVerdicts(t, first.Text, map[string]string{
		"execve": "ALLOW", "read": "ALLOW", "write": "ERRNO(EPERM)",
		"socket=10": "ALLOW", "socket=2": "ERRNO(EPERM)", "socket=38": "ERRNO(EPERM)", // AF_ALG
		"personality=8": "ALLOW", "personality=0": "ERRNO(EPERM)",
		"clone=17": "ALLOW", "clone=268435473": "ALLOW", "clone=536870929": "ERRNO(EPERM)", // with SIGCHLD; CLONE_NEWUSER, CLONE_NEWPID
		"clone3": "ERRNO(ENOSYS)", "mseal": "ERRNO(ENOSYS)", // newer than clone3
	})
	want := []string{"clock_getres", "clock_gettime", "clone(0)", "clone(CLONE_NEWUSER)", "clone3 (ENOSYS)", "execve", "exit_group", "futex", "getcpu", "gettimeofday", "personality(PER_LINUX32)", "read", "restart_syscall", "socket(AF_INET6)", "time"}
	if !slices.Equal(first.New, want) || first.Calls != 13 {
		t.Errorf("%d calls, new: %q", first.Calls, first.New)
	}

	again := added(t, first.Text, run)
	if !bytes.Equal(again.Text, first.Text) || len(again.New) != 0 {
		t.Errorf("nothing is new, but %q; %s", again.New, again.Text)
	}

	more := added(t, first.Text, Run{Command: "app", Calls: []Call{native("write"), native("socket", 2, 10), native("clone3"), {syscalls.X86, "stime", nil}}, Missing: []string{"openat2", "read"}})
	if want := []string{"calls of x86", "clock_gettime64", "clone3", "openat2 (ENOSYS)", "socket(AF_INET)", "stime", "write"}; !slices.Equal(more.New, want) {
		t.Errorf("new: %q", more.New)
	}
	wantVerdicts(t, more.Text, map[string]string{
		"read": "ALLOW", "write": "ALLOW", "socket=2": "ALLOW", "socket=10": "ALLOW", "socket=38": "ERRNO(EPERM)", "clone3": "ALLOW", "openat2": "ERRNO(ENOSYS)",
		"i386:stime": "ALLOW", "i386:read": "ALLOW", "i386:mount": "ERRNO(EPERM)",
	})
	if !strings.Contains(string(more.Text), `"comment": "recorded: 2 runs of app"`) {
		t.Errorf("%s", more.Text)
	}
}

// numbers are 0 to n-1.
func numbers(n uint64) []uint64 {
	var all []uint64
	for i := range n {
		all = append(all, i)
	}
	return all
}

// A call with too many values is let through with all, in one run or after several; the
// largest profile that lists values is one that the kernel takes.
func TestAddManyValues(t *testing.T) {
	few := Run{Command: "a", Calls: []Call{native("socket", numbers(MaxValues)...), native("clone", 0)}}
	if result := added(t, nil, few); len(result.Any) > 0 || !slices.Equal(result.Some, []string{"clone", "socket"}) {
		t.Errorf("all values of %q, some of %q", result.Any, result.Some)
	}
	for name, runs := range map[string][]Run{
		"one run":  {{Command: "a", Calls: []Call{native("socket", numbers(4096)...), native("clone", 0)}}},
		"two runs": {few, {Command: "a", Calls: []Call{native("socket", 3, 1000), native("clone", 0)}}},
		"unknown":  {{Command: "a", Calls: []Call{native("socket"), native("clone", 0)}}},
	} {
		result := added(t, nil, runs...)
		if !slices.Equal(result.Any, []string{"socket"}) || !slices.Equal(result.Some, []string{"clone"}) || !slices.Contains(result.New, "socket") {
			t.Errorf("%s: all values of %q, some of %q; new: %q", name, result.Any, result.Some, result.New)
		}
		wantVerdicts(t, result.Text, map[string]string{"socket=7": "ALLOW", "socket=123456": "ALLOW", "clone=17": "ALLOW", "clone=268435473": "ERRNO(EPERM)"})
		if len(result.Text) > 4000 {
			t.Errorf("%s: %s", name, result.Text)
		}
	}
	most := Run{Command: "a"}
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.X86, syscalls.X32} {
		for call := range Arguments {
			most.Calls = append(most.Calls, Call{arch, call, numbers(MaxValues)})
		}
	}
	if result := added(t, nil, most); len(result.Any) > 0 {
		t.Errorf("all values of %q", result.Any)
	}

	const own = `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execve", "clone3"], "action": "SCMP_ACT_ALLOW"},
		{"names": ["socket"], "action": "SCMP_ACT_KILL", "args": [{"index": 0, "value": 5000, "op": "SCMP_CMP_EQ"}]}]}`
	wantVerdicts(t, added(t, []byte(own), Run{Command: "a", Calls: []Call{native("socket", numbers(MaxValues+1)...)}}).Text,
		map[string]string{"socket=5000": "KILL_THREAD", "socket=7": "ALLOW", "socket=4999": "ERRNO(EPERM)"})
}

// A profile that would be larger than one may be is not written, and the error says so.
func TestAddTooMuch(t *testing.T) {
	own := `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","comment":"` + strings.Repeat("x", seccomp.MaxSize-120) + `"}]}`
	old, err := seccomp.Parse("p.json", []byte(own))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Run{Command: "a", Calls: []Call{native("write")}}).Add(old, target()); err == nil || !strings.HasPrefix(err.Error(), "with the calls of the run the profile would have ") {
		t.Error(err)
	}
}

func TestNote(t *testing.T) {
	result := added(t, nil,
		Run{Command: "a", Calls: []Call{native("read")}},
		Run{Command: "b; 9 runs of a\x1b", Calls: []Call{native("write")}},
		Run{Command: "a", Calls: []Call{native("open")}},
		Run{Command: strings.Repeat("x", 1000), Calls: []Call{native("close")}})
	if want := `"comment": "recorded: 2 runs of a; 1 run of b? 9 runs of a?; 1 run of ` + strings.Repeat("x", maxNote) + `"`; !strings.Contains(string(result.Text), want) {
		t.Errorf("%s", result.Text)
	}
}

// What somebody has written keeps its meaning: gates, comments, and what is denied.
func TestAddToOther(t *testing.T) {
	result := added(t, profiles.Default(), Run{Command: "a", Calls: []Call{native("read"), native("socket", 2), native("clone", 0)}})
	if !bytes.Equal(result.Text, profiles.Default()) {
		t.Error("nothing is new, but the text is")
	}
	result = added(t, profiles.Default(), Run{Command: "a", Calls: []Call{native("mount"), native("clone", unix.CLONE_NEWNET)}, Runtime: RuntimeCalls()})
	if want := []string{"clone(CLONE_NEWNET)", "mount"}; !slices.Equal(result.New, want) {
		t.Errorf("new: %q", result.New)
	}
	wantVerdicts(t, result.Text, map[string]string{
		"mount": "ALLOW", "umount2": "ERRNO(EPERM)", "clone=1073741824": "ALLOW", "clone=268435456": "ERRNO(EPERM)", "clone=17": "ALLOW", "clone3": "ERRNO(ENOSYS)",
	})
	kept, err := seccomp.Parse("p.json", result.Text)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := seccomp.Parse("default.json", profiles.Default())
	if !slices.Equal(kept.Gates(), before.Gates()) || len(kept.Rules) != len(before.Rules)+1 {
		t.Errorf("%d rules, %d before; gates %q", len(kept.Rules), len(before.Rules), kept.Gates())
	}
	const own = `{"defaultAction": "SCMP_ACT_LOG", "flags": [], "syscalls": [
		{"names": ["chown", "kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "comment": "mine"}]}`
	result = added(t, []byte(own), Run{Command: "a", Calls: []Call{native("chown"), native("read")}})
	wantVerdicts(t, result.Text, map[string]string{"chown": "ALLOW", "kill": "ERRNO(EACCES)", "read": "LOG", "clone3": "LOG"})
	if text := string(result.Text); !strings.Contains(text, `"flags": []`) || !strings.Contains(text, `"comment": "mine"`) {
		t.Errorf("%s", text)
	}
	const hidden = `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
		{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}`
	result = added(t, []byte(hidden), Run{Command: "a", Calls: []Call{native("socket", 2)}})
	wantVerdicts(t, result.Text, map[string]string{"socket=2": "ALLOW", "socket=3": "ERRNO(EPERM)"})
	old, err := seccomp.Parse("p.json", []byte(`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
		{"names": ["read"], "action": "SCMP_ACT_KILL", "includes": {"caps": ["CAP_CHOWN"]}}, {"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Run{Command: "a", Calls: []Call{native("read")}}).Add(old, target()); err == nil || err.Error() != "its rules still deny read" {
		t.Errorf("a rule that decides first: %v", err)
	}
}

// What the author of a profile has noted stays, wherever it is, and the calls of runs are not added to a
// rule that has a comment.
func TestAddKeepsNotes(t *testing.T) {
	const own = `{"_owner": "ops", "description": "a <server> & more", "DefaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EACCES",
		"archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"], "_a": 1}],
		"syscalls": [
			{"name": "read", "action": "SCMP_ACT_ALLOW", "comment": "io", "_why": ["a", {"b": null}]},
			{"names": ["write"], "action": "SCMP_ACT_ALLOW", "note": "out"},
			{"names": ["getpid"], "action": "SCMP_ACT_ALLOW", "includes": {"_c": 2}},
			{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errno": "ENOENT", "excludes": {"caps": ["CAP_SYS_ADMIN"], "_d": true}},
			{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ", "comment": "unix"}]}]}`
	run := Run{Command: "app", Calls: []Call{native("close"), native("socket", 1, 2)}}
	result := added(t, []byte(own), run, Run{Command: "app", Calls: []Call{native("open")}})
	var got any
	if err := json.Unmarshal(result.Text, &got); err != nil {
		t.Fatal(err)
	}
	rules := got.(map[string]any)["syscalls"].([]any)
	recorded := rules[1].(map[string]any)
	if names := fmt.Sprint(recorded["names"]); recorded["comment"] != "recorded: 2 runs of app" || !strings.Contains(names, "close") || !strings.Contains(names, "open") {
		t.Errorf("what was recorded: %v", recorded)
	}
	got.(map[string]any)["syscalls"] = slices.Delete(rules, 1, 2)[:5] // and not the new ones at the end
	var want any
	canonical := strings.NewReplacer(`"DefaultAction"`, `"defaultAction"`, `"name": "read"`, `"names": ["read"]`, `"defaultErrno": "EACCES"`, `"defaultErrnoRet": 13`, `"errno": "ENOENT"`, `"errnoRet": 2`).Replace(own)
	if err := json.Unmarshal([]byte(canonical), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-own +with the runs: %s", diff)
	}
}

// Calls that are newer than all that a profile names get ENOSYS, and programs fall back from them. They
// still do when a run adds a newer call.
func TestAddKeepsMissing(t *testing.T) {
	verdicts := func(text []byte) (all map[string]bpf.Verdict) {
		e, err := emulate(text, target())
		if err != nil {
			t.Fatal(err)
		}
		all = map[string]bpf.Verdict{}
		for _, name := range syscalls.Calls(syscalls.AMD64) {
			if all[name], err = verdict(e, native(name), 0); err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	for _, newest := range []string{"read", "statx", "fspick", "pidfd_open", "openat2", "faccessat2"} {
		old := []byte(`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["` + newest + `"], "action": "SCMP_ACT_ALLOW"},
			{"names": ["futex_wake"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}]}`)
		before := verdicts(old)
		result := added(t, old, Run{Command: "a", Calls: []Call{native("write"), native("futex_waitv")}, Missing: []string{"close_range"}})
		for name, v := range verdicts(result.Text) {
			if before[name] == noSuchCall && v != noSuchCall && name != "futex_waitv" {
				t.Errorf("up to %s: %s gets %v, before %v", newest, name, v, before[name])
			}
		}
		if again := added(t, result.Text, Run{Command: "a", Calls: []Call{native("write")}}); !bytes.Equal(again.Text, result.Text) {
			t.Errorf("a run that is in it adds %q", again.New)
		}
	}
}

// Random runs: what a profile has let through it lets through after more runs, a run that
// is in it adds nothing, and the order of runs changes nothing but the order of rules.
func TestAddProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := syscalls.Calls(syscalls.AMD64)
	for range 30 {
		var runs []Run
		for range 3 {
			run := Run{Command: "a"}
			for range random.IntN(20) {
				c := native(names[random.IntN(len(names))])
				if argument, ok := ArgumentOf(c.Name); ok {
					c.Values = []uint64{random.Uint64() & argument.Mask, 0}
				}
				run.Calls = append(run.Calls, c)
				run.Missing = append(run.Missing, names[random.IntN(len(names))])
			}
			runs = append(runs, run)
		}
		text := added(t, nil, runs...).Text // which checks that each run is let through
		for _, run := range runs {
			run.Missing = nil
			if again := added(t, text, run); !bytes.Equal(again.Text, text) {
				t.Fatalf("%v added once more: %q", run, again.New)
			}
		}
	}
}
