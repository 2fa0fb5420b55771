package launcher

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/arm"
)

// step is a step that libcontainer's init takes before it looks the command up. The texts of
// its errors identify it.
type step struct {
	pattern string // of the error's text; its groups fill in op
	op      string // what the user asked for; $1 and so on are groups
	cause   Cause
	help    string
}

// steps returns the steps that can fail because of what the user asked for.
func steps() []step {
	const quoted = `"((?:[^"\\]|\\.)*)"`
	return []step{
		{`error mounting ` + quoted + ` to rootfs at ` + quoted + `: `, "mount $1 at $2", 0, ""},
		{`device inode "?([^":]+)"?: `, "make the device $1", CauseDevice, ""},
		{`mknodat \S*root(/\S+): `, "make the device $1", CauseDevice, ""},
		{`error setting rlimit type (\d+): `, "--ulimit $1", 0, ulimitHelp},
		{`update /proc/self/oom_score_adj: `, "--oom-score-adj", 0, oomScoreHelp},
		{`open /dev/null: `, "start container: open /dev/null", 0, replacedHelp},
		{`unable to apply apparmor profile: `, "apply the AppArmor profile", 0, appArmorHelp},
		{`^mkdir (\S+): `, "make the working directory $1", CauseWorkdir, ""},
		{`chdir to cwd \(` + quoted + `\) set in config\.json failed: `, "enter the working directory $1", CauseEnterWorkdir, ""},
		{`proc(?:/\.)?/?sys/(\S+): `, "set the kernel parameter $1", CauseSysctl, ""},
		{`sethostname: `, "set the host name", CauseHostname, ""},
		{`container init was OOM-killed`, "start container", CauseMemory, ""},
	}
}

const (
	ulimitHelp   = "see 'ulimit -H -a', and /proc/sys/fs/nr_open for nofile"
	oomScoreHelp = "without CAP_SYS_RESOURCE it can only be raised, from /proc/self/oom_score_adj on"
	replacedHelp = "fix what the image or a mount has in its place"
	appArmorHelp = "'aa-status' lists the profiles that are loaded"
)

// stepError rewords an error that libcontainer's init reported before it looked the command
// up. The last part of its text is the cause. The rest is about internal steps, paths and
// descriptors that mean nothing to the user.
func stepError(text string) error {
	for _, s := range steps() {
		pattern := regexp.MustCompile(s.pattern)
		at := pattern.FindStringSubmatchIndex(text)
		if at == nil {
			continue
		}
		op := string(pattern.ExpandString(nil, s.op, text, at))
		if number, ok := strings.CutPrefix(op, "--ulimit "); ok {
			op = "--ulimit " + rlimitName(number)
		}
		why := inContainer(text[strings.LastIndex(text, ": ")+len(": "):])
		if strings.HasPrefix(s.op, "--oom-score-adj") { // by libcontainer's code in C
			why = strings.ToLower(why)
		}
		if strings.HasPrefix(s.pattern, "container init was OOM") {
			why = "the memory limit is too low for it"
		}
		if s.cause == 0 && s.help == "" {
			s.help = mountPointHelp(why)
		}
		return hint.With(&Error{Op: op, Err: errors.New(why), Cause: s.cause}, s.help)
	}
	return &Error{Op: "start container", Err: errors.New(inContainer(text))}
}

// inContainer returns a text with the paths in a container's root as the container sees them.
func inContainer(text string) string {
	root := regexp.MustCompile(`[^\s"]*(?:/` + regexp.QuoteMeta(rootDir) + `|` + ownRoot + `)\b`)
	return root.ReplaceAllString(text, "")
}

func mountPointHelp(why string) string {
	switch {
	case why == "not a directory":
		return "a directory is mounted on a directory, and anything else on a file"
	case why == "no such file or directory", why == "read-only file system":
		return "the place for it does not exist there, and cannot be made"
	case strings.HasSuffix(why, " inside /proc"):
		return "choose another place for it"
	}
	return ""
}

// rlimitName returns the name of a limit, nofile for RLIMIT_NOFILE.
func rlimitName(number string) string {
	for name, n := range rlimitNumber {
		if strconv.Itoa(n) == number {
			return strings.ToLower(strings.TrimPrefix(name, "RLIMIT_"))
		}
	}
	return number
}

// runError returns the error for an init that did not get ready, or did not become the
// command.
func (l *launched) runError(err error) error {
	var failed *arm.Error
	if !errors.As(err, &failed) {
		return initError("start container", err)
	}
	switch failed.Step {
	case arm.StepExec, arm.StepLookup:
		err := execFailed(l.o.Spec.Process, l.init.pid, failed)
		if l.o.Agent != nil && hint.Text(err) == "" {
			return hint.With(err, "perhaps the seccomp agent at "+l.o.Agent.Path+" has answered so, or has ended")
		}
		return err
	case arm.StepPlan:
		return l.planError(failed)
	}
	return initError("start container", err)
}

// armError returns the error for a filter that was not installed, or whose listener was not
// taken from init.
func armError(err error) error {
	const op = "arm the seccomp filter"
	var call *os.SyscallError
	if errors.As(err, &call) && call.Syscall == "pidfd_getfd" && errors.Is(err, unix.EPERM) {
		return &Error{Op: op, Err: err, Cause: CausePidfd}
	}
	return initError(op, err)
}

// initError returns the error for a failure that init has reported. For any other err, op is
// the Op of the result.
func initError(op string, err error) error {
	var failed *arm.Error
	if !errors.As(err, &failed) {
		return asError(op, err)
	}
	switch failed.Step {
	case arm.StepJoin:
		return &Error{Op: "join the cgroup " + failed.Path, Err: failed.Errno, Cause: CauseJoinCgroup}
	case arm.StepFilter:
		return &Error{Op: "arm the seccomp filter", Err: failed.Errno}
	}
	return &Error{Op: "start container", Err: failed}
}
