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
)

// Rest is what a caller of [Container.Run] would do after the container has ended. A
// launcher that goes on in C does it instead.
type Rest struct {
	Mounts []string   // paths to unmount, on which nothing need be mounted
	Files  []*os.File // to keep open until then, such as locks
	IDFile string     // to remove if the container does not start; may be empty

	// Started is for a container in the background: it gets the ID once the command runs.
	// From then on the launcher holds nothing that is the caller's. May be nil.
	Started *os.File
}

// NeedsGo says why the launcher waits for its container as a Go program.
type NeedsGo string

func (e NeedsGo) Error() string { return "needs Go: " + string(e) }

// needsGo returns why a launcher cannot go on in C while its container runs, as a [NeedsGo],
// or nil if it can.
func (c *Container) needsGo(l *launched) error {
	if l.o.Rest == nil { // the caller waits
		return NeedsGo("the caller")
	}
	var err error
	for _, f := range []struct {
		set  bool
		what string
	}{
		{l.plan == nil, "an init without a plan"},
		{l.o.Observe != nil, "an observer"},
		{l.o.Watch != nil, "a watcher"},
		{l.o.Record != nil, "a recording"},
		{l.o.Agent != nil, "an agent"},
		{!hasNamespace(l.o.Spec, specs.PIDNamespace), "processes that PID 1 does not take along"},
		{l.network.Lasting(), "a network"},
		{l.o.Ready != nil && l.o.Rest.Started == nil, "a caller who waits for the start"},
		{l.o.Attach.begun(), "one who is attached from the beginning"},
	} {
		if f.set {
			err = NeedsGo(f.what)
			break
		}
	}
	if l.o.Waits != nil {
		l.o.Waits(err)
	}
	return err
}

// goOnInC replaces the launcher with the one in C (wait.c), which starts the created
// container and waits for it. It returns only if the start fails before.
func (c *Container) goOnInC(sigs *Relay) error {
	if err := c.runHooks(); err != nil {
		return err
	}
	c.state.Status, c.state.Started = StatusRunning, time.Now()
	if err := errors.Join(c.writeLaunch(), c.state.save()); err != nil {
		return errors.Join(err, c.stop())
	}
	if c.launched.o.Rest.Started != nil {
		CloseGiven()
	}
	r := &record{}
	r.fill(c, sigs)
	c.keep(r)
	file, err := r.write()
	if err != nil {
		return errors.Join(err, c.stop())
	}
	C.wait_hand_over(C.int(file))
	return nil
}

// CloseGiven closes the files that this process was given beside its standard files, for example
// by a shell's <(...). One that stays with its container in the background would keep a pipe
// among them open for as long. Go's own files are close-on-exec, those that were given are not.
func CloseGiven() {
	files, _ := os.ReadDir("/proc/self/fd") // without it nothing can be launched
	for _, f := range files {
		fd, _ := strconv.Atoi(f.Name())
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && fd > unix.Stderr && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}

// record is what the launcher in C needs to know (wait.h).
type record struct {
	head  C.struct_wait_record
	texts []byte
	err   error
}

// pass makes a file stay open over execve(2), and returns its number, -1 for nil. It does not
// use [os.File.Fd], which makes the file block: it may be the user's.
func (r *record) pass(f *os.File) C.int32_t {
	if f == nil {
		return -1
	}
	number := C.int32_t(-1)
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			number = C.int32_t(fd)
			_, serr := unix.FcntlInt(fd, unix.F_SETFD, 0)
			r.err = cmp.Or(r.err, os.NewSyscallError("fcntl", serr))
		})
	}
	r.err = cmp.Or(r.err, err)
	return number
}

// add appends texts, and returns the offset of the first.
func (r *record) add(texts ...string) C.uint32_t {
	at := C.sizeof_struct_wait_record + len(r.texts)
	for _, text := range texts {
		if strings.ContainsRune(text, 0) {
			r.err = cmp.Or(r.err, fmt.Errorf("%q has a NUL byte", text))
		}
		r.texts = append(append(r.texts, text...), 0)
	}
	return C.uint32_t(at)
}

