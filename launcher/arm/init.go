// Package arm is how a container's init comes under its seccomp filter and becomes the
// command: the page that launcher and init share, the launcher's side of it ([Page]),
// and init's ([Init], and the C files). The filter has no say over what happens before
// the command's execve(2), and needs to allow nothing but that.
//
// Importing the package is what makes a program able to be an init: C constructors
// (join.c, and libcontainer's nsenter) run before the Go runtime starts.
package arm

/*
#cgo LDFLAGS: -lpthread -Wl,--wrap=pthread_create
#include "page.h"
#include "quit.h"
*/
import "C"

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins the namespaces before the Go runtime starts
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// IsInit reports whether this process was started by a launcher to become a container's
// init. The argument alone does not tell: `minirun init` runs an image of that name.
func IsInit() bool {
	return C.page != nil
}

// A package's init runs on the main thread. main.main need not: the goroutine may
// have moved to another thread before it could lock itself to this one, where
// the launcher would look in vain for the parked init. Seen under emulation.
func init() { //nolint:gochecknoinits // nothing later than this will do
	if IsInit() {
		runtime.LockOSThread() // PR_SET_PDEATHSIG is per thread (prctl(2)), and so is the exec to come
	}
}

// Init returns at once in any process but a container's init. There it does not return:
// it sets up the container from inside and becomes its command. When anything fails the
// process ends, and the launcher reports why.
//
// The parent-death signal is set here, since libcontainer's own is lost in the
// double clone that enters the namespaces. Should the launcher have died before
// that, libcontainer finds its pipe closed and ends.
func Init() {
	if !IsInit() {
		return
	}
	C.quit_on_signals()
	if err := restoreFileLimit(); err != nil {
		fatal("restore the limit on open files", err)
	}
	if C.page.outlives == 0 {
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			fatal("set the parent-death signal", err)
		}
	}
	if errno := C.arm_start(); errno != 0 {
		fatal("start the arming thread", unix.Errno(errno))
	}
	if err := os.Setenv("_LIBCONTAINER_LOGLEVEL", strconv.Itoa(int(logrus.DebugLevel))); err != nil {
		fatal("set the log level", err)
	}
	logrus.AddHook(&lastStep{})
	libcontainer.Init()
}

// lastStepMessage is libcontainer's debug message once nothing is left to be done
// but to wait and to become the command, and lastExecMessage that of a process that joins
// a container. A test reads what comes after them.
const (
	lastStepMessage = "init: closing the pipe to signal completion"
	lastExecMessage = "setns_init: about to exec"
)

// lastStep is a hook that takes the main thread away from libcontainer at that message. The
// rest is C (takeover.c): under the filter there must be no Go runtime, which may make any
// call at any time.
type lastStep struct{ quiet bool }

func (*lastStep) Levels() []logrus.Level { return []logrus.Level{logrus.DebugLevel} }

func (s *lastStep) Fire(e *logrus.Entry) error {
	if !s.quiet { // libcontainer has set its formatter by the first message
		s.quiet = true
		only := warnings{e.Logger.Formatter, e.Logger.Out}
		logrus.SetFormatter(only)
		logrus.SetOutput(only)
	}
	if e.Message != lastStepMessage && e.Message != lastExecMessage {
		return nil
	}
	// libcontainer has just found the command, but does not tell its path.
	path, err := exec.LookPath(C.GoString(C.command()))
	if err != nil {
		C.fail_init(C.STEP_LOOKUP, C.int(unix.ENOENT))
	}
	C.take_over(C.CString(path), home())
	return nil
}

// home returns HOME=DIR if the environment is to have HOME and does not, else NULL. As with
// libcontainer, DIR is that of the user's entry in the container's /etc/passwd, or the root
// directory.
func home() *C.char {
	if C.page.homed == 0 || C.has_home() != 0 {
		return nil
	}
	dir := "/"
	if u, err := user.LookupUid(os.Getuid()); err == nil && u.Home != "" {
		dir = u.Home
	}
	return C.CString("HOME=" + dir)
}

// warnings drops debug messages, which the launcher has no use for.
type warnings struct {
	logrus.Formatter
	out io.Writer
}

func (w warnings) Format(e *logrus.Entry) ([]byte, error) {
	if e.Level > logrus.WarnLevel {
		return nil, nil
	}
	return w.Formatter.Format(e)
}

// Write leaves out what Format has dropped: the pipe may be closed by then.
func (w warnings) Write(text []byte) (int, error) {
	if len(text) == 0 {
		return 0, nil
	}
	return w.out.Write(text)
}

// restoreFileLimit restores the soft limit on open files, which the Go runtime has raised,
// and makes the runtime forget it: otherwise it would restore it just before execve(2), by
// prlimit(2) under the filter. libcontainer does so too, but only if --ulimit names the
// limit; it then sets the limit again.
func restoreFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = min(uint64(C.soft_nofile), limit.Max)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// fatal ends an init that cannot yet talk to its launcher: libcontainer copies
// its standard error nowhere else, so the terminal is the only place left.
func fatal(what string, err error) {
	fmt.Fprintf(os.Stderr, "minirun: container init: %s: %v\n", what, err)
	unix.Exit(255)
}
