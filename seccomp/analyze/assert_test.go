package analyze

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

func TestParseAssertions(t *testing.T) {
	const source = "# about chown\r\n\r\nallow chown with CAP_AUDIT_CONTROL\r\n" +
		"\tdeny  EPERM\tmount,@module without sys_admin,CAP_CHOWN # why not\n" +
		"kill socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),personality( 8 ) on arm64\n" +
		"allow clone with ALL\n" +
		"deny ENOSYS chown()"
	got, err := ParseAssertions("a.test", []byte(source), syscalls.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	call := func(name string, args ...uint64) AssertedCall {
		c := AssertedCall{CallPattern: CallPattern{Name: name, Arch: syscalls.AMD64, Given: len(args)}}
		copy(c.Args[:], args)
		return c
	}
	grouped := func(name string) AssertedCall {
		return AssertedCall{CallPattern{Name: name, Arch: syscalls.AMD64}, true}
	}
	on := func(c AssertedCall, arch syscalls.Arch) AssertedCall { c.Arch = arch; return c }
	pos := func(line, column int) seccomp.Position {
		return seccomp.Position{File: "a.test", Line: line, Column: column}
	}
	want := []Assertion{
		{Pos: pos(3, 1), Verb: "allow", Calls: []AssertedCall{call("chown")}, With: []string{"CAP_AUDIT_CONTROL"}},
		{
			Pos: pos(4, 2), Verb: "deny", Errno: "EPERM",
			Calls:   []AssertedCall{call("mount"), grouped("delete_module"), grouped("finit_module"), grouped("init_module")},
			Without: []string{"CAP_SYS_ADMIN", "CAP_CHOWN"},
		},
		{
			Pos: pos(5, 1), Verb: "kill",
			Calls: []AssertedCall{on(call("socket", unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0), syscalls.ARM64), on(call("personality", 8), syscalls.ARM64)},
			Arch:  syscalls.ARM64,
		},
		{Pos: pos(6, 1), Verb: "allow", Calls: []AssertedCall{call("clone")}, With: capname.All()},
		{Pos: pos(7, 1), Verb: "deny", Errno: "ENOSYS", Calls: []AssertedCall{call("chown")}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// In each source | marks the position of the problem.
func TestParseAssertionsComplaints(t *testing.T) {
	for _, tt := range []struct{ source, message, hint string }{
		{"|alow chown", `unknown verb "alow"`, "did you mean allow?"},
		{"|permit chown", `unknown verb "permit"`, "there are allow, deny, kill, log, notify, trace, trap"},
		{"allow|", "a call is missing", "write, for example, allow chown"},
		{"deny EPERM |# chown", "a call is missing", "write, for example, allow chown"},
		{"allow |chwon", "chwon: no such system call", "did you mean chown?"},
		{"allow read,|chwon", "chwon: no such system call", "did you mean chown?"},
		{"deny EPERM |chwon on arm64", "chwon: no such system call", "did you mean chown?"},
		{"deny |EPRM chown", `unknown errno "EPRM"`, "did you mean EPERM?"},
		{"allow |EPERM chown", "EPERM: no such system call", "only deny takes an errno"},
		{"deny |@mounts", `"@mounts": no such group of system calls`, "did you mean @mount?"},
		{"deny |@everything", `"@everything": no such group of system calls`, "there are @aio, @basic-io"},
		{"allow socket(|AF_INTE)", `socket(AF_INTE): "AF_INTE" is not a number, and not a constant of argument 0`, "did you mean AF_INET?"},
		{"allow read,socket(1, |x)", `"x" is not a number`, "write a number, or one of SOCK_STREAM"},
		{"allow socket(1|", "socket(1: the arguments do not end with )", "write NAME(ARGUMENT, ...)"},
		{"allow chown |wixh CAP_CHOWN", `unknown word "wixh"`, "did you mean with?"},
		{"allow chown |for CAP_CHOWN", `unknown word "for"`, ""},
		{"allow chown with|", "nothing follows with", ""},
		{"allow chown on|", "nothing follows on", ""},
		{"allow chown with |CAP_CHWON", `unknown capability "CAP_CHWON"`, "did you mean CAP_CHOWN?"},
		{"allow chown without CAP_CHOWN,|sys_admn", `unknown capability "sys_admn"`, "did you mean CAP_SYS_ADMIN?"},
		{"allow chown on |amd65", `unknown architecture "amd65"`, "did you mean amd64?"},
	} {
		before, after, _ := strings.Cut(tt.source, "|")
		_, err := ParseAssertions("a.test", []byte("allow read\n"+before+after+"\nallow write\n"), syscalls.AMD64)
		var problems seccomp.Problems
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Errorf("%s: got %v, want one problem", tt.source, err)
			continue
		}
		got := problems[0]
		if want := fmt.Sprintf("a.test:2:%d", len(before)+1); got.Pos.String() != want {
			t.Errorf("%s: the complaint is at %s, want %s", tt.source, got.Pos, want)
		}
		if !strings.Contains(got.Message, tt.message) || !strings.HasPrefix(got.Fix, tt.hint) {
			t.Errorf("%s: got %q, %q; want %q, %q", tt.source, got.Message, got.Fix, tt.message, tt.hint)
		}
	}
}

// All problems of a file are reported at once.
func TestParseAssertionsAll(t *testing.T) {
	_, err := ParseAssertions("a.test", []byte("alow read\nallow write\nallow rd\n"), syscalls.AMD64)
	if err == nil || strings.Count(err.Error(), "a.test:") != 2 {
		t.Errorf("got %v", err)
	}
}

func FuzzAssert(f *testing.F) {
	for _, seed := range []string{
		"allow chown with CAP_AUDIT_CONTROL", "deny EPERM mount without CAP_SYS_ADMIN # why", "allow socket(AF_INET),@chown on arm64",
		"deny", "deny EPERM", "allow ,", "allow read,", "allow )(", "allow a(b", "allow read with ,", "kill read on", "\r\n\t#",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		assertions, err := ParseAssertions("a.test", []byte(source), syscalls.AMD64)
		if err != nil {
			var problems seccomp.Problems
			if !errors.As(err, &problems) || len(problems) == 0 || assertions != nil {
				t.Fatalf("%v is no list of problems, or there are assertions too", err)
			}
			for _, p := range problems {
				within(t, source, p.Pos)
			}
			return
		}
		for _, a := range assertions {
			within(t, source, a.Pos)
			if !slices.Contains(verbs, a.Verb) || len(a.Calls) == 0 {
				t.Fatalf("%+v", a)
			}
			for _, c := range a.Calls {
				if !syscalls.Known(c.Name) {
					t.Fatalf("%+v", c)
				}
			}
		}
	})
}

// failing returns the failures of assertions, one on each line.
func failing(t *testing.T, p *seccomp.Profile, target seccomp.Target, source string) []string {
	t.Helper()
	assertions, err := ParseAssertions("a.test", []byte(source), syscalls.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	failures, err := Check(p, assertions, target)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range failures {
		lines = append(lines, f.String())
	}
	return lines
}

// Well-known facts about Docker's profile and the walkthrough's hold.
func TestCheck(t *testing.T) {
	source, err := os.ReadFile("../../profiles/chown-audit-control.json")
	if err != nil {
		t.Fatal(err)
	}
	gated := mustParse(t, string(source))
	docker := parsed(t)["default"]
	target := seccomp.Target{Capabilities: seccomptest.DockerDefaults(), Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}}
	for _, tt := range []struct {
		profile *seccomp.Profile
		line    string
		want    string // "" is: it holds
	}{
		{gated, "allow chown with CAP_AUDIT_CONTROL", ""},
		{gated, "deny EPERM chown", ""},
		{gated, "allow chown", "chown: want allow, got ERRNO(EPERM) (p.json:"},
		{gated, "deny @chown", ""},
		{gated, "allow @chown with audit_control", ""},
		{gated, "deny EPERM @chown on arm64", ""},
		{gated, "deny EACCES chown", "chown: want deny EACCES, got ERRNO(EPERM) (p.json:"},
		{docker, "allow chown", ""},
		{docker, "deny chown", "chown: want deny, got ALLOW (default.json:"},
		{docker, "deny ENOSYS clone3", ""},
		{docker, "deny EPERM clone3", "clone3: want deny EPERM, got ERRNO(ENOSYS) (default.json:"},
		{docker, "allow clone3 with CAP_SYS_ADMIN", ""},
		{docker, "allow clone3 with ALL", ""},
		{docker, "allow socket(AF_INET)", ""},
		{docker, "deny socket(AF_VSOCK)", ""},
		{docker, "allow socket(AF_VSOCK)", "socket(AF_VSOCK): want allow, got ERRNO(EPERM) (default.json:"},
		{docker, "allow socket(0x100000002)", "socket(0x100000002): want allow, got ERRNO(EPERM) (an argument that the kernel reads as 32 bits"},
		{docker, "allow socket", "socket(AF_AX25): want allow, got ERRNO(EPERM)"},
		{docker, "deny socket", "socket("},
		{docker, "allow clone(SIGCHLD)", ""},
		{docker, "deny clone(CLONE_NEWUSER|SIGCHLD)", ""},
		{docker, "allow chroot,read", ""},
		{docker, "deny chroot without SYS_CHROOT", ""},
		{docker, "deny mount,umount2,@module", ""},
		{docker, "deny read,mount", "read: want deny, got ALLOW"},
		{docker, "allow open on arm64", "open: want allow, got arm64 has no such call"},
		{docker, "deny ENOSYS listns", ""},
		{docker, "kill mount", "mount: want kill, got ERRNO(EPERM)"},
	} {
		got := failing(t, tt.profile, target, tt.line)
		switch {
		case tt.want == "" && len(got) > 0, tt.want != "" && len(got) != 1:
			t.Errorf("%s: %q", tt.line, got)
		case tt.want != "" && !strings.HasPrefix(got[0], "a.test:1:1: "+tt.want):
			t.Errorf("%s: got %q, want %q", tt.line, got[0], tt.want)
		}
	}
}

func TestCheckVerbs(t *testing.T) {
	action := map[string]string{
		"ALLOW": "allow", "ERRNO": "deny", "KILL_PROCESS": "kill", "KILL_THREAD": "kill", "KILL": "kill",
		"LOG": "log", "NOTIFY": "notify", "TRACE": "trace", "TRAP": "trap",
	}
	for name, verb := range action {
		p := mustParse(t, `{"defaultAction": "SCMP_ACT_`+name+`", "syscalls": []}`)
		for _, v := range verbs {
			got := failing(t, p, seccomp.Target{Capabilities: nil, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}}, v+" read")
			if (len(got) == 0) != (v == verb) {
				t.Errorf("%s: %s read: %q", name, v, got)
			}
		}
	}
}

// An assertion is about all values of omitted arguments: it holds exactly if the judge of the
// list finds no call with another verdict.
func TestCheckIsMeaning(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	target := seccomp.Target{Capabilities: nil, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}}
	count := map[bool]int{}
	for range 60 {
		source := randomSource(r)
		p := mustParse(t, source)
		j := seccomptest.NewJudge(resolved(t, p, target).Seccomp, target.Arch)
		for _, name := range []string{"read", "personality", "mmap", "bind", "clone3", "mseal", "mount"} {
			for _, first := range []string{"", "(1)"} {
				for _, verb := range []string{"deny", "kill", "log"} {
					line := verb + " " + name + first
					holds := meantToHold(t, j, line)
					if got := failing(t, p, target, line); (len(got) == 0) != holds {
						t.Fatalf("%s: got %q, but the list means %v\n%s", line, got, holds, source)
					}
					count[holds]++
				}
			}
		}
	}
	if count[true] < 200 || count[false] < 200 {
		t.Errorf("%v: no fair sample", count)
	}
}

// meantToHold reports whether the judge gives all calls of a line its verdict.
func meantToHold(t *testing.T, j *seccomptest.Judge, line string) bool {
	t.Helper()
	verb, call, _ := strings.Cut(line, " ")
	pattern, err := ParseCall(call, syscalls.AMD64)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint32{"deny": unix.SECCOMP_RET_ERRNO, "kill": unix.SECCOMP_RET_KILL_PROCESS, "log": unix.SECCOMP_RET_LOG}[verb]
	nr, _ := syscalls.Number(j.Native, pattern.Name)
	tried := 0
	for _, c := range j.Calls(j.Native) {
		if c.Nr != nr {
			continue
		}
		copy(c.Args[:pattern.Given], pattern.Args[:])
		tried++
		if j.Verdict(t, c).Action() != want {
			return false
		}
	}
	if tried == 0 {
		t.Fatalf("%s: no call", line)
	}
	return true
}
