package launcher

/*
#include "wait.h"
*/
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/launcher/arm"
)

// Remains is a task that a launcher in C ([Options.Rest]) leaves to Go: to print a message,
// or to remove a container that it could not remove.
type Remains struct {
	task   int // enum wait_task
	record *C.struct_wait_record
	mem    []byte
	warn   func(error)
}

// TakeRemains returns the task that a launcher in C has left to this process, its child. It
// returns nil in any other process. warn gets the errors that do not change the status.
func TakeRemains(warn func(error)) (*Remains, error) {
	number, task, _ := strings.Cut(os.Getenv(C.REST_VARIABLE), ",")
	if number == "" {
		return nil, nil
	}
	os.Unsetenv(C.REST_VARIABLE)
	r := &Remains{warn: warn}
	fd, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", C.REST_VARIABLE, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("%s: %w", C.REST_VARIABLE, err)
	}
	if st.Size < C.sizeof_struct_wait_record {
		return nil, errors.New(C.REST_VARIABLE + ": not a record")
	}
	if r.mem, err = unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	r.record = (*C.struct_wait_record)(unsafe.Pointer(unsafe.SliceData(r.mem)))
	if C.GoString(&r.record.magic[0]) != C.WAIT_MAGIC || r.record.version != C.WAIT_VERSION || int64(r.record.size) != st.Size || r.mem[st.Size-1] != 0 {
		return nil, errors.New(C.REST_VARIABLE + ": not a record")
	}
	r.task, err = strconv.Atoi(task)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", C.REST_VARIABLE, err)
	}
	return r, nil
}

// text returns a text of the record; texts returns several that follow one another.
func (r *Remains) text(at C.uint32_t) string {
	return unix.ByteSliceToString(r.mem[min(int(at), len(r.mem)-1):])
}

func (r *Remains) texts(at, count C.uint32_t) []string {
	all := make([]string, count)
	for i := range all {
		all[i] = r.text(at)
		at += C.uint32_t(len(all[i]) + 1)
	}
	return all
}

// Do carries the task out. If it is to report the end of the launch, Do returns what
// [Container.Run] would: the status, or an error.
func (r *Remains) Do() (status int, err error) {
	switch r.task {
	case C.WAIT_SAY_IGNORED:
		r.warn(ignored())
	case C.WAIT_SAY_END:
		return r.outcome()
	case C.WAIT_REMOVE:
		if err := r.remove(); err != nil {
			r.warn(err)
		}
	case C.WAIT_ATTACH:
		return 0, r.serve()
	}
	return 0, nil
}

func (r *Remains) outcome() (status int, err error) {
	errno := unix.Errno(r.record.error)
	switch r.record.failure {
	case C.WAIT_GUARD:
		return 0, &Error{Op: "start the container's guard", Err: os.NewSyscallError("fork", errno)}
	case C.WAIT_RAW:
		return 0, &Error{Op: takeStreams, Err: rawError(errno)}
	case C.WAIT_EXEC:
		return 0, r.execError()
	}
	status, err = int(r.record.status), r.lost()
	if err != nil && status != 0 {
		r.warn(err) // the command's own status says more
		err = nil
	}
	if r.record.interrupted != 0 {
		r.warn(ignoredTwice())
	}
	if sig := r.record.killed_by; sig != 0 {
		return 128 + int(sig), nil
	}
	return status, err
}

// execError returns why init has not become the command.
func (r *Remains) execError() error {
	l := &launched{init: &initProcess{pid: int(r.record.pid)}}
	l.o.Spec = &specs.Spec{Process: &specs.Process{Args: []string{r.text(r.record.command)}, Cwd: r.text(r.record.workdir)}}
	page, err := arm.OpenFailed(os.NewFile(uintptr(r.record.page), "minirun-init"))
	if err != nil {
		return &Error{Op: "start container", Err: err}
	}
	defer page.Close()
	return l.runError(cmp.Or(page.Failure(), arm.ErrInitDied))
}

// lost returns why not all of the output was passed on, or nil.
func (r *Remains) lost() error {
	if sig := unix.Signal(r.record.unread); sig != 0 {
		return unread(sig)
	}
	for i, name := range [...]string{C.STREAM_OUT: standardOutput, C.STREAM_ERR: standardError} {
		if errno := unix.Errno(r.record.lost[i]); errno != 0 {
			return lost(name, errno)
		}
	}
	return nil
}

// remove removes what the launcher in C has left of a container that has ended.
func (r *Remains) remove() error {
	var err error
	for _, path := range r.texts(r.record.mounts, r.record.mount_count) {
		if uerr := unix.Unmount(path, unix.MNT_DETACH); uerr != nil && uerr != unix.EINVAL && uerr != unix.ENOENT {
			err = errors.Join(err, &os.PathError{Op: "unmount", Path: path, Err: uerr})
		}
	}
	c := &Container{dir: r.text(r.record.directory), lock: os.NewFile(uintptr(r.record.lock), "lock"), warn: r.warn}
	data, rerr := atomicfile.Read(r.text(r.record.state))
	if errors.Is(rerr, os.ErrNotExist) { // all but the directory has been removed
		c.state.Name = filepath.Base(c.dir)
		return errors.Join(err, c.removeDir())
	}
	if rerr = errors.Join(rerr, json.Unmarshal(data, &c.state)); rerr != nil {
		return errors.Join(err, rerr)
	}
	c.state.dir = c.dir
	cm, cerr := c.manager()
	if cerr == nil {
		cerr = cm.Destroy()
	}
	if cerr != nil && !errors.Is(cerr, ErrNoCgroup) {
		err = errors.Join(err, fmt.Errorf("remove container %s: %w", c.state.Name, cerr))
	}
	return errors.Join(err, r.end(c))
}

// end removes the directory of a container in which nothing is left, or notes how the
// container has ended if that is to stay, or is about to be started again.
func (r *Remains) end(c *Container) error {
	failed := r.record.failure != 0 || r.record.finished == 0
	if failed && r.record.before != 0 {
		c.before = &State{}
		if err := json.Unmarshal([]byte(r.text(r.record.before)), c.before); err != nil {
			return err
		}
		c.before.dir = c.dir
		return c.GiveUp()
	}
	if failed && r.record.stays != 0 {
		_ = os.Remove(r.text(r.record.id_file)) // as remove_container does; there may be none
	}
	if failed || !c.state.Keep && !c.HeldForRestart() {
		return c.removeDir()
	}
	c.launched = &launched{discarded: true}
	c.state.ExitCode, c.state.Finished = int(r.record.status), time.Unix(0, int64(r.record.finished))
	return c.Finish()
}
