// Package seccomptest has helpers for tests of profiles and programs: profiles to try, and a
// judge of lists of rules that shares no code with the compiler.
package seccomptest

import (
	"embed"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/profiles"
)

//go:embed profiles/*.json
var files embed.FS

// Sources returns Docker's default profile and profiles of all kinds, by name.
func Sources(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{"default": profiles.Default()}
	entries, err := files.ReadDir("profiles")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := files.ReadFile(path.Join("profiles", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(e.Name(), ".json")] = data
	}
	return all
}

// CapabilitySets returns sets of capabilities: random ones first, so that a few are a fair
// sample, then none, all, Docker's defaults, each alone, and all except each.
func CapabilitySets() [][]string {
	all := capname.All()
	random := rand.New(rand.NewPCG(3, 1))
	var sets [][]string
	for i := range 160 {
		var set []string
		for _, c := range all {
			if random.IntN(160) < i {
				set = append(set, c)
			}
		}
		sets = append(sets, set)
	}
	random.Shuffle(len(sets), func(i, j int) { sets[i], sets[j] = sets[j], sets[i] })
	sets = append(sets, []string{}, all, DockerDefaults())
	for i, c := range all {
		sets = append(sets, []string{c}, slices.Delete(slices.Clone(all), i, i+1))
	}
	return sets
}

// DockerDefaults returns the capabilities that a container has without flags.
func DockerDefaults() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}
