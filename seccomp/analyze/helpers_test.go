package analyze

import (
	"strings"
	"testing"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// parsed are the default profile and others of all kinds.
func parsed(t testing.TB) map[string]*seccomp.Profile {
	t.Helper()
	all := map[string]*seccomp.Profile{}
	for name, source := range seccomptest.Sources(t) {
		p, err := seccomp.Parse(name+".json", source)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = p
	}
	if len(all) < 10 {
		t.Fatalf("only %d profiles", len(all))
	}
	return all
}

func mustParse(t *testing.T, source string) *seccomp.Profile {
	t.Helper()
	p, err := seccomp.Parse("p.json", []byte(source))
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	return p
}

func resolved(t *testing.T, p *seccomp.Profile, target seccomp.Target) *seccomp.Policy {
	t.Helper()
	policy, err := p.Resolve(target)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func compilePolicy(p *seccomp.Policy) (*bpf.Program, error) {
	return compile.Compile(p.Target.Arch, p.Seccomp, p.RulePosition)
}

// compiled is a profile's program for a container on amd64 with Docker's capabilities.
func compiled(t testing.TB, p *seccomp.Profile) (*seccomp.Policy, *bpf.Program) {
	t.Helper()
	policy, err := p.Resolve(seccomp.Target{Capabilities: seccomptest.DockerDefaults(), Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
	if err != nil {
		t.Fatal(err)
	}
	program, err := compilePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	return policy, program
}

// within checks that a position is in the file; the end counts.
func within(t *testing.T, source string, p seccomp.Position) {
	t.Helper()
	lines := strings.Split(source, "\n")
	if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+1 {
		t.Errorf("%s is outside of the file", p)
	}
}
