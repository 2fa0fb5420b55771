package analyze

import (
	"maps"
	"slices"

	"github.com/minirun/minirun/seccomp"
)

// Fix applies the safe fixes of findings to the file that they were found in, which
// change no verdict: rules, names and keys without effect are removed. All other bytes
// stay. It returns the new text and how many findings it fixed. A file that is not a
// profile has no safe fix. Neither has YAML: if something is to be fixed there, the error
// is [seccomp.ErrYAML].
func Fix(source []byte, findings []Finding) ([]byte, int, error) {
	places := map[seccomp.Position]bool{}
	for _, f := range findings {
		if f.removable {
			places[f.Pos] = true
		}
	}
	if len(places) == 0 {
		return source, 0, nil
	}
	fixed, err := seccomp.Remove(findings[0].Pos.File, source, slices.Collect(maps.Keys(places)))
	if err != nil {
		return source, 0, err
	}
	return fixed, len(places), nil
}
