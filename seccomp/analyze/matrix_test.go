package analyze

import (
	"os"
	"slices"
	"testing"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Every cell of Docker's profile and of the walkthrough's agrees with the judge, which does not
// use a program.
func TestMatrix(t *testing.T) {
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.S390X} {
		t.Run(arch.String(), func(t *testing.T) {
			var all []*seccomp.Profile
			for _, source := range [][]byte{profiles.Default(), walkthrough(t)} {
				p, err := seccomp.Parse("p.json", source)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, p)
			}
			columns := []Column{{Name: "none"}}
			for _, gate := range all[1].Gates() {
				columns = append(columns, Column{gate, []string{gate, "CAP_CHOWN"}})
			}
			target := seccomp.Target{Arch: arch, Kernel: seccomp.Kernel{Major: 6, Minor: 1}}
			m, err := NewMatrix(target, columns, all...)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Rows) != len(syscalls.Calls(arch)) || len(m.Columns) != len(columns) {
				t.Fatalf("%d rows of %d columns", len(m.Rows), len(m.Columns))
			}
			for i, column := range columns {
				target.Capabilities = column.Capabilities
				verdicts := [2]map[string][]bpf.Verdict{judged(t, all[0], target), judged(t, all[1], target)}
				for _, row := range m.Rows {
					one, other := verdicts[0][row.Call], verdicts[1][row.Call]
					if row.Differs[i] != !slices.Equal(one, other) {
						t.Errorf("%s with %s: differs is %v, verdicts are %v and %v", row.Call, column.Name, row.Differs[i], one, other)
					}
					checkCell(t, row.Call+" with "+column.Name, row.Cells[0][i], one)
					checkCell(t, row.Call+" with "+column.Name, row.Cells[1][i], other)
				}
			}
		})
	}
}

// judged returns for every call the verdicts for all arguments that could matter,
// without those that have more bits than the kernel reads.
func judged(t *testing.T, p *seccomp.Profile, target seccomp.Target) map[string][]bpf.Verdict {
	t.Helper()
	policy, err := p.Resolve(target)
	if err != nil {
		t.Fatal(err)
	}
	j := seccomptest.NewJudge(policy.Seccomp, target.Arch)
	verdicts := map[string][]bpf.Verdict{}
	for _, c := range j.Calls(target.Arch) {
		name, ok := syscalls.NameOf(target.Arch, c.Nr)
		if ok && !slices.ContainsFunc(c.Args[:], func(a uint64) bool { return a>>32 != 0 }) {
			verdicts[name] = append(verdicts[name], j.Verdict(t, c))
		}
	}
	return verdicts
}

func checkCell(t *testing.T, what string, c Cell, verdicts []bpf.Verdict) {
	t.Helper()
	var want []string
	for _, v := range verdicts {
		if !slices.Contains(want, v.String()) {
			want = append(want, v.String())
		}
	}
	got := []string{c.Verdict}
	if c.Verdict == Depends {
		got = nil
		for _, one := range c.Cases {
			got = append(got, one.Verdict)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
	if c.Because == "" {
		t.Errorf("%s: no reason", what)
	}
}

func TestMatrixVaries(t *testing.T) {
	p, err := seccomp.Parse("chown", walkthrough(t))
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMatrix(seccomp.Target{Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 1}}, []Column{{Name: "none"}, {"one", []string{"CAP_AUDIT_CONTROL"}}}, p)
	if err != nil {
		t.Fatal(err)
	}
	var varying []string
	for _, row := range m.Rows {
		if row.Differs != nil {
			t.Fatalf("%s: a comparison with one profile: %v", row.Call, row.Differs)
		}
		if row.Varies() {
			varying = append(varying, row.Call)
		}
	}
	if want := []string{"chown", "fchown", "fchownat", "lchown"}; !slices.Equal(varying, want) {
		t.Errorf("%s vary, want %s", varying, want)
	}
}

func walkthrough(t *testing.T) []byte {
	t.Helper()
	source, err := os.ReadFile("../../profiles/chown-audit-control.json")
	if err != nil {
		t.Fatal(err)
	}
	return source
}
