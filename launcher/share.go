package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/network"
)

// shareNetwork opens the network of a container, for --network kind. A user's process has
// joined that one's user namespace.
func shareNetwork(dirs Dirs, name, kind string) (*network.Shared, error) {
	refuse := func(why string) error {
		return &Error{Op: "--network " + kind, Err: errors.New(why), Cause: CauseNotRunning}
	}
	other, err := Find(dirs, name, func(error) {})
	if err != nil || other.state.Status != StatusRunning {
		return nil, refuse("no container of that name runs")
	}
	s := &other.state
	n, err := openShared(s.PID)
	if err == nil && !s.alive() { // or what was opened is another process's
		n.Namespace.Close()
		return nil, refuse("the container has ended")
	}
	if err != nil {
		return nil, &Error{Op: "--network " + kind, Err: err}
	}
	return n, nil
}

func openShared(pid int) (n *network.Shared, err error) {
	n = &network.Shared{}
	if n.Hosts, err = readInRoot(pid, etcHosts); err != nil {
		return nil, err
	}
	if n.Resolv, err = readInRoot(pid, "/etc/resolv.conf"); err != nil {
		return nil, err
	}
	n.Namespace, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	return n, err
}

// readInRoot reads a small file of a container, which is untrusted: links lead nowhere
// outside of its root, and what is no file is not opened.
func readInRoot(pid int, path string) ([]byte, error) {
	handle, err := pathrs.OpenInRoot(fmt.Sprintf("/proc/%d/root", pid), path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	if info, err := handle.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s in that container is no file", path))
	}
	f, err := pathrs.Reopen(handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const limit = 1 << 20
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(data) > limit {
		return nil, fmt.Errorf("%s in that container has more than %d bytes", path, limit)
	}
	return data, err
}
