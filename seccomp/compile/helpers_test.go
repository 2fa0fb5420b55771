package compile

import (
	"testing"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
)

func compilePolicy(p *seccomp.Policy) (*bpf.Program, error) {
	return Compile(p.Target.Arch, p.Seccomp, p.RulePosition)
}

func cachedPolicy(dir string, p *seccomp.Policy) (program *bpf.Program, hit bool, err error) {
	return Cached(dir, p.Target.Arch, p.Seccomp, p.RulePosition)
}

func keyOf(p *seccomp.Policy) ([]byte, error) {
	c, err := newCompiler(p.Target.Arch, p.Seccomp, nil)
	if err != nil {
		return nil, err
	}
	return c.key()
}

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
