package launcher

import (
	"encoding/json"

	"github.com/opencontainers/runc/libcontainer"
)

// Prime finds out in the background, while profile and image are being read, what
// a start needs to know and the libraries remember: where cgroups are mounted and, for
// libcontainer's init, how its types are written as JSON. It changes nothing.
func Prime(by InitBy) {
	go func() {
		if by == InitByLibcontainer {
			_, _ = json.Marshal(libcontainer.State{})
		}
		_, _ = cgroupRoots()
	}()
}
