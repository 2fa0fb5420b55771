package seccomp_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// The flat list is a profile with the same meaning for all capabilities.
func TestFlatListIsProfile(t *testing.T) {
	for name, source := range seccomptest.Sources(t) {
		t.Run(name, func(t *testing.T) {
			policy, program := compiled(t, source, seccomptest.DockerDefaults())
			text, err := policy.FlatList()
			if err != nil {
				t.Fatal(err)
			}
			var list specs.LinuxSeccomp
			d := json.NewDecoder(bytes.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(&list); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(policy.Seccomp, &list); diff != "" {
				t.Error(diff)
			}
			_, again := compiled(t, text, nil)
			if diff := cmp.Diff(program, again); diff != "" {
				t.Errorf("%s\n%s", diff, text)
			}
		})
	}
}

// compiled is a profile's program for a container on amd64.
func compiled(t *testing.T, source []byte, capabilities []string) (*seccomp.Policy, *bpf.Program) {
	t.Helper()
	p, err := seccomp.Parse("p.json", source)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := p.Resolve(seccomp.Target{Capabilities: capabilities, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
	if err != nil {
		t.Fatal(err)
	}
	program, err := compile.Compile(policy.Target.Arch, policy.Seccomp, policy.RulePosition)
	if err != nil {
		t.Fatal(err)
	}
	return policy, program
}
