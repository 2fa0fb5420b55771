package launcher

import (
	"maps"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
)

// The directories of a cgroup are those that libcontainer's manager finds.
func TestNewManager(t *testing.T) {
	for _, path := range []string{"/minirun-a", "/a/b/minirun-a", "minirun-a", "/a/../minirun-a", "/a//b"} {
		config := func() *cgroups.Cgroup { return &cgroups.Cgroup{Path: path, Resources: &cgroups.Resources{}} }
		want, werr := manager.New(config())
		got, err := newManager(config())
		if (err != nil) != (werr != nil) {
			t.Errorf("%s: %v, want %v", path, err, werr)
		}
		if err == nil && !maps.Equal(got.GetPaths(), want.GetPaths()) {
			t.Errorf("%s: %v, want %v", path, got.GetPaths(), want.GetPaths())
		}
	}
}
