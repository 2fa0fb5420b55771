package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/network"
	"github.com/minirun/minirun/launcher/userns"
)

// shareNetwork opens the network of the container in a directory, for --network kind.
func shareNetwork(dir, kind string) (*network.Shared, error) {
	refuse := func(why string) error {
		return &Error{Op: "--network " + kind, Err: errors.New(why), Cause: CauseNotRunning}
	}
	if userns.Rootless() {
		return nil, hint.With(&Error{Op: "--network " + kind, Err: errors.New("a user's containers share no network: each is in a user namespace of its own")},
			"run both with sudo, or what is to share it in one container")
	}
	s, err := readState(dir)
	if err != nil || s.Status != StatusRunning {
		return nil, refuse("no container of that name runs")
	}
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
