package trace

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ring is a ring buffer (Documentation/bpf/ringbuf.rst): programs send records by
// bpf_ringbuf_output or bpf_ringbuf_submit, in the order in which they reserved them, and
// one goroutine of this process reads them. A program that finds no room gets an error
// from the helper, and counts that: nothing waits for a reader.
type Ring struct {
	Map
	size     uint64
	memory   [2][]byte // the reader's page; the writers' page and, twice, the records
	consumed *uint64
	produced *uint64
	records  []byte
}

// NewRing makes a ring buffer. Its size in bytes is a power of two and a multiple of the
// page size.
func NewRing(text string, size int) (*Ring, error) {
	attr := mapAttr{kind: unix.BPF_MAP_TYPE_RINGBUF, entries: uint32(size), name: name(text)}
	fd, err := bpf(unix.BPF_MAP_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, fmt.Errorf("make the BPF ring buffer %s: %w", text, err)
	}
	r := &Ring{Map: Map{fd: fd}, size: uint64(size)}
	page := os.Getpagesize()
	if r.memory[0], err = unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		r.memory[1], err = unix.Mmap(fd, int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	}
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("map the BPF ring buffer %s: %w", text, err)
	}
	r.consumed, r.produced = (*uint64)(unsafe.Pointer(&r.memory[0][0])), (*uint64)(unsafe.Pointer(&r.memory[1][0]))
	r.records = r.memory[1][page:]
	return r, nil
}

// Close gives up the ring buffer. Nobody reads it any more.
func (r *Ring) Close() error {
	for _, m := range r.memory {
		if m != nil {
			if err := unix.Munmap(m); err != nil {
				return err
			}
		}
	}
	return r.Map.Close()
}

// Run calls each with every record, until stop can be read or its other end is closed,
// and then with those that are left. A record is valid during the call only.
func (r *Ring) Run(stop *os.File, each func([]byte)) error {
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(stop.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return os.NewSyscallError("poll", err)
		}
		r.drain(each)
		if fds[1].Revents != 0 {
			r.drain(each)
			return nil
		}
	}
}

// drain reads what there is.
func (r *Ring) drain(each func([]byte)) {
	const header, busy, discarded = 8, 1 << 31, 1 << 30 // BPF_RINGBUF_*
	position := atomic.LoadUint64(r.consumed)
	for position < atomic.LoadUint64(r.produced) {
		at := r.records[position&(r.size-1):]
		length := atomic.LoadUint32((*uint32)(unsafe.Pointer(&at[0])))
		if length&busy != 0 {
			return // a program is writing it, and will wake the reader
		}
		size := length &^ (busy | discarded)
		if length&discarded == 0 {
			each(at[header : header+size])
		}
		position += uint64((size + header + 7) &^ 7)
		atomic.StoreUint64(r.consumed, position)
	}
}

// u32 and u64 are numbers as maps have them.
func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.NativeEndian.AppendUint64(nil, n) }
