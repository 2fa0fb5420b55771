package launcher

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/userns"
)

// wholeMachine returns a machine without anything missing.
func wholeMachine(t *testing.T) (machine, fstest.MapFS) {
	files := fstest.MapFS{}
	for name, data := range map[string]string{
		"proc/config.gz":                         zipped(t, "# a kernel\nCONFIG_SECCOMP=y\nCONFIG_SECCOMP_FILTER=y\n"),
		"proc/filesystems":                       "nodev\tsysfs\nnodev\toverlay\n",
		"proc/sys/kernel/seccomp/actions_avail":  "kill_process kill_thread trap errno user_notif trace log allow\n",
		"proc/sys/user/max_user_namespaces":      "15000\n",
		"sys/fs/cgroup/cgroup.controllers":       "cpuset cpu io memory pids\n",
		"sys/kernel/security/lockdown":           "none [integrity] confidentiality\n",
		"proc/sys/kernel/yama/ptrace_scope":      "1\n",
		"sys/kernel/security/lsm":                "lockdown,capability,apparmor",
		"sys/kernel/security/apparmor/profiles":  "man (enforce)\ndocker-default (enforce)\n",
		"sys/module/apparmor/parameters/enabled": "Y\n",
		"run/systemd/system/keep":                "",
		"proc/self/ns/mnt":                       "",
		"proc/self/ns/pid":                       "",
		"proc/self/ns/ipc":                       "",
		"proc/self/ns/uts":                       "",
		"proc/self/ns/net":                       "",
		"proc/self/ns/cgroup":                    "",
		"proc/self/ns/user":                      "",
	} {
		files[name] = &fstest.MapFile{Data: []byte(data)}
	}
	return machine{
		root:    files,
		release: "6.1.0",
		seccomp: func(probe) error { return nil },
		pidfd:   func() error { return nil },
		trace:   func() (string, error) { return "a tracepoint", nil },
		caps:    func(capability.Cap) bool { return true },
		network: networkFacts{programs: []string{"slirp4netns", "pasta"}},
	}, files
}

