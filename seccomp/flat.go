package seccomp

import (
	"encoding/json"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// FlatList returns the policy as JSON for a bundle's config.json. It keeps an empty list
// of flags, which the specification's own type omits: without the list a runtime sets
// SPEC_ALLOW.
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
