package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// lab is a directory with everything that the peers need: one unpacked root file
// system, bundles around it, and minirun's filter as a file.
type lab struct {
	minirun, old, crun string
	image              string
	dir                string
	next               atomic.Int64 // number of the next runc or crun container
}

// makeDir makes the lab's directory: in build/, so that it is on a disk.
func (l *lab) makeDir() (err error) {
	if err := os.MkdirAll("build", 0o755); err != nil {
		return err
	}
	if l.dir, err = os.MkdirTemp("build", "bench-"); err != nil {
		return err
	}
	l.dir, err = filepath.Abs(l.dir)
	return err
}

// fill makes what the peers need.
func (l *lab) fill() error {
	if err := os.Mkdir(l.path("run"), 0o700); err != nil {
		return err
	}
	if err := l.unpackRoot(); err != nil {
		return fmt.Errorf("unpack %s: %w", l.image, err)
	}
	for _, file := range []struct{ name, as string }{{"seccomp.json", "json"}, {"seccomp.bpf", "bpf"}} {
		out, err := exec.Command(l.minirun, "seccomp", "show", "--as", file.as).Output()
		if err != nil {
			return fmt.Errorf("minirun seccomp show --as %s: %w", file.as, err)
		}
		if err := os.WriteFile(l.path(file.name), out, 0o600); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"/bin/true"}, {"/bin/false"}, {"/bin/cat"}, {"/bin/sleep", "1000"}} {
		if err := l.writeBundle(args...); err != nil {
			return err
		}
	}
	return l.buildFloor()
}

func (l *lab) close() {
	for _, undo := range [][]string{{"podman", "rmi", "-f", benchImage}, {"docker", "rmi", "-f", benchImage}} {
		_ = exec.Command(undo[0], undo[1:]...).Run() // it may never have been made
	}
	_ = os.RemoveAll(l.dir)
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// unpackRoot unpacks the image's files with minirun itself, so that every peer starts
// from the same root.
func (l *lab) unpackRoot() error {
	root := l.path("rootfs")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	tar := exec.Command(l.minirun, "--seccomp", "unconfined", l.image,
		"tar", "-C", "/", "--one-file-system", "--exclude=./proc/*", "--exclude=./sys/*", "--exclude=./dev/*", "-cf", "-", ".")
	untar := exec.Command("tar", "-C", root, "-xf", "-")
	var err error
	if untar.Stdin, err = tar.StdoutPipe(); err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return err
	}
	err = errors.Join(untar.Run(), tar.Wait())
	for _, name := range etcFiles {
		f, ferr := os.OpenFile(filepath.Join(root, "etc", name), os.O_CREATE, 0o644) // tar leaves out what is mounted
		if ferr == nil {
			ferr = f.Close()
		}
		err = errors.Join(err, ferr)
	}
	return err
}

// etcFiles are files of /etc that each container has of its own.
var etcFiles = []string{"hosts", "hostname", "resolv.conf"}

// bundle is the directory of the OCI bundle that runs a command.
func (l *lab) bundle(command string) string { return l.path("bundle-" + filepath.Base(command)) }

// writeBundle writes an OCI bundle of the container that minirun starts, which is
// also the one that runc starts for `docker run --network none`.
func (l *lab) writeBundle(args ...string) error {
	flat, err := os.ReadFile(l.path("seccomp.json"))
	if err != nil {
		return err
	}
	var seccomp specs.LinuxSeccomp
	if err := json.Unmarshal(flat, &seccomp); err != nil {
		return err
	}
	etc, err := l.etcMounts()
	if err != nil {
		return err
	}
	caps := []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
	spec := specs.Spec{
		Version:  "1.0.2",
		Root:     &specs.Root{Path: l.path("rootfs")},
		Hostname: "bench",
		Process: &specs.Process{
			Args: args, Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts: append([]specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		}, etc...),
		Linux: &specs.Linux{
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Namespaces: []specs.LinuxNamespace{
				{Type: "pid"}, {Type: "network"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "cgroup"},
			},
			Sysctl: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
				"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Seccomp:       &seccomp,
		},
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.Mkdir(l.bundle(args[0]), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.bundle(args[0]), "config.json"), data, 0o600)
}

// etcMounts binds files of the lab over them.
func (l *lab) etcMounts() ([]specs.Mount, error) {
	var mounts []specs.Mount
	for _, name := range etcFiles {
		if err := os.WriteFile(l.path(name), nil, 0o600); err != nil {
			return nil, err
		}
		mounts = append(mounts, specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: l.path(name), Options: []string{"rbind", "rprivate"},
		})
	}
	return mounts, nil
}

// benchImage is the name of the image that podman and docker import. Other benches have others.
var benchImage = fmt.Sprintf("localhost/minirun-bench-%d:latest", os.Getpid())

