package launcher

import (
	"errors"
	"testing"
)

func TestStartError(t *testing.T) {
	const preamble = "unable to start container process: error during container init: "
	for _, tt := range []struct {
		text, want string
		status     int
	}{
		{`exec: "foo": executable file not found in $PATH`, "run foo: executable file not found in $PATH", StatusNotFound},
		{`exec: "foo": stat foo: no such file or directory`, "run foo: no such file or directory", StatusNotFound},
		{`exec: "foo": permission denied`, "run foo: permission denied", StatusNotExecutable},
		{`exec: "foo": is a directory`, "run foo: is a directory", StatusNotExecutable},
		{"error mounting: exec: no such file or directory", "start container: error mounting: exec: no such file or directory", StatusError},
	} {
		var e *Error
		if err := startError("foo", errors.New(preamble+tt.text)); !errors.As(err, &e) || e.Error() != tt.want || e.ExitCode() != tt.status {
			t.Errorf("%s: got %v (%d), want %s (%d)", tt.text, e, e.ExitCode(), tt.want, tt.status)
		}
	}
	// os/exec quotes the name, which has gone through JSON.
	for name, quoted := range map[string]string{
		`a"b\c`:      `"a\"b\\c"`,
		"a\tb\x7f\n": `"a\tb\x7f\n"`,
		"a\xff\xfe":  `"a��"`,
		"é\u200b":    `"é\u200b"`,
		"":           `""`,
	} {
		var e *Error
		if err := startError(name, errors.New(preamble+"exec: "+quoted+": executable file not found in $PATH")); !errors.As(err, &e) || e.ExitCode() != StatusNotFound {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Errors of libcontainer's internal steps are reworded as what the user asked for, and why it
// failed. The texts are those of runc 1.5.2.
func TestStepError(t *testing.T) {
	for text, want := range map[string]string{
		`error mounting "/srv/a b" to rootfs at "/etc": mount src=/srv/a b, dst=/etc, dstFd=/proc/thread-self/fd/15, flags=MS_BIND|MS_REC: not a directory`:                                                    "mount /srv/a b at /etc: not a directory",
		`error mounting "/srv" to rootfs at "/etc/passwd/x": create mountpoint for /etc/passwd/x mount: lookup mountpoint target: securejoin.OpenInRoot /etc/passwd/x: openat2 /etc/passwd/x: not a directory`: "mount /srv at /etc/passwd/x: not a directory",
		`error mounting "/srv" to rootfs at "/proc/x": create mountpoint for /proc/x mount: make mountpoint "/proc/x": mkdirat /run/minirun/.root/proc/x: no such file or directory`:                           "mount /srv at /proc/x: no such file or directory",
		`error mounting "/srv" to rootfs at "/proc": check proc-safety of /proc mount: "/proc" cannot be mounted because it is not of type proc`:                                                               `mount /srv at /proc: "/proc" cannot be mounted because it is not of type proc`,
		`configuring container /dev: error creating device nodes: mkdir parent of device inode "/etc/passwd/x": cannot create subdirectories in "/s/.root/etc/passwd": not a directory`:                        "make the device /etc/passwd/x: not a directory",
		`configuring container /dev: error creating device nodes: mknodat /run/minirun-root/proc/x: no such file or directory`:                                                                                 "make the device /proc/x: no such file or directory",
		`mkdir /etc/passwd: not a directory`:                                                                                                                "make the working directory /etc/passwd: not a directory",
		`chdir to cwd ("/root") set in config.json failed: permission denied`:                                                                               "enter the working directory /root: permission denied",
		`error setting rlimits for ready process: error setting rlimit type 7: operation not permitted`:                                                     "--ulimit nofile: operation not permitted",
		`unable to apply apparmor profile: apparmor failed to apply profile: write fsmount:fscontext:proc/thread-self/attr/exec: invalid argument`:          "apply the AppArmor profile: invalid argument",
		`failed to write sysctl net.ipv4.ip_forward = "x": write fsmount:fscontext:proc/./sys/net/ipv4/ip_forward: invalid argument`:                        "set the kernel parameter net/ipv4/ip_forward: invalid argument",
		`open /proc/sys/kernel/nosuch: no such file or directory`:                                                                                           "set the kernel parameter kernel/nosuch: no such file or directory",
		`can't get final child's PID from pipe: EOF; runc init error(s): nsexec[7]: failed to update /proc/self/oom_score_adj: Permission denied`:           "--oom-score-adj: permission denied",
		`error reopening /dev/null inside container: open /dev/null: is a directory`:                                                                        "start container: open /dev/null: is a directory",
		`error mounting "tmpfs" to rootfs at "/proc/1": check proc-safety of /proc/1 mount: "/s/.root/proc/1" cannot be mounted because it is inside /proc`: `mount tmpfs at /proc/1: "/proc/1" cannot be mounted because it is inside /proc`,
		`sethostname: invalid argument`:                                             "set the host name: invalid argument",
		`container init was OOM-killed (memory limit too low?): read init-p: reset`: "start container: the memory limit is too low for it",
		`can't mask path "/s/.root/proc/acpi": invalid argument`:                    `start container: can't mask path "/proc/acpi": invalid argument`,
	} {
		if got := stepError(text); got.Error() != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got.Error(), want)
		}
	}
}
