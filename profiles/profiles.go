// Package profiles holds the seccomp profiles that minirun ships.
package profiles

import _ "embed"

//go:generate go run ./gen

//go:embed default.json
var defaultProfile []byte

// DefaultName is what messages call the default profile.
const DefaultName = "default.json"

// Default is Docker's default profile, of the version of moby/profiles/seccomp
// that go.mod names, in the form in which Docker publishes it.
func Default() []byte { return defaultProfile }
