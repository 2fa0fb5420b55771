package cli

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp/analyze"
	"github.com/minirun/minirun/seccomp/bpf"
)

func TestBlame(t *testing.T) {
	has := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE"}
	mask := func(caps ...int) (bits uint64) {
		for _, c := range caps {
			bits |= 1 << c
		}
		return bits
	}
	asked := func(caps ...int) launcher.Sighting { return launcher.Sighting{Asked: mask(caps...)} }
	at := func(o launcher.Obstacle) launcher.Refused {
		return launcher.Refused{Errno: unix.EROFS, FindObstacle: func() launcher.Obstacle { return o }}
	}
	for name, test := range map[string]struct {
		call    string
		refused launcher.Refused
		because string
		how     string
	}{
		"lacked by the container":  {"mount", launcher.Refused{Sighting: asked(unix.CAP_SYS_ADMIN)}, "the kernel asked for CAP_SYS_ADMIN, which the container does not have", "--cap-add CAP_SYS_ADMIN"},
		"and by a user":            {"mount", launcher.Refused{Sighting: asked(unix.CAP_SYS_ADMIN), User: 5}, "the kernel asked for CAP_SYS_ADMIN, which the container does not have", "--cap-add CAP_SYS_ADMIN, and run it as root"},
		"lacked by a user":         {"chown", launcher.Refused{Sighting: asked(unix.CAP_CHOWN), User: 5}, "the kernel asked for CAP_CHOWN, which the container has but this process (user 5) does not", "run it as root"},
		"given up":                 {"chown", launcher.Refused{Sighting: asked(unix.CAP_CHOWN)}, "the kernel asked for CAP_CHOWN, which the container has but this process (user 0) does not", ""},
		"either, one held":         {"open", launcher.Refused{Sighting: asked(unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH), User: 5}, "the kernel asked for CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH, which the container has but this process (user 5) does not", "run it as root"},
		"either, none held":        {"syslog", launcher.Refused{Sighting: asked(unix.CAP_SYSLOG, unix.CAP_SYS_ADMIN)}, "the kernel asked for CAP_SYS_ADMIN or CAP_SYSLOG, which the container does not have", "--cap-add CAP_SYSLOG"},
		"newer than this version":  {"mount", launcher.Refused{Sighting: asked(60)}, "the kernel asked for capability 60, which the container does not have", ""},
		"a namespace of its own":   {"mount", launcher.Refused{Sighting: asked(unix.CAP_SYS_ADMIN), OwnUsers: true}, "the kernel asked for CAP_SYS_ADMIN; the process is in a user namespace of its own, and has no capabilities outside of it", ""},
		"outside of its namespace": {"syslog", launcher.Refused{Sighting: asked(unix.CAP_SYSLOG), Outside: true}, "the kernel asked for CAP_SYSLOG outside of the process's user namespace, where it has no capabilities", ""},
		"no_new_privs beside it":   {"open", launcher.Refused{Sighting: asked(unix.CAP_CHOWN), User: 5, NoNewPrivs: true}, "the kernel asked for CAP_CHOWN, which the container has but this process (user 5) does not; no_new_privs is set, so that set-user-ID programs gain nothing", "run it as root"},
		"memory is no answer":      {"execve", launcher.Refused{Sighting: asked(unix.CAP_SYS_ADMIN), Errno: unix.EACCES}, "the kernel asked for no capability that the process lacks", ""},
		"AppArmor is a fact":       {"open", launcher.Refused{Errno: unix.EACCES, AppArmor: "docker-default", NoNewPrivs: true}, "the kernel asked for no capability that the process lacks; no_new_privs is set; AppArmor confines the container by docker-default", ""},
		"read-only, no more known": {"open", launcher.Refused{Errno: unix.EROFS}, "the file system is mounted read-only", ""},
		"read-only root":           {"open", at(launcher.Obstacle{Kind: launcher.ReadOnlyRoot, Path: "/"}), "the root is read-only", "leave out --read-only"},
		"read-only sysfs":          {"open", at(launcher.Obstacle{Kind: launcher.ReadOnlyMount, Path: "/sys"}), "the mount on /sys is read-only", ""},
		"device":                   {"open", at(launcher.Obstacle{Kind: launcher.DeviceNode, Path: "/d", Device: "c 1:2"}), "/d is a device, which the container's device cgroup does not allow", "--device-cgroup-rule 'c 1:2 rwm'"},
		"a device on nodev":        {"open", at(launcher.Obstacle{Kind: launcher.NoDevices, Path: "/d", Mount: "/"}), "/d is a device, and its file system is mounted nodev", ""},
		"noexec":                   {"execve", at(launcher.Obstacle{Kind: launcher.NoExecutables, Path: "/t/x", Mount: "/t"}), "the file system of /t/x is mounted noexec", "mount /t with exec"},
		"no execute bit":           {"access", at(launcher.Obstacle{Kind: launcher.NotExecutable, Path: "/t/x y"}), "/t/x y has no execute bit", "chmod +x '/t/x y'"},
		"an immutable file":        {"unlinkat", at(launcher.Obstacle{Kind: launcher.Immutable, Path: "/f"}), "/f is immutable or append-only (chattr(1))", ""},
		"file capabilities":        {"execve", launcher.Refused{Errno: unix.EPERM, Sighting: asked(unix.CAP_SYS_ADMIN), FindObstacle: at(launcher.Obstacle{Kind: launcher.Unbounded, Path: "/p", Lacks: mask(unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN)}).FindObstacle}, "/p has file capabilities (capabilities(7)) that the container does not have: CAP_NET_RAW CAP_SYS_ADMIN", "--cap-add CAP_NET_RAW --cap-add CAP_SYS_ADMIN"},
		"an answer":                {"sendto", launcher.Refused{Sighting: asked(unix.CAP_NET_ADMIN), Answered: true}, "the kernel asked for CAP_NET_ADMIN, which the container does not have; its answer to the message says so (netlink(7))", "--cap-add CAP_NET_ADMIN"},
		"open files":               {"prlimit64", launcher.Refused{Errno: unix.EPERM}, "no limit of open files is above the kernel's (sysctl fs.nr_open); no capability helps", ""},
		"locked memory":            {"mlockall", launcher.Refused{Sighting: asked(unix.CAP_IPC_LOCK), Errno: unix.ENOMEM}, "the kernel asked for CAP_IPC_LOCK, which the container does not have", "--ulimit memlock=N, with N as large as it asks for--cap-add CAP_IPC_LOCK"},
		"too many processes":       {"clone", launcher.Refused{Sighting: asked(unix.CAP_SYS_RESOURCE, unix.CAP_SYS_ADMIN), Errno: unix.EAGAIN}, "the kernel asked for CAP_SYS_ADMIN or CAP_SYS_RESOURCE, which the container does not have", "--ulimit nproc=N, with N as large as it asks for--cap-add CAP_SYS_RESOURCE"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &liveReports{reported: reported{program: &bpf.Program{}}, capabilities: has}
			one := &liveReport{Call: test.call}
			r.blame(one, test.refused, bpf.Verdict(unix.SECCOMP_RET_ALLOW))
			how := ""
			for _, c := range one.Changes {
				how += c.How
			}
			if one.Because != "the filter allows it; "+test.because || how != test.how {
				t.Errorf("%q, %q", one.Because, how)
			}
		})
	}
	limit := &liveReport{Call: "prlimit64", Args: []string{"0", "RLIMIT_NOFILE", "0x1", "NULL"}}
	(&liveReports{}).blame(limit, launcher.Refused{Sighting: asked(unix.CAP_SYS_RESOURCE), Errno: unix.EPERM}, 0)
	if len(limit.Changes) != 2 || limit.Changes[0].How != "--ulimit nofile=N, with N as large as it asks for" {
		t.Errorf("%+v", limit.Changes)
	}
	one := &liveReport{Call: "mount"}
	(&liveReports{}).blame(one, launcher.Refused{Sighting: asked(unix.CAP_SYS_ADMIN)}, 0)
	if strings.Contains(one.Because, "filter") {
		t.Errorf("unconfined: %q", one.Because)
	}
}

