package launcher

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/network"
)

// openNetwork makes what the container's network needs. An engine makes that itself.
func (c *Container) openNetwork(l *launched) (err error) {
	if l.o.Engine != nil {
		return nil
	}
	n := l.o.Network
	if n == nil {
		n = network.Of(l.o.Spec)
	}
	if name := n.Kind.Container(); name != "" {
		if n.Shared, err = shareNetwork(Dirs{filepath.Dir(filepath.Dir(c.dir)), c.state.RunRoot}, name, string(n.Kind)); err != nil {
			return err
		}
	}
	if c.ids != nil {
		n.Namespace, c.ids.Network = c.ids.Network, nil // which is the connection's now
	}
	l.o.Keep.beginNetwork(n)
	if l.network, err = n.Open(guardHelper); err != nil {
		return networkError(err)
	}
	if ns := l.network.Namespace(); ns != nil {
		joinNamespace(l.o.Spec, specs.NetworkNamespace, ns)
	}
	return nil
}

func guardHelper(pidfd *os.File) (stop func(), err error) {
	g, err := startGuard(pidfd)
	if err != nil {
		return nil, err
	}
	return g.stop, nil
}

// networkError is an error of the network's, most of which name the flag.
func networkError(err error) error {
	var refused *config.Error
	if errors.As(err, &refused) {
		return hint.With(&Error{Op: refused.Op, Err: refused.Err}, hint.Text(err))
	}
	return asError("make the network", err)
}

// attach connects a parked init's network.
func (c *Container) attach() error {
	l := c.launched
	if l.network == nil {
		return nil
	}
	hosts, warnings, err := l.network.Attach(l.hostname, l.o.Spec.Domainname)
	for _, w := range warnings {
		c.warn(w)
	}
	if err != nil {
		return networkError(err)
	}
	if err := l.addHosts(hosts); err != nil {
		return err
	}
	if l.o.Notice != nil {
		for _, text := range l.network.Chosen() {
			l.o.Notice(text)
		}
	}
	return nil
}
