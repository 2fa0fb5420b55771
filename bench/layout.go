package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// layout is a mount namespace with cgroups where runtimes look for them, so that what
// is measured does not depend on how this host has mounted them.
type layout struct {
	name      string
	namespace *os.File
}

const cgroupRoot = "/sys/fs/cgroup"

// layouts returns those that the kernel has; the others are listed with the reason. run
// is a tmpfs there, for what runtimes keep in /run, which not every machine has in memory.
func layouts(run string) (found []*layout) {
	for _, kind := range []struct {
		name  string
		mount func() error
	}{{"v1", mountV1}, {"v2", mountV2}} {
		l := &layout{name: kind.name}
		err := onThread(func() error { return l.make(run, kind.mount) })
		if err != nil {
			fmt.Printf("cgroup %s: left out: %v\n", kind.name, err)
			continue
		}
		found = append(found, l)
	}
	return found
}

// onThread runs f on a thread of its own, which ends with f.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

func (l *layout) make(run string, mount func() error) (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := unix.Mount("tmpfs", run, "tmpfs", 0, "mode=700"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := mount(); err != nil {
		return err
	}
	l.namespace, err = os.Open("/proc/thread-self/ns/mnt")
	return err
}

// mountV1 mounts the hierarchies of cgroup v1 that this host has. Controllers that
// cgroup v2 has cannot be had.
func mountV1() error {
	lines, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", cgroupRoot, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	found := false
	for line := range strings.Lines(string(lines)) {
		fields := strings.SplitN(line, ":", 3) // hierarchy, controllers, path: cgroups(7)
		if len(fields) < 3 || fields[0] == "0" {
			continue
		}
		found = found || fields[1] == "memory"
		dir := filepath.Join(cgroupRoot, strings.TrimPrefix(fields[1], "name="))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", dir, "cgroup", 0, fields[1]); err != nil {
			return fmt.Errorf("mount %s: %w", fields[1], err)
		}
	}
	if !found {
		return fmt.Errorf("this host's controllers are those of cgroup v2")
	}
	return nil
}

func mountV2() error {
	return os.NewSyscallError("mount", unix.Mount("cgroup2", cgroupRoot, "cgroup2", 0, ""))
}

// do runs f on a thread in the layout. Processes that f starts are there too.
func (l *layout) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil { // else setns(2) refuses
			return os.NewSyscallError("unshare", err)
		}
		if err := unix.Setns(int(l.namespace.Fd()), unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}
