package arm

/*
#include "page.h"
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxInstructions is BPF_MAXINSNS of linux/bpf_common.h: a longer program is
// refused by the kernel.
const maxInstructions = 4096

const sizeofInstruction = int(unsafe.Sizeof(unix.SockFilter{}))

// The program is copied as it is: both have the same size, or this does not compile.
var _ = [1]struct{}{}[sizeofInstruction-C.sizeof_struct_sock_filter]

// parked is for tests, which cannot use cgo.
const parked = C.PAGE_PARKED

// patienceWithInit is how long to wait for an init that may be stuck; the end of an init is
// noticed at once. It is long, since hundreds of starts at a time take turns.
const patienceWithInit = 30 * time.Second

// patienceWithSetUp is longer: the kernel makes network namespaces one after another, only
// a few in a second while it removes others.
const patienceWithSetUp = 10 * time.Minute

// Page is the launcher's side of a start: memory that it shares with init, and a pipe
// whose other end only init has, which closes when init becomes the command, or ends.
// It is for one start and one goroutine. page.h has a picture of the states.
type Page struct {
	shared *C.struct_init_page
	mem    []byte
	file   *os.File // the memory; passed on as PAGE_FD
	passed *os.File // the pipe's end for init; passed on next
	pipe   *os.File

	setUp    time.Duration // how long init may take to set up its container
	patience time.Duration // with a step of init's that takes well under a millisecond on an idle machine
}

// New makes a page for an init that is to join the cgroups and to become the command
// args in the environment env, with room for a program of so many instructions.
// cgroups are directories: of cgroup v2, or "", then those of v1.
func New(instructions int, cgroups, args, env []string) (_ *Page, err error) {
	if instructions > maxInstructions {
		return nil, fmt.Errorf("seccomp filter: %d instructions, the kernel takes %d", instructions, maxInstructions)
	}
	var text []byte
	for _, s := range slices.Concat(cgroups, args, env) {
		if strings.ContainsRune(s, 0) {
			return nil, fmt.Errorf("%q has a NUL byte, which ends an argument (execve(2))", s)
		}
		text = append(append(text, s...), 0)
	}
	p := &Page{setUp: patienceWithSetUp, patience: patienceWithInit}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	begin := int(C.sizeof_struct_init_page) + instructions*sizeofInstruction
	if err := p.alloc(begin + len(text)); err != nil {
		return nil, err
	}
	copy(p.mem[begin:], text)
	p.shared.listener = -1
	p.shared.strings = C.uint32_t(begin)
	p.shared.cgroups = C.uint32_t(len(cgroups))
	p.shared.args = C.uint32_t(len(args))
	p.shared.env = C.uint32_t(len(env))
	p.pipe, p.passed, err = os.Pipe()
	return p, err
}

func (p *Page) alloc(size int) error {
	fd, err := unix.MemfdCreate("minirun-init", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	p.file = os.NewFile(uintptr(fd), "minirun-init")
	if err := p.file.Truncate(int64(size)); err != nil {
		return err
	}
	return p.mapFile(size)
}

func (p *Page) mapFile(size int) (err error) {
	if p.mem, err = unix.Mmap(int(p.file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	p.shared = (*C.struct_init_page)(unsafe.Pointer(unsafe.SliceData(p.mem)))
	return nil
}

// Files returns what init gets as its files from 3 on: the page's own, and others,
// which the command gets as well unless they are close-on-exec.
func (p *Page) Files(others ...*os.File) []*os.File {
	files := append([]*os.File{p.file, p.passed}, others...)
	p.shared.files = C.uint32_t(len(files))
	return files
}

// Keep is [Page.Files] for a command that gets the others itself, as its files from 3 on.
// In a parked init the page's own files come after them.
func (p *Page) Keep(others ...*os.File) []*os.File {
	p.shared.kept = C.uint32_t(len(others))
	return p.Files(others...)
}

// Join is for an init that joins a running container. It does not ask /proc which files are
// open: the container may have mounted anything there.
func (p *Page) Join() { p.shared.joins = 1 }

// FindHome makes init add HOME to an environment without it: the directory of the user's
// entry in the container's /etc/passwd, or the root directory.
func (p *Page) FindHome() { p.shared.homed = 1 }

// Outlive lets init live on when this process ends. It is called before init is started.
func (p *Page) Outlive() { p.shared.outlives = 1 }

// HandOver returns the page's memory and the pipe that closes when init becomes the command,
// for a launcher that goes on in C (page.c).
func (p *Page) HandOver() (memory, pipe *os.File) { return p.file, p.pipe }

// OpenFailed returns the page in a file, of an init that has failed, for [Page.Failure].
// The file is closed with the page.
func OpenFailed(file *os.File) (*Page, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	p := &Page{file: file}
	if info.Size() < int64(C.sizeof_struct_init_page) {
		return nil, errors.New("the file is no page")
	}
	return p, p.mapFile(int(info.Size()))
}

// Close frees the page. Init keeps its own mapping of it.
func (p *Page) Close() error {
	var err error
	if p.mem != nil {
		err = unix.Munmap(p.mem)
	}
	for _, f := range []*os.File{p.file, p.passed, p.pipe} {
		if f != nil {
			f.Close()
		}
	}
	return err
}

func (p *Page) state() uint32 {
	return atomic.LoadUint32((*uint32)(&p.shared.state))
}

// enter goes on to a state, and wakes the thread of init that waits on one of these words.
// It wakes no other: init would have to wait until that sleeps again.
func (p *Page) enter(state uint32, words ...*C.uint32_t) error {
	atomic.StoreUint32((*uint32)(&p.shared.state), state)
	for _, word := range words {
		if err := wake(word); err != nil {
			return err
		}
	}
	return nil
}

// wake wakes the threads of init that wait on a word.
func wake(word *C.uint32_t) error {
	const wake, all = 1, math.MaxInt32 // FUTEX_WAKE of linux/futex.h; not private: init has another mapping
	if _, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), wake, all, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("futex", errno)
	}
	return nil
}

// sleep waits until wake is called for a word, unless it is no longer value.
func sleep(word *C.uint32_t, value C.uint32_t, patience time.Duration) error {
	const wait = 0 // FUTEX_WAIT
	timeout := unix.NsecToTimespec(patience.Nanoseconds())
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), wait, uintptr(value), uintptr(unsafe.Pointer(&timeout)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// joined reports whether init is in all of its cgroups.
func (p *Page) joined() bool {
	return p.shared.joined == p.shared.cgroups
}

// cgroup returns the directory of a cgroup of init's. It is read from the page, since not
// every Page has been made by [New].
func (p *Page) cgroup(number int) string {
	text := p.mem[min(int(p.shared.strings), len(p.mem)):]
	for range number {
		_, text, _ = bytes.Cut(text, []byte{0})
	}
	dir, _, _ := bytes.Cut(text, []byte{0})
	return string(dir)
}

// Started is called once libcontainer has started init, or failed to. From now on
// the pipe's end is init's only. The process from which init joined is ended and
// waited for: nobody needs it any more, and libcontainer does not know of it.
func (p *Page) Started() {
	p.passed.Close()
	pid := int(p.shared.forked)
	if pid == 0 {
		return
	}
	_ = unix.Kill(pid, unix.SIGKILL) // it has ended, or is about to
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// Init returns the PID of init if it went on in a child of the process that was started,
// once that process has ended, else 0.
func (p *Page) Init() int { return int(p.shared.init) }

// Reopen returns the page of a parked init that another process has started: the one
// with this pidfd, whose command was to get so many files ([Page.Keep]). It needs Linux
// 5.6 (pidfd_getfd(2)), and the right to trace init (ptrace(2)).
func Reopen(pidfd *os.File, kept int) (_ *Page, err error) {
	p := &Page{setUp: patienceWithSetUp, patience: patienceWithInit}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	first := C.PAGE_FD + kept
	if p.file, err = takeFile(pidfd, first, "minirun-init"); err != nil {
		return nil, err
	}
	if err := p.mapWhole(); err != nil {
		return nil, err
	}
	if p.passed, err = takeFile(pidfd, first+1, "pipe"); err != nil {
		return nil, err
	}
	// A pipe that is opened by /proc can be opened at either end (proc(5)).
	p.pipe, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", p.passed.Fd()), os.O_RDONLY|unix.O_NONBLOCK, 0)
	p.passed.Close() // else the pipe would not close with init's end
	return p, err
}

// Adopt returns the page of an init from its files, which it takes over even if it fails.
func Adopt(memory, pipe *os.File) (*Page, error) {
	p := &Page{file: memory, pipe: pipe, setUp: patienceWithSetUp, patience: patienceWithInit}
	if err := p.mapWhole(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Page) mapWhole() error {
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < int64(C.sizeof_struct_init_page) {
		return errors.New("the process is not a parked init")
	}
	return p.mapFile(int(info.Size()))
}

// takeFile duplicates a file of another process.
func takeFile(pidfd *os.File, number int, name string) (*os.File, error) {
	fd, err := unix.PidfdGetfd(int(pidfd.Fd()), number, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_getfd", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
