// Package profiles holds the seccomp profiles that minirun ships.
package profiles

import _ "embed"

//go:generate go run ./gen

//go:embed default.json
var defaultProfile []byte

// DefaultName is what messages call the default profile.
const DefaultName = "default.json"

// Default returns Docker's default profile, as Docker publishes it, from the version of
// moby/profiles/seccomp that go.mod names. The caller must not change it.
func Default() []byte { return defaultProfile }
