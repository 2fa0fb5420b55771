package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Caller is the process that made a call. Its names are untrusted.
type Caller struct {
	Comm string // of the thread, as it calls itself
	Exe  string // the executable's path in the container, "" when that cannot be read
	Lib  string // the path of the file that the call was made from: Exe's, or a library's
	PID  int    // of the process, as the container sees it
	Host int    // of the process, as the launcher sees it
}

// CallerText is a text that an argument points to, up to its NUL byte.
type CallerText struct {
	Text string
	Cut  bool // there is more
}

const (
	maxCallerText = 256                    // bytes of a text, with its NUL byte
	readPatience  = 100 * time.Millisecond // with the memory of a caller; see limited
)

// callerReader finds out who called. It is for one goroutine.
type callerReader struct {
	level int             // index of the container's PIDs in NSpid
	stuck <-chan struct{} // closes when the read that took too long has ended
}

// pidLevel returns the index in NSpid (proc(5), Linux 4.1) of the PID that a process has
// in its own PID namespace.
func pidLevel(pid int) (int, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	return max(len(strings.Fields(statusLine(status, "NStgid")))-1, 0), nil
}

func statusLine(status []byte, name string) string {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return strings.TrimSpace(string(value))
		}
	}
	return ""
}

// read returns the caller, and the texts to which the arguments of the mask texts point.
// It leaves out everything that cannot be read.
func (r *callerReader) read(n Notification, texts uint8) (Caller, [6]*CallerText) {
	var c Caller
	proc := "/proc/" + strconv.Itoa(n.TID)
	if status, err := os.ReadFile(proc + "/status"); err == nil {
		pids := strings.Fields(statusLine(status, "NStgid"))
		if len(pids) > 0 {
			c.Host, _ = strconv.Atoi(pids[0])
			c.PID, _ = strconv.Atoi(pids[min(r.level, len(pids)-1)])
		}
	}
	if comm, err := os.ReadFile(proc + "/comm"); err == nil {
		c.Comm = strings.TrimSuffix(string(comm), "\n")
	}
	c.Exe, _ = os.Readlink(proc + "/exe")
	c.Lib = libraryAt(proc, n.IP)
	return c, r.texts(n, texts)
}

// libraryAt returns the path of the file that an address of a process is mapped from, or
// "". The file is not read.
func libraryAt(proc string, ip uint64) string {
	maps, err := os.ReadFile(proc + "/maps")
	if err != nil {
		return ""
	}
	return mappedAt(maps, ip)
}

// mappedAt finds an address in the lines of proc_pid_maps(5): START-END PERMS OFFSET
// DEVICE INODE, spaces, and the path, which can have spaces itself.
func mappedAt(maps []byte, ip uint64) string {
	for line := range bytes.Lines(maps) {
		text := strings.TrimSuffix(string(line), "\n")
		between, rest, _ := strings.Cut(text, " ")
		from, to, _ := strings.Cut(between, "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil || ip < start || ip >= end {
			continue
		}
		for range 4 {
			_, rest, _ = strings.Cut(rest, " ")
		}
		if path := strings.TrimLeft(rest, " "); strings.HasPrefix(path, "/") {
			return path
		}
		return ""
	}
	return ""
}

// texts reads memory of the caller: a page fault there can take as long as the caller
// likes (userfaultfd(2), or a file of a FUSE server).
func (r *callerReader) texts(n Notification, texts uint8) (found [6]*CallerText) {
	if texts == 0 {
		return found
	}
	r.limited(readPatience, func() func() {
		var all [6]*CallerText
		for i, address := range n.Args {
			if texts>>i&1 != 0 && address != 0 {
				all[i] = readText(n.TID, address)
			}
		}
		return func() { found = all }
	})
	return found
}

// limited calls do in a goroutine of its own, since it may take as long as a container likes,
// and waits for it as long as patience says, or longer while the machine is too busy to run
// it: do must wait in system calls only. While one call is stuck no other is tried. What do
// returns is called if it came in time.
func (r *callerReader) limited(patience time.Duration, do func() func()) {
	select {
	case <-r.stuck:
		r.stuck = nil
	default:
		if r.stuck != nil {
			return
		}
	}
	var thread atomic.Int64 // 0 before it runs
	done, result := make(chan struct{}), make(chan func(), 1)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread.Store(int64(unix.Gettid()))
		result <- do()
	}()
	limit := time.NewTicker(patience)
	defer limit.Stop()
	for {
		select {
		case take := <-result:
			take()
			return
		case <-limit.C:
			if waits(int(thread.Load())) && len(result) == 0 { // in this order: with its result a thread may do other things
				r.stuck = done
				return
			}
		}
	}
}

// waits reports whether a thread of this process waits in a system call (proc_pid_syscall(5)).
// One that has or wants a processor does not, nor one that the Go runtime does not run.
func waits(thread int) bool {
	if thread == 0 {
		return false
	}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", thread))
	number, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	return number != "running" && number != strconv.Itoa(unix.SYS_FUTEX)
}

// readText reads a text of another process (process_vm_readv(2)). The parts are cut at
// the end of a page, since nothing is read of a part that is not wholly mapped.
func readText(tid int, address uint64) *CallerText {
	const page = 4096 // or a multiple of it
	buf := make([]byte, maxCallerText-1)
	first := min(int(page-address%page), len(buf))
	remote := []unix.RemoteIovec{{Base: uintptr(address), Len: first}}
	if first < len(buf) {
		remote = append(remote, unix.RemoteIovec{Base: uintptr(address) + uintptr(first), Len: len(buf) - first})
	}
	local := []unix.Iovec{{Base: &buf[0], Len: uint64(len(buf))}}
	read, err := unix.ProcessVMReadv(tid, local, remote, 0)
	for errors.Is(err, unix.EINTR) {
		read, err = unix.ProcessVMReadv(tid, local, remote, 0)
	}
	if err != nil || read <= 0 {
		return nil
	}
	text, _, ended := bytes.Cut(buf[:read], []byte{0})
	return &CallerText{Text: string(text), Cut: !ended}
}
