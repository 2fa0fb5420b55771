package analyze

import (
	"maps"
	"slices"

	"github.com/minirun/minirun/seccomp"
)

// Fix applies the safe fixes of findings to the file that they were found in, which
// change no verdict: rules, names and keys without effect are removed. All else stays
// to the byte. It returns the new text and how many findings it fixed. What is no
// profile has no safe fix; YAML has none either, which is an error where something
// is to be fixed, [seccomp.ErrYAML].
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