func (r *record) fill(c *Container, sigs *Relay) {
	l := c.launched
	for i, b := range C.WAIT_MAGIC {
		r.head.magic[i] = C.char(b)
	}
	r.head.version, r.head.launcher = C.WAIT_VERSION, C.int32_t(os.Getpid())
	_ = unix.Prctl(unix.PR_GET_NAME, uintptr(unsafe.Pointer(&r.head.name[0])), 0, 0, 0) // as ps(1) shows it
	page, pipe := l.page.HandOver()
	r.head.init, r.head.pid, r.head.page, r.head.pipe = r.pass(l.init.pidfd), C.int32_t(l.init.pid), r.pass(page), r.pass(pipe)
	r.head.signals, r.head.lock = r.pass(sigs.pipe), r.pass(c.lock)
	for _, f := range l.o.Rest.Files {
		r.pass(f)
	}
	r.fillStreams(l.streams)
	r.fillEnd(c)
	r.fillBackground(c)
	r.head.stop = C.int32_t(stopSignal(l.o.Spec))
	if p := l.o.Signals; p.Keep {
		r.head.keep = 1
	} else if p.KillAtAll {
		r.head.kills, r.head.kill_after = 1, C.int64_t(p.KillAfter)
	}
	r.head.command, r.head.workdir = r.add(l.o.Spec.Process.Args[0]), r.add(l.o.Spec.Process.Cwd)
	s := c.state
	s.dir = c.LauncherDir()
	r.head.directory, r.head.state, r.head.launch = r.add(c.dir), r.add(s.file()), r.add(s.launchFile())
	r.head.id_file = r.add(l.o.Rest.IDFile)
	var mounts []string
	for _, mount := range l.o.Rest.Mounts {
		if file, own := strings.CutPrefix(mount, c.dir+"/"); own {
			mount = filepath.Join(s.dir, file)
		}
		mounts = append(mounts, mount)
	}
	r.head.mounts, r.head.mount_count = r.add(mounts...), C.uint32_t(len(mounts))
	cgroups := l.cgroup.dirs()
	r.head.cgroups, r.head.cgroup_count = r.add(cgroups...), C.uint32_t(len(cgroups))
}

// fillEnd says whether something of a container may stay when it has ended.
func (r *record) fillEnd(c *Container) {
	if c.state.Keep || c.before != nil {
		r.head.stays = 1
	}
	if c.before != nil {
		before, err := json.Marshal(c.before)
		r.err = cmp.Or(r.err, err)
		r.head.before = r.add(string(before))
	}
}

func (r *record) fillBackground(c *Container) {
	o := &c.launched.o
	if o.Rest.Started == nil {
		return
	}
	r.head.background, r.head.said, r.head.log = 1, -1, -1
	r.head.id, r.head.started = r.add(c.state.ID), r.pass(o.Rest.Started)
	socket, err := o.Attach.listener.File()
	if err != nil {
		r.err = cmp.Or(r.err, err)
		return
	}
	r.head.attach = r.pass(socket)
	if o.Attach.once {
		r.head.once = 1
	}
	if o.Log != nil {
		file, limits := o.Log.File()
		r.head.log, r.head.log_path = r.pass(file), r.add(file.Name())
		r.head.log_size, r.head.log_files = C.int64_t(limits.Size), C.int32_t(limits.Files)
	}
}

func (r *record) fillStreams(s *streams) {
	for i := range r.head.from {
		r.head.from[i], r.head.to[i] = -1, -1
	}
	r.head.slave, r.head.host = r.pass(s.slave), r.pass(s.host)
	if s.master != nil {
		r.head.from[C.STREAM_OUT], r.head.to[C.STREAM_OUT] = r.pass(s.master), r.pass(s.o.Stdout)
		if s.o.Interactive {
			r.head.from[C.STREAM_IN], r.head.to[C.STREAM_IN] = r.pass(s.o.Stdin), r.head.from[C.STREAM_OUT]
		}
		if s.host != nil && s.o.Interactive {
			r.head.raw = 1
		}
		return
	}
	for i, out := range s.outputs {
		r.head.from[C.STREAM_OUT+i], r.head.to[C.STREAM_OUT+i] = r.pass(out.from), r.pass(out.to)
	}
	if s.input != nil {
		r.head.from[C.STREAM_IN], r.head.to[C.STREAM_IN] = r.pass(s.o.Stdin), r.pass(s.input) // in the background it stays open
	}
}

// write returns a memfd with the record; it stays open over execve(2).
func (r *record) write() (fd int, err error) {
	if r.err != nil {
		return -1, r.err
	}
	r.texts = append(r.texts, 0)
	fd, err = unix.MemfdCreate("minirun-wait", 0)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	r.head.self, r.head.size = C.int32_t(fd), C.uint32_t(C.sizeof_struct_wait_record+len(r.texts))
	head := unsafe.Slice((*byte)(unsafe.Pointer(&r.head)), C.sizeof_struct_wait_record)
	if _, err := unix.Write(fd, append(head[:len(head):len(head)], r.texts...)); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("write", err)
	}
	return fd, nil
}