func zipped(t *testing.T, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestChecksOfAWholeMachine(t *testing.T) {
	m, _ := wholeMachine(t)
	for _, c := range m.checks() {
		if c.Status != CheckOK || c.Fix != "" || c.Detail == "" {
			t.Errorf("%+v", c)
		}
	}
	if c := m.filter(); !strings.Contains(c.Detail, "CONFIG_SECCOMP=y, CONFIG_SECCOMP_FILTER=y in /proc/config.gz") {
		t.Errorf("seccomp: %s", c.Detail)
	}
}

func TestChecksFind(t *testing.T) {
	write := func(name, data string) func(*machine, fstest.MapFS) {
		return func(_ *machine, files fstest.MapFS) { files[name] = &fstest.MapFile{Data: []byte(data)} }
	}
	remove := func(name string) func(*machine, fstest.MapFS) {
		return func(_ *machine, files fstest.MapFS) { delete(files, name) }
	}
	for _, test := range []struct {
		name   string
		change func(*machine, fstest.MapFS)
		check  string
		status CheckStatus
		detail string
	}{
		{"no root", func(m *machine, _ fstest.MapFS) {
			m.caps = func(c capability.Cap) bool { return c != capability.CAP_SYS_ADMIN }
		}, "privilege", CheckMissing, "CAP_SYS_ADMIN is not held"},
		{"a default capability gone", func(m *machine, _ fstest.MapFS) {
			m.caps = func(c capability.Cap) bool { return c != capability.CAP_MKNOD }
		}, "capabilities", CheckWarning, "not held are CAP_MKNOD"},
		{"another capability gone", func(m *machine, _ fstest.MapFS) {
			m.caps = func(c capability.Cap) bool { return c != capability.CAP_SYS_RESOURCE }
		}, "capabilities", CheckOK, "not to be had are CAP_SYS_RESOURCE"},
		{"no seccomp", func(m *machine, files fstest.MapFS) {
			m.seccomp = func(probe) error { return unix.ENOSYS }
			delete(files, "proc/config.gz")
			files["boot/config-6.1.0"] = &fstest.MapFile{Data: []byte("CONFIG_SECCOMP=y\n")}
		}, "seccomp", CheckMissing, "CONFIG_SECCOMP_FILTER=n in /boot/config-6.1.0"},
		{"an old kernel's actions", write("proc/sys/kernel/seccomp/actions_avail", "kill trap errno trace allow"), "seccomp actions", CheckWarning, "kill_process, kill_thread, user_notif, log are refused"},
		{"no listener", func(m *machine, _ fstest.MapFS) {
			m.seccomp = func(p probe) error {
				if p == probeListener {
					return unix.EINVAL
				}
				return nil
			}
		}, "seccomp listener", CheckWarning, "invalid argument"},
		{"yama", write("proc/sys/kernel/yama/ptrace_scope", "3\n"), "pidfd_getfd", CheckWarning, "ptrace_scope is 3"},
		{"pidfd_getfd denied", func(m *machine, _ fstest.MapFS) { m.pidfd = func() error { return unix.EPERM } }, "pidfd_getfd", CheckWarning, "operation not permitted; --explain-filter"},
		{"no yama", remove("proc/sys/kernel/yama/ptrace_scope"), "pidfd_getfd", CheckOK, "can take a listener"},
		{"tracing", func(*machine, fstest.MapFS) {}, "tracing", CheckOK, "can be watched by a tracepoint (lockdown: integrity)"},
		{"no bpf", func(m *machine, files fstest.MapFS) {
			m.trace = func() (string, error) { return "", unix.EPERM }
			files["sys/kernel/security/lockdown"] = &fstest.MapFile{Data: []byte("none integrity [confidentiality]\n")}
		}, "tracing", CheckWarning, "operation not permitted (lockdown: confidentiality)"},
		{"no pid namespaces", remove("proc/self/ns/pid"), "namespaces", CheckMissing, "pid (CONFIG_PID_NS)"},
		{"no overlayfs", write("proc/filesystems", "nodev\tsysfs\n"), "overlayfs", CheckMissing, "neither"},
		{"overlayfs as a module", func(_ *machine, files fstest.MapFS) {
			delete(files, "proc/filesystems")
			files["lib/modules/6.1.0/modules.dep"] = &fstest.MapFile{Data: []byte("kernel/fs/overlayfs/overlay.ko:\n")}
		}, "overlayfs", CheckOK, "a module"},
		{"no cgroups", remove("sys/fs/cgroup/cgroup.controllers"), "cgroups", CheckMissing, "none are mounted"},
		{"no memory controller", write("sys/fs/cgroup/cgroup.controllers", "cpu pids"), "cgroups", CheckWarning, "without memory"},
		{"cgroup v1, hybrid", func(_ *machine, files fstest.MapFS) {
			delete(files, "sys/fs/cgroup/cgroup.controllers")
			files["proc/self/cgroup"] = &fstest.MapFile{Data: []byte("3:cpu,cpuacct:/\n2:memory:/a\n1:name=systemd:/\n0::/\n4:pids:/\n5:rdma:/\n")}
			for _, dir := range []string{"cpu", "cpuacct", "memory", "pids", "unified"} {
				files["sys/fs/cgroup/"+dir+"/cgroup.controllers"] = &fstest.MapFile{}
			}
		}, "cgroups", CheckOK, "v1, hybrid: cpu cpuacct memory pids"},
		{"no open_tree", func(m *machine, _ fstest.MapFS) { m.release = "5.1.21-generic" }, "mounts", CheckMissing, "no open_tree(2)"},
		{"no mount_setattr", func(m *machine, _ fstest.MapFS) { m.release = "5.10.0-30-amd64" }, "mounts", CheckWarning, "--read-only"},
		{"mount_setattr", func(m *machine, _ fstest.MapFS) { m.release = "5.12.0" }, "mounts", CheckOK, "mount_setattr(2)"},
		{"no release", func(m *machine, _ fstest.MapFS) { m.release = "" }, "mounts", CheckWarning, "unknown"},
		{"user namespaces closed to a user", func(m *machine, files fstest.MapFS) {
			m.user = &userns.IDs{}
			files["proc/sys/user/max_user_namespaces"] = &fstest.MapFile{Data: []byte("0\n")}
		}, "user namespaces", CheckMissing, "max_user_namespaces is 0"},
		{"one user", func(m *machine, _ fstest.MapFS) {
			m.user = &userns.IDs{Missing: hint.With(errors.New("none"), "add some")}
		}, "user ids", CheckWarning, "none: the container has one user, 0"},
		{"newuidmap without its bit", func(m *machine, _ fstest.MapFS) {
			m.user = &userns.IDs{UIDs: userns.Ranges{Tool: "/dev/null"}, GIDs: userns.Ranges{Tool: "/usr/bin/newgidmap"}}
		}, "user ids", CheckMissing, "/dev/null has lost its set-uid bit"},
		{"users of a container's own", func(*machine, fstest.MapFS) {}, "user ids", CheckOK, "65536 of its own"},
		{"no users of its own", func(m *machine, _ fstest.MapFS) { m.ownIDs = unix.EINVAL }, "user ids", CheckWarning, "(--userns auto): invalid argument"},
		{"limits of root", func(*machine, fstest.MapFS) {}, "limits", CheckOK, "memory, processor time and processes"},
		{"fewer limits", write("sys/fs/cgroup/cgroup.controllers", "memory"), "limits", CheckWarning, "none of cpu, pids"},
		{"limits of a user", func(m *machine, _ fstest.MapFS) { m.user = &userns.IDs{} }, "limits", CheckOK, "your systemd"},
		{"no limits of a user", func(m *machine, _ fstest.MapFS) {
			m.user, m.scope = &userns.IDs{}, hint.New("without root there are no limits on cgroup v1", "sudo")
		}, "limits", CheckWarning, "none: without root there are no limits on cgroup v1"},
		{"networks of root", func(*machine, fstest.MapFS) {}, "networks", CheckOK, "bridge, none, host; in user mode slirp4netns or pasta"},
		{"networks of root alone", func(m *machine, _ fstest.MapFS) { m.network.programs = nil }, "networks", CheckOK, "in user mode none (apt-get install slirp4netns)"},
		{"a firewall", func(m *machine, _ fstest.MapFS) { m.network.forward = hint.New("drop", "accept") }, "networks", CheckWarning, "drop"},
		{"networks of a user", func(m *machine, _ fstest.MapFS) { m.user = &userns.IDs{} }, "networks", CheckOK, "bridge by slirp4netns or pasta, none, host"},
		{"no program", func(m *machine, _ fstest.MapFS) { m.user, m.network.programs = &userns.IDs{}, nil }, "networks", CheckWarning, "neither slirp4netns nor pasta"},
		{"no tun", func(m *machine, _ fstest.MapFS) { m.user, m.network.tun = &userns.IDs{}, unix.EACCES }, "networks", CheckWarning, "/dev/net/tun: permission denied"},
		{"user namespaces closed", write("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n"), "user namespaces", CheckWarning, "is 1"},
		{"docker-default not loaded", write("sys/kernel/security/apparmor/profiles", "man (enforce)\nnot-docker-default (enforce)\n"), "AppArmor", CheckWarning, "docker-default is not loaded"},
		{"AppArmor off", write("sys/module/apparmor/parameters/enabled", "N\n"), "AppArmor", CheckOK, "not in use"},
		{"no systemd", remove("run/systemd/system/keep"), "systemd", CheckOK, "does not run"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, files := wholeMachine(t)
			test.change(&m, files)
			for _, c := range m.checks() {
				if c.Name != test.check {
					continue
				}
				if c.Status != test.status || !strings.Contains(c.Detail, test.detail) {
					t.Errorf("%+v, want %s and %q", c, test.status, test.detail)
				}
				if (c.Fix == "") != (c.Status == CheckOK) {
					t.Errorf("status %s with fix %q", c.Status, c.Fix)
				}
				return
			}
			t.Fatalf("no check %q", test.check)
		})
	}
}

// The probes distinguish flags that the kernel knows from others, and leave this process without
// a filter.
func TestSeccompProbe(t *testing.T) {
	if err := seccompProbe(probeFilter); err != nil {
		t.Errorf("filter: %v", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 1<<31, 0); errno != unix.EINVAL {
		t.Errorf("an unknown flag gives %v, want EINVAL", errno)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "Seccomp:\t0\n") {
		t.Error("the probe left a filter")
	}
}
