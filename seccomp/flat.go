package seccomp

import (
	"encoding/json"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// FlatList is the policy as JSON for a bundle's config.json. An empty list of
// flags is there, since a runtime takes its absence for SPEC_ALLOW, and the
// spec's own type leaves it out.
func (p *Policy) FlatList() ([]byte, error) {
	type list struct {
		*specs.LinuxSeccomp
		Flags *[]specs.LinuxSeccompFlag `json:"flags,omitempty"`
	}
	flat := list{LinuxSeccomp: p.Seccomp}
	if p.Seccomp.Flags != nil {
		flat.Flags = &p.Seccomp.Flags
	}
	return json.MarshalIndent(flat, "", "  ")
}
