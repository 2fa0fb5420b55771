package integration

import (
	"regexp"
	"strconv"
	"testing"
)

// Every start initialises all packages of the binary, so one that allocates much when it
// is initialised is a decision. These are what is known, with what for.
func TestPackageInitialisation(t *testing.T) {
	const limit = 30 // allocations
	known := map[string]string{
		"github.com/google/go-containerregistry/pkg/name":                 "names of images",
		"github.com/google/go-containerregistry/pkg/v1/remote/transport":  "registries",
		"github.com/google/nftables":                                      "--network bridge: 0.01 ms",
		"github.com/opencontainers/go-digest":                             "registries",
		"github.com/urfave/cli/v2":                                        "the command line",
		"github.com/vishvananda/netlink":                                  "libcontainer",
		"go.yaml.in/yaml/v3":                                              "devices (CDI)",
		"html/template":                                                   "seccomp matrix",
		"net/http":                                                        "registries",
		"tags.cncf.io/container-device-interface/internal/validation/k8s": "devices (CDI)",
	}
	cmd := minirun(t, "version")
	cmd.Env = append(cmd.Environ(), "GODEBUG=inittrace=1") // package runtime, "Environment Variables"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	line := regexp.MustCompile(`(?m)^init (\S+) .* (\d+) allocs$`)
	found := 0
	for _, init := range line.FindAllStringSubmatch(string(out), -1) {
		found++
		allocations, err := strconv.Atoi(init[2])
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := known[init[1]]; !ok && allocations > limit {
			t.Errorf("%s makes %d allocations when it is initialised", init[1], allocations)
		}
	}
	if found < 50 {
		t.Errorf("only %d packages are listed:\n%s", found, out)
	}
}