// What no privilege would change is not reported.
func TestIsNoRefusal(t *testing.T) {
	const tiocspgrp = 0x5410
	for _, test := range []struct {
		nr    uint32
		arg   uint64
		errno unix.Errno
		want  bool
	}{
		{unix.SYS_SETPGID, 0, unix.EPERM, true},
		{unix.SYS_SETPGID, 0, unix.EACCES, true},
		{unix.SYS_SETSID, 0, unix.EPERM, true},
		{unix.SYS_EPOLL_CTL, 0, unix.EPERM, true},
		{unix.SYS_IOCTL, tiocspgrp, unix.EPERM, true},
		{unix.SYS_IOCTL, unix.TIOCSTI, unix.EPERM, false},
		{unix.SYS_OPENAT, 0, unix.EPERM, false},
		{unix.SYS_FUTEX, 0, unix.EACCES, false},
	} {
		refused := launcher.Refused{Errno: test.errno}
		refused.Notification = launcher.Notification{Arch: unix.AUDIT_ARCH_X86_64, Nr: test.nr, Args: [6]uint64{0, test.arg}}
		if got := isNoRefusal(refused); got != test.want {
			t.Errorf("call %d, %#x, %v: %t", test.nr, test.arg, test.errno, got)
		}
	}
}

// Calls that differ in addresses alone are one report.
func TestPattern(t *testing.T) {
	for _, test := range []struct {
		one, other []string
		same       bool
	}{
		{[]string{"0x7ffe1", "0x55d2", "1025", "0", "0"}, []string{"0x7ffe2", "0x55d3", "1025", "0", "0"}, true},
		{[]string{"0x7ffe1", "0x55d2", "1025", "0", "0"}, []string{"0x7ffe1", "0x55d2", "1024", "0", "0"}, false},
		{[]string{"0x7ffe1", "NULL", "1025", "0", "0"}, []string{"0x7ffe1", "0x55d2", "1025", "0", "0"}, false},
	} {
		a, b := &liveReport{Call: "get_mempolicy", Args: test.one}, &liveReport{Call: "get_mempolicy", Args: test.other}
		if same := a.pattern() == b.pattern(); same != test.same {
			t.Errorf("%s, %s: %v", a.text(), b.text(), same)
		}
	}
}

// The capability that allows least comes first.
func TestChangeRank(t *testing.T) {
	changes := []change{{Kind: analyze.RemedyCapability, How: "--cap-add CAP_SYS_ADMIN"}, {Kind: analyze.RemedyCapability, How: "--cap-add CAP_SYSLOG"}, {Kind: analyze.RemedyEdit, How: "edit"}}
	slices.SortStableFunc(changes, func(a, b change) int { return changeRank(a) - changeRank(b) })
	if changes[0].How != "--cap-add CAP_SYSLOG" || changes[1].How != "--cap-add CAP_SYS_ADMIN" || changes[2].How != "edit" {
		t.Errorf("%+v", changes)
	}
}
