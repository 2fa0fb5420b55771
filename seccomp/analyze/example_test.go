package analyze_test

import (
	"fmt"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
	"github.com/minirun/minirun/seccomp/syscalls"
)

const source = `{
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscalls": [
		{"names": ["execve", "read", "write", "futex_waitv"], "action": "SCMP_ACT_ALLOW"},
		{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
		{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]}
	]
}`

var target = seccomp.Target{Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 1}}

func policy(source string) *seccomp.Policy {
	p, err := seccomp.Parse("p.json", []byte(source))
	if err != nil {
		panic(err)
	}
	policy, err := p.Resolve(target)
	if err != nil {
		panic(err)
	}
	return policy
}

func ExampleExplainer_Explain() {
	e, err := analyze.NewExplainer(policy(source))
	if err != nil {
		fmt.Println(err)
		return
	}
	call, err := analyze.ParseCall("mount", syscalls.AMD64)
	if err != nil {
		fmt.Println(err)
		return
	}
	x, err := e.Explain(call)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(x.Call, x.Verdict, x.Rule)
	for _, r := range x.Remedies {
		fmt.Println(r.Kind, r.Add, r.Rule)
	}
	// Output:
	// mount ERRNO(EPERM) p.json:2:19
	// capability [CAP_SYS_ADMIN] p.json:5:3
	// edit []
}

func ExampleCheck() {
	assertions, err := analyze.ParseAssertions("p.test", []byte("deny mount\nallow personality\n"), syscalls.AMD64)
	if err != nil {
		fmt.Println(err)
		return
	}
	failures, err := analyze.Check(policy(source).Profile, assertions, target)
	for _, f := range failures {
		fmt.Println(f)
	}
	fmt.Println(err)
	// Output:
	// p.test:2:1: personality(1): want allow, got ERRNO(EPERM) (p.json:2:19)
	// <nil>
}

// An empty result is a proof that there is no difference.
func ExampleDiff() {
	a := policy(source)
	b := policy(`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execve", "read", "write", "futex_waitv"], "action": "SCMP_ACT_ALLOW"}]}`)
	differences, err := analyze.Diff(a, b)
	for _, d := range differences {
		fmt.Println(d)
	}
	fmt.Println(err)
	// Output:
	// amd64 personality(PER_LINUX): ALLOW, ERRNO(EPERM)
	// <nil>
}

func ExampleLint() {
	findings, err := analyze.Lint("p.json", []byte(`{
	"defaultAction": "SCMP_ACT_ALLOW",
	"syscalls": [{"names": ["fork", "frok"], "action": "SCMP_ACT_ERRNO"}]
}`), target)
	for _, f := range findings {
		fmt.Println(f.Where, f.Severity, f.ID, f.Fix)
	}
	fmt.Println(err)
	// Output:
	// p.json:3:34 warning unknown-call did you mean fork?
	// <nil>
}
