package launcher

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// probe is a question to seccomp(2) that changes nothing.
type probe int

const (
	probeFilter   probe = iota // may filters be installed?
	probeListener              // with a listener, on all threads at once?
	probeKillable              // and with calls that signals do not interrupt?
)

// seccompProbe asks as libseccomp does: given no program, the kernel checks the flags first
// (EINVAL) and then the program (EFAULT).
func seccompProbe(p probe) error {
	var flags uintptr
	if p != probeFilter {
		// allowed together since Linux 5.7 (51891498f2da)
		flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	}
	if p == probeKillable {
		flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV // Linux 5.19
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(nil)))
	if errno == unix.EFAULT {
		return nil
	}
	return errno
}

// filterFix is the hint where filters cannot be installed.
const filterFix = "run a kernel built with CONFIG_SECCOMP=y and CONFIG_SECCOMP_FILTER=y; in a container, one whose own filter allows seccomp(2)"

// CheckFilters asks the kernel whether filters can be installed. If not, the error is an
// [Error].
func CheckFilters() error {
	if err := seccompProbe(probeFilter); err != nil {
		return hint.With(&Error{Op: "seccomp: filters cannot be installed", Err: err}, filterFix)
	}
	return nil
}

func (m machine) filter() Check {
	c := Check{Name: "seccomp", Status: CheckOK}
	err := m.seccomp(probeFilter)
	config, source := m.kernelConfig("CONFIG_SECCOMP", "CONFIG_SECCOMP_FILTER")
	c.Detail = "filters can be installed"
	if err != nil {
		c.Status, c.Detail, c.Fix = CheckMissing, "filters cannot be installed: "+err.Error(), filterFix
	}
	if source != "" {
		c.Detail += fmt.Sprintf(" (%s in /%s)", strings.Join(config, ", "), source)
	}
	return c
}

// actionNames are the kernel's names of the actions that a profile can ask for
// (Documentation/userspace-api/seccomp_filter.rst).
var actionNames = [...]string{"kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow"}

func (m machine) actions() Check {
	const file = "proc/sys/kernel/seccomp/actions_avail"
	c := Check{Name: "seccomp actions", Status: CheckOK}
	data, err := fs.ReadFile(m.root, file)
	if err != nil {
		c.Status, c.Detail, c.Fix = CheckWarning, "unknown: "+err.Error(), "Linux 4.14 and later have /"+file
		return c
	}
	available := strings.Fields(string(data))
	c.Detail = strings.Join(available, " ")
	var lacking []string
	for _, name := range actionNames {
		if !slices.Contains(available, name) {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) > 0 {
		c.Status, c.Detail = CheckWarning, c.Detail+"; profiles that use "+strings.Join(lacking, ", ")+" are refused"
		c.Fix = "run Linux 5.0 or later, which has them all"
	}
	return c
}

// pidfdProbe takes a file from this process by the call with which the launcher takes a
// listener from init. Of its own process it fails only if the kernel does not have the call
// or a filter denies it.
func pidfdProbe() error {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(self)
	fd, err := unix.PidfdGetfd(self, self, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// ptrace checks whether pidfd_getfd(2) works, by which the launcher takes a listener from init.
func (m machine) ptrace() Check {
	const needed = "--explain-filter, --complain, --record and SCMP_ACT_NOTIFY need it"
	c := Check{Name: "pidfd_getfd", Status: CheckOK, Detail: "the launcher can take a listener from a container's init"}
	data, err := fs.ReadFile(m.root, "proc/sys/kernel/yama/ptrace_scope")
	if err == nil && strings.TrimSpace(string(data)) == "3" { // Documentation/admin-guide/LSM/Yama.rst
		c.Status, c.Detail = CheckWarning, "yama forbids it to all (kernel.yama.ptrace_scope is 3); "+needed
		c.Fix = "boot with a kernel.yama.ptrace_scope of 0, 1 or 2: it cannot be lowered later"
	} else if err := m.pidfd(); err != nil {
		c.Status, c.Detail = CheckWarning, err.Error()+"; "+needed
		c.Fix = "run Linux 5.6 or later; in a container, one whose own filter allows pidfd_getfd(2)"
	}
	return c
}

// tracing checks whether capability checks can be watched, and names kernel lockdown where
// it may be the reason (kernel_lockdown(7)).
func (m machine) tracing() Check {
	lockdown := ""
	if data, err := fs.ReadFile(m.root, "sys/kernel/security/lockdown"); err == nil {
		if _, mode, ok := strings.Cut(string(data), "["); ok {
			lockdown, _, _ = strings.Cut(mode, "]")
		}
	}
	c := Check{Name: "tracing", Status: CheckOK}
	how, err := m.trace()
	c.Detail = "capability checks can be watched by " + how
	if err != nil {
		c.Status, c.Detail = CheckWarning, "--explain cannot report what the kernel refuses, only what the filter denies: "+err.Error()
		c.Fix = "run Linux 5.11 or later on amd64, with CONFIG_DEBUG_INFO_BTF before 6.14, as root outside of a container"
		if lockdown == "confidentiality" {
			c.Fix = "boot with lockdown=integrity or without lockdown"
		}
	}
	if lockdown != "" {
		c.Detail += " (lockdown: " + lockdown + ")"
	}
	return c
}

func (m machine) listener() Check {
	c := Check{Name: "seccomp listener", Status: CheckOK, Detail: "the kernel has it, for --explain, --complain and SCMP_ACT_NOTIFY"}
	if err := m.seccomp(probeListener); err != nil {
		c.Status, c.Detail = CheckWarning, "the kernel has none: "+err.Error()+"; --explain, --complain and SCMP_ACT_NOTIFY need one"
		c.Fix = "run Linux 5.7 or later"
	}
	return c
}
