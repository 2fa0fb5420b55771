package seccomp_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/internal/bpftest"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// editable are the calls of randomEditable and two that it never names.
var editable = []string{"read", "chown", "lchown", "mseal", "personality", "futex_requeue", "clone3", "chroot", "mount", "getpid"}

// randomEditable returns a profile with calls in several rules, with and without arguments
// and gates, in one of several usual layouts.
func randomEditable(r *rand.Rand) string {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	var rules []string
	for i := range r.IntN(7) {
		action := pick("ALLOW", "ALLOW", "LOG", "ERRNO", "KILL_PROCESS")
		if r.IntN(4) == 0 { // alone: libseccomp is not to choose between conditions
			rules = append(rules, fmt.Sprintf(`{"name": "personality", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": %d}]}`, i))
			continue
		}
		var names []string
		for _, at := range r.Perm(len(editable) - 2)[:1+r.IntN(4)] {
			names = append(names, strconv.Quote(editable[at]))
		}
		gate := pick("", "", `, "includes": {"caps": ["CAP_CHOWN"]}`, `, "excludes": {"caps": ["CAP_SYS_ADMIN"]}`)
		rules = append(rules, fmt.Sprintf(`{"names": [%s],%s"action": "SCMP_ACT_%s", "comment": "rule %d"%s}`,
			strings.Join(names, pick(",", ", ", ",\n\t\t\t\t")), pick(" ", "\n\t\t\t"), action, i, gate))
	}
	list := strings.Join(rules, pick(", ", ",\n\t\t"))
	return fmt.Sprintf("{\n\t\"defaultAction\": \"SCMP_ACT_%s\",\n\t\"syscalls\": [%s%s]\n}\n", pick("ERRNO", "ERRNO", "KILL_PROCESS", "ALLOW"), pick("", "\n\t\t"), list)
}

