package launcher

import (
	"cmp"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// output passes on what the container writes to a pipe or terminal.
type output struct {
	name string   // of to, for the user
	from *os.File // nonblocking
	to   *os.File
	log  func(data []byte) // takes the data instead, if not nil
	show func(data []byte) // takes it too, if not nil
	err  error             // why to could not be written; valid when run has returned
}

// run passes data on until from ends, [output.finish] is called, or to cannot be
// written. Then it closes from, so that the container's next write gets EPIPE and
// SIGPIPE from a pipe, or EIO from a terminal, as if it wrote to nobody itself.
func (p *output) run() {
	defer p.from.Close()
	data := make([]byte, 32<<10)
	for {
		n, err := p.from.Read(data)
		if n > 0 && !p.write(data[:n]) {
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.rest(data)
			return
		}
		if err != nil {
			return // EOF of a pipe, EIO of a terminal
		}
	}
}

// finish is called when no process of the container is left. All that it has written is
// in the pipe by now. finish does not wait for the end of from, which a process of the
// host may hold open forever.
func (p *output) finish() {
	// Without a deadline, as for what is closed already, run ends by itself.
	_ = p.from.SetReadDeadline(time.Unix(1, 0))
}

// rest passes on what is in from, up to what a pipe may hold: others may go on writing.
func (p *output) rest(data []byte) {
	raw, err := p.from.SyscallConn()
	if err != nil {
		return
	}
	for left := maxPipe; left > 0; {
		n := 0
		err := raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), data) }) // EAGAIN: it is empty
		if err != nil || n <= 0 || !p.write(data[:n]) {
			return
		}
		left -= n
	}
}

// maxPipe is more than a pipe holds (/proc/sys/fs/pipe-max-size is 1 MiB) unless
// a container with CAP_SYS_RESOURCE has asked for it, and more than a terminal does.
const maxPipe = 4 << 20

// write writes all of data. It returns false when to takes no more. A reader that
// has gone away is no error, as in `minirun ... | head`.
//
// It does not use os.File.Write, which ends the process on EPIPE (os/signal), and
// fails on EAGAIN if another process makes the file nonblocking later.
func (p *output) write(data []byte) bool {
	if p.show != nil {
		p.show(data)
	}
	if p.log != nil {
		p.log(data)
		return true
	}
	raw, err := p.to.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { p.err = writeAll(int(fd), data) })
	}
	p.err = cmp.Or(p.err, err)
	if errors.Is(p.err, unix.EPIPE) {
		p.err = nil
		return false
	}
	return p.err == nil
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if n > 0 {
			data = data[n:]
		}
		switch {
		case errors.Is(err, unix.EAGAIN):
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return os.NewSyscallError("poll", err)
			}
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		}
	}
	return nil
}
