package launcher

import (
	"cmp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/network"
)

// networkFacts are the facts that networks other than none and host depend on.
type networkFacts struct {
	programs []string // installed programs for networks in user mode
	tun      error    // why they cannot make a device, or nil
	forward  error    // why packets of the bridge are not forwarded, or nil
}

func inspectNetworks() networkFacts {
	return networkFacts{network.Programs(), unix.Access("/dev/net/tun", unix.R_OK|unix.W_OK), network.ForwardDropped()}
}

func (m machine) networks() Check {
	c := Check{Name: "networks", Status: CheckOK}
	programs := strings.Join(m.network.programs, " or ")
	switch {
	case m.user == nil && m.network.forward != nil:
		c.Status, c.Detail, c.Fix = CheckWarning, m.network.forward.Error(), hint.Text(m.network.forward)
	case m.user == nil:
		c.Detail = "bridge, none, host; in user mode " + cmp.Or(programs, "none (apt-get install slirp4netns)")
	case programs == "":
		c.Status, c.Detail = CheckWarning, "launches need --network none or host: neither slirp4netns nor pasta is installed"
		c.Fix = "sudo apt-get install slirp4netns"
	case m.network.tun != nil:
		c.Status, c.Detail = CheckWarning, "launches need --network none or host: /dev/net/tun: "+m.network.tun.Error()
		c.Fix = "sudo modprobe tun && sudo chmod 666 /dev/net/tun (as udev does)"
	default:
		c.Detail = "bridge by " + programs + ", none, host"
	}
	return c
}
