package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// lab is a directory with everything that the peers need: one unpacked root file
// system, a bundle around it, and minirun's filter as a file.
type lab struct {
	minirun, image string
	dir            string
	next           int // number of the next runc or crun container
}

func newLab(minirun, image string) (_ *lab, err error) {
	dir, err := os.MkdirTemp("", "minirun-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{minirun: minirun, image: image, dir: dir}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if err := l.unpackRoot(); err != nil {
		return nil, fmt.Errorf("unpack %s: %w", image, err)
	}
	for _, file := range []struct{ name, as string }{{"seccomp.json", "json"}, {"seccomp.bpf", "bpf"}} {
		out, err := exec.Command(minirun, "seccomp", "show", "--as", file.as).Output()
		if err != nil {
			return nil, fmt.Errorf("minirun seccomp show --as %s: %w", file.as, err)
		}
		if err := os.WriteFile(l.path(file.name), out, 0o600); err != nil {
			return nil, err
		}
	}
	return l, l.writeBundle()
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
	return errors.Join(untar.Run(), tar.Wait())
}

// writeBundle writes an OCI bundle of the container that minirun starts, which is
// also the one that runc starts for `docker run --network none`.
func (l *lab) writeBundle() error {
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
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: "bench",
		Process: &specs.Process{
			Args: []string{"/bin/true"}, Cwd: "/", Env: []string{"PATH=/bin"},
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
	return os.WriteFile(l.path("config.json"), data, 0o600)
}

// etcMounts binds files of the lab over those of /etc that each container has of its own.
func (l *lab) etcMounts() ([]specs.Mount, error) {
	var mounts []specs.Mount
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		if err := os.WriteFile(l.path(name), nil, 0o600); err != nil {
			return nil, err
		}
		mounts = append(mounts, specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: l.path(name), Options: []string{"rbind", "rprivate"},
		})
	}
	return mounts, nil
}

// benchImage is the name of the image that podman and docker import.
const benchImage = "minirun-bench:latest"

// peers returns the ways to start a container, minirun first.
func (l *lab) peers() []*peer {
	oci := func(name string) *peer {
		return &peer{name: name, command: func() *exec.Cmd {
			l.next++
			cmd := exec.Command(name, "run", "--bundle", l.dir, "bench-"+strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(l.next))
			cmd.Dir = l.dir
			return cmd
		}}
	}
	engine := func(name string) *peer {
		imported := false
		return &peer{
			name: name,
			before: func() error {
				if imported {
					return nil
				}
				imported = true
				return importImage(name, l.path("rootfs"))
			},
			command: func() *exec.Cmd {
				return exec.Command(name, "run", "--rm", "--network", "none", benchImage, "/bin/true")
			},
		}
	}
	own := func(args ...string) func() *exec.Cmd {
		return func() *exec.Cmd { return exec.Command(l.minirun, append(args, l.image, "/bin/true")...) }
	}
	return []*peer{
		{name: "minirun", command: own()},
		{name: "minirun (cold cache)", command: own(), before: l.dropCache},
		{name: "minirun (unconfined)", command: own("--seccomp", "unconfined")},
		oci("crun"),
		oci("runc"),
		{name: "bwrap", command: l.bwrap},
		engine("podman"),
		engine("docker"),
	}
}

// dropCache removes the compiled programs.
func (l *lab) dropCache() error {
	return os.RemoveAll(filepath.Join(cmp.Or(os.Getenv("MINIRUN_ROOT"), "/var/lib/minirun"), "cache"))
}

// bwrap runs bubblewrap with the same filter, but with fewer mounts, no cgroup
// and no image store: it is a lower bound.
func (l *lab) bwrap() *exec.Cmd {
	cmd := exec.Command("bwrap", "--unshare-all", "--bind", l.path("rootfs"), "/", "--proc", "/proc", "--dev", "/dev", "--seccomp", "3", "/bin/true")
	filter, err := os.Open(l.path("seccomp.bpf"))
	if err != nil {
		cmd.Err = err
	}
	cmd.ExtraFiles = []*os.File{filter}
	return cmd
}

func importImage(engine, root string) error {
	if _, err := exec.LookPath(engine); err != nil {
		return err
	}
	tar := exec.Command("tar", "-C", root, "-cf", "-", ".")
	load := exec.Command(engine, "import", "-", benchImage)
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