func TestEditVerdicts(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	for range 300 {
		source := randomEditable(r)
		before := mustParse(t, source)
		var edits []seccomp.Edit
		names := r.Perm(len(editable))
		for i, action := range []seccomp.EditAction{seccomp.Allow, seccomp.Deny, seccomp.Gate}[:1+r.IntN(3)] {
			e := seccomp.Edit{Action: action, Names: []string{editable[names[2*i]], editable[names[2*i+1]]}}
			if action == seccomp.Gate {
				e.Capability = "CAP_SYS_ADMIN"
			}
			edits = append(edits, e)
		}
		text, err := before.Edit(edits)
		if err != nil {
			t.Fatalf("%v\n%s", err, source)
		}
		after := mustParse(t, string(text))
		for _, caps := range [][]string{nil, {"CAP_CHOWN"}, {"CAP_CHOWN", "CAP_SYS_ADMIN"}} {
			checkEdited(t, before, after, edits, seccomp.Target{Capabilities: caps, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
		}
		checkKept(t, before, after, edits)
		if t.Failed() {
			t.Fatalf("%+v\n%s\n%s", edits, source, text)
		}
	}
}

// checkEdited checks that the edited calls have the verdicts that the edits ask for, and all
// others those from before. It leaves out calls above the largest number that either profile
// names: they may have become newer than the profile, or known to it.
func checkEdited(t *testing.T, before, after *seccomp.Profile, edits []seccomp.Edit, target seccomp.Target) {
	t.Helper()
	verdicts := func(p *seccomp.Profile) (*seccomptest.Judge, func(bpf.Call) bpf.Verdict) {
		policy, err := p.Resolve(target)
		if err != nil {
			t.Fatal(err)
		}
		program, err := compile.Compile(policy.Target.Arch, policy.Seccomp, policy.RulePosition)
		if err != nil {
			t.Fatal(err)
		}
		return seccomptest.NewJudge(policy.Seccomp, target.Arch), func(c bpf.Call) bpf.Verdict { return bpftest.Interpret(t, program, c) }
	}
	ja, was := verdicts(before)
	jb, is := verdicts(after)
	horizon := min(ja.Largest[target.Arch], jb.Largest[target.Arch])
	const enosys = bpf.Verdict(unix.SECCOMP_RET_ERRNO) | bpf.Verdict(unix.ENOSYS)
	for _, c := range slices.Concat(ja.Calls(target.Arch), jb.Calls(target.Arch)) {
		name, _ := syscalls.NameOf(target.Arch, c.Nr)
		a, b := was(c), is(c)
		i := slices.IndexFunc(edits, func(e seccomp.Edit) bool { return slices.Contains(e.Names, name) })
		switch {
		case i < 0 && a != b && (c.Nr <= horizon || a != enosys && b != enosys):
			t.Errorf("%s%#x with %v was %s, and is %s", name, c.Args, target.Capabilities, a, b)
		case i < 0:
		case edits[i].Action == seccomp.Allow || edits[i].Action == seccomp.Gate && slices.Contains(target.Capabilities, edits[i].Capability):
			if b != unix.SECCOMP_RET_ALLOW {
				t.Errorf("%s%#x with %v is %s", name, c.Args, target.Capabilities, b)
			}
		case b.Passes():
			t.Errorf("%s%#x with %v is %s", name, c.Args, target.Capabilities, b)
		}
	}
}

// checkKept checks that the old rules, without the edited names, come first, in their order
// and with their comments.
func checkKept(t *testing.T, before, after *seccomp.Profile, edits []seccomp.Edit) {
	t.Helper()
	plain := func(r seccomp.Rule) string {
		text := fmt.Sprint(r.Action, r.Comment, len(r.Args))
		for _, n := range slices.Concat(r.Names, r.Includes.Caps, r.Excludes.Caps) {
			text += " " + n.Value
		}
		return text
	}
	want, got := []string{}, []string{}
	for _, r := range before.Rules {
		r.Names = slices.DeleteFunc(slices.Clone(r.Names), func(n seccomp.Name) bool {
			return slices.ContainsFunc(edits, func(e seccomp.Edit) bool { return slices.Contains(e.Names, n.Value) })
		})
		if len(r.Names) > 0 {
			want = append(want, plain(r))
		}
	}
	for _, r := range after.Rules {
		got = append(got, plain(r))
	}
	if len(got) > len(want) {
		got = got[:len(want)]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(after.Rules) - len(want); n > len(edits) {
		t.Errorf("%d edits made %d rules", len(edits), n)
	}
}

// In each layout, an edited profile is a profile, and keeps everything else.
func FuzzEdit(f *testing.F) {
	for _, source := range seccomptest.Sources(f) {
		if len(source) < 2000 { // go test spends its time on making a long one smaller
			f.Add(string(source), uint8(0), "chown,read", "CAP_CHOWN=clone,@mount")
		}
	}
	f.Add("{\"syscalls\":null\n,\"defaultAction\":\"SCMP_ACT_LOG\"}", uint8(1), "read", "SYS_ADMIN=write")
	f.Fuzz(func(t *testing.T, source string, action uint8, names, gate string) {
		before, err := seccomp.Parse("p.json", []byte(source))
		if err != nil {
			return
		}
		one, err := seccomp.ParseEdit([]seccomp.EditAction{seccomp.Allow, seccomp.Deny}[action%2], names)
		if err != nil {
			return
		}
		other, err := seccomp.ParseEdit(seccomp.Gate, gate)
		if err != nil {
			return
		}
		edits := []seccomp.Edit{one, other}
		text, err := before.Edit(edits)
		var twice *seccomp.EditError
		if errors.As(err, &twice) {
			return
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		checkKept(t, before, mustParse(t, string(text)), edits)
		again, err := mustParse(t, string(text)).Edit(nil)
		if err != nil || string(again) != string(text) {
			t.Fatalf("no change is one: %v\n%s", err, again)
		}
	})
}
