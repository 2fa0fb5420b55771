package launcher

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The states and offsets of struct init_page in page.h.
const (
	pageReady  = 1
	pageGo     = 2
	pageDone   = 3
	pageFailed = 4

	offsetState   = 0
	offsetError   = 4
	offsetFlags   = 12
	offsetLength  = 16
	offsetCgroups = 20
	offsetJoined  = 24
	offsetForked  = 28
	offsetNames   = 32
	offsetProgram = 36
)

// maxInstructions is BPF_MAXINSNS of linux/bpf_common.h: a longer program is
// refused by the kernel.
const maxInstructions = 4096

const sizeofInstruction = int(unsafe.Sizeof(unix.SockFilter{}))

// initPage is the memory that the launcher shares with a container's init.
type initPage struct {
	file    *os.File
	mem     []byte
	cgroups []string
}

// newInitPage makes a page with room for a program of so many instructions, for
// an init that is to join the cgroups.
func newInitPage(instructions int, cgroups []string) (*initPage, error) {
	if instructions > maxInstructions {
		return nil, fmt.Errorf("seccomp filter: %d instructions, the kernel takes %d", instructions, maxInstructions)
	}
	fd, err := unix.MemfdCreate("minirun-init", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "minirun-init")
	names := offsetProgram + instructions*sizeofInstruction
	var text []byte
	for _, dir := range cgroups {
		text = append(append(text, dir...), 0)
	}
	if err := file.Truncate(int64(names + len(text))); err != nil {
		file.Close()
		return nil, err
	}
	mem, err := unix.Mmap(fd, 0, names+len(text), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		file.Close()
		return nil, os.NewSyscallError("mmap", err)
	}
	p := &initPage{file: file, mem: mem, cgroups: cgroups}
	copy(mem[names:], text)
	*p.word(offsetNames) = uint32(names)
	*p.word(offsetCgroups) = uint32(len(cgroups))
	return p, nil
}

func (p *initPage) Close() error {
	return errors.Join(unix.Munmap(p.mem), p.file.Close())
}

func (p *initPage) word(offset int) *uint32 {
	return (*uint32)(unsafe.Pointer(&p.mem[offset]))
}

func (p *initPage) state() uint32 {
	return atomic.LoadUint32(p.word(offsetState))
}

// joined reports whether init is in all of its cgroups.
func (p *initPage) joined() bool {
	return int(*p.word(offsetJoined)) == len(p.cgroups)
}

// joinError is why init ended before it was in all of its cgroups, or nil.
func (p *initPage) joinError() error {
	errno := unix.Errno(*p.word(offsetError))
	if p.joined() || errno == 0 {
		return nil
	}
	return &Error{
		Op: "join the cgroup " + p.cgroups[*p.word(offsetJoined)], Err: errno,
		Help: "'minirun doctor' says what this machine has of cgroups",
	}
}

// reap ends and waits for the process from which init joined: libcontainer does not
// know of it. Nobody needs it once libcontainer has started init, or failed to.
func (p *initPage) reap() {
	pid := int(*p.word(offsetForked))
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
