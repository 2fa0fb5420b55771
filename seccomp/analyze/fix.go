package analyze

import (
	"maps"
	"slices"

	"github.com/minirun/minirun/seccomp"
)

// Fix applies the safe fixes of findings to the text that they were found in: it removes
// rules, names and keys without effect, which changes no verdict, and keeps all other bytes.
// It returns the new text and the number of fixes. There are no safe fixes for a file that is
// not a profile. For YAML the error is [seccomp.ErrYAML], unless there is nothing to fix.
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
