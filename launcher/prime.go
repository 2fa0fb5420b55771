package launcher

import (
	"encoding/json"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer"
)

// Prime finds out in the background, while profile and image are being read, what
// a start needs to know and the libraries remember: how libcontainer's types are
// written as JSON, and where cgroups are mounted. It changes nothing.
func Prime() {
	go func() {
		_, _ = json.Marshal(libcontainer.State{})
		_, _ = manager.New(&cgroups.Cgroup{Path: "/", Resources: &cgroups.Resources{}})
	}()
}
