package network

import (
	"bytes"
	"os"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
)

func TestOf(t *testing.T) {
	own := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace}}
	for name, test := range map[string]struct {
		spec specs.Spec
		want config.Network
	}{
		"none":        {specs.Spec{Linux: &specs.Linux{Namespaces: own}}, config.NetworkNone},
		"host":        {specs.Spec{Linux: &specs.Linux{Namespaces: own[:1]}}, config.NetworkHost},
		"not Linux's": {specs.Spec{}, config.NetworkHost},
	} {
		if got := Of(&test.spec); got != Named(test.want) || got.Own() != (test.want == config.NetworkNone) {
			t.Errorf("%s: %T", name, got)
		}
	}
}

// Only the host's network has the host's names.
func TestFiles(t *testing.T) {
	own, err := os.ReadFile("/etc/hosts")
	if err != nil {
		own = []byte(loopback)
	}
	for want, network := range map[string]Network{string(own): Host{}, loopback: None{}} {
		hosts, _, err := network.Files()
		if err != nil || !bytes.Equal(hosts, []byte(want)) {
			t.Errorf("%T: %q, %v", network, hosts, err)
		}
		if undo, err := network.Attach(os.Getpid()); undo != nil || err != nil {
			t.Errorf("%T: %v, %v", network, undo, err)
		}
	}
}