// peers returns the ways to start a container, minirun first.
func (l *lab) peers(layout *layout) []*peer {
	peers := []*peer{
		{name: "minirun", command: l.own(l.minirun)}, // a launch that is kept
		{name: "minirun, first time", command: l.first(l.own(l.minirun))},
		{name: "minirun, init by libcontainer", command: l.own(l.minirun, "--init-by", "libcontainer")},
		{name: "minirun, cold cache", command: l.first(l.own(l.minirun)), before: l.dropCache},
		{name: "minirun, unconfined", command: l.own(l.minirun, "--seccomp", "unconfined")},
		l.runtime(l.crun),
		l.runtime("runc"),
		{name: "bwrap" + version("bwrap"), command: l.bwrap},
		{name: "floor", command: l.floor},
		l.engine("podman", layout, "--runtime", l.crun),
		l.engine("docker", layout),
	}
	if l.old != "" {
		peers = slices.Insert(peers, 1, &peer{name: "minirun, -old", command: l.own(l.old)})
	}
	return peers
}

// own is minirun, with flags, on the image of the lab.
func (l *lab) own(program string, flags ...string) func(...string) *exec.Cmd {
	flags = append(flags, "--run-root", l.path("run/minirun"), "-i", l.image)
	return func(args ...string) *exec.Cmd { return exec.Command(program, slices.Concat(flags, args)...) }
}

// first makes a program start as if for the first time: a launch with another environment
// is another launch.
func (l *lab) first(command func(...string) *exec.Cmd) func(...string) *exec.Cmd {
	return func(args ...string) *exec.Cmd {
		cmd := command(args...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("BENCH_START=%d-%d", os.Getpid(), l.next.Add(1)))
		return cmd
	}
}

// runtime is an OCI runtime.
func (l *lab) runtime(program string) *peer {
	return &peer{name: filepath.Base(program) + version(program), command: func(args ...string) *exec.Cmd {
		id := fmt.Sprintf("bench-%d-%d", os.Getpid(), l.next.Add(1))
		return exec.Command(program, "--root", l.path("run/"+filepath.Base(program)), "run", "--bundle", l.bundle(args[0]), id)
	}}
}

// engine is one that has images of its own.
func (l *lab) engine(name string, layout *layout, global ...string) *peer {
	// Podman's own limits need CAP_SYS_RESOURCE, or a controller that a layout may lack.
	run := slices.Concat(global, []string{
		"run", "--rm", "-i", "--network", "none",
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--pids-limit", "0", benchImage,
	})
	imported := false
	return &peer{
		name: name + version(name), slow: true, remote: true,
		before: func() error {
			if imported {
				return nil
			}
			imported = true
			return layout.do(func() error { return importImage(name, l.path("rootfs")) })
		},
		command: func(args ...string) *exec.Cmd {
			return exec.Command(name, slices.Concat(run, args)...)
		},
	}
}

// dropCache removes the compiled programs.
func (l *lab) dropCache() error {
	return os.RemoveAll(filepath.Join(cmp.Or(os.Getenv("MINIRUN_ROOT"), "/var/lib/minirun"), "cache"))
}

// bwrap runs bubblewrap with the same filter, but with fewer mounts, no cgroup
// and no image store: it is a lower bound.
func (l *lab) bwrap(args ...string) *exec.Cmd {
	cmd := exec.Command("bwrap", append([]string{
		"--unshare-all", "--bind", l.path("rootfs"), "/", "--proc", "/proc", "--dev", "/dev", "--seccomp", "3",
	}, args...)...)
	filter, err := os.Open(l.path("seccomp.bpf"))
	if err != nil {
		cmd.Err = err
	}
	cmd.ExtraFiles = []*os.File{filter}
	return cmd
}

// floor is the least that makes a container like minirun's, and removes it.
func (l *lab) floor(args ...string) *exec.Cmd {
	return exec.Command(l.path("floor/floor"), append([]string{l.path("rootfs"), l.path("floor"), l.path("seccomp.bpf")}, args...)...)
}

func (l *lab) buildFloor() error {
	if err := os.Mkdir(l.path("floor"), 0o700); err != nil {
		return err
	}
	return compile("floor.c", l.path("floor/floor"))
}

// compile builds a program of testdata.
func compile(source, program string) error {
	source = "bench/testdata/" + source
	if out, err := exec.Command("cc", "-O2", "-Wall", "-static", "-o", program, source).CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w: %s", source, err, out)
	}
	return nil
}

func importImage(engine, root string) error {
	if _, err := exec.LookPath(engine); err != nil {
		return err
	}
	return importTo(root, engine)
}

func importTo(root string, engine ...string) error {
	tar := exec.Command("tar", "-C", root, "-cf", "-", ".")
	load := exec.Command(engine[0], append(engine[1:], "import", "-", benchImage)...)
	var err error
	if load.Stdin, err = tar.StdoutPipe(); err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return err
	}
	if out, err := load.CombinedOutput(); err != nil {
		_ = tar.Process.Kill()
		_ = tar.Wait()
		return fmt.Errorf("import: %w: %s", err, out)
	}
	return tar.Wait()
}
