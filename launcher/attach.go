package launcher

/*
#include "wait.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A container in the background can be attached to: its launcher listens at a socket in the
// container's directory. What goes through a connection is a sequence of frames: a byte
// that says what it is, the number of bytes that follow, and these.
const (
	attachSocket = C.ATTACH_SOCKET

	frameInput  = 'i' // to the launcher: standard input; the first one may be empty,
	frameEOF    = 'e' // its end,
	frameSize   = 'w' // the size of the terminal: rows and columns, two bytes each,
	frameLeave  = 'd' // and the connection ends, though the input does not
	frameStdout = '1' // from the launcher: what the container has written,
	frameStderr = '2'
	frameExit   = 'x' // and how it has ended: the status, four bytes

	frameHeader = 5
	maxFrame    = 64 << 10
)

func writeFrame(w io.Writer, kind byte, data []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data)))
	_, err := w.Write(append(head, data...))
	return err
}

func readFrame(r io.Reader) (kind byte, data []byte, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, nil, errors.New("a frame is too large")
	}
	data = make([]byte, size)
	_, err = io.ReadFull(r, data)
	return head[0], data, err
}

// Attachments are those who are attached to a container that this process has launched.
// They get what the container writes; one that does not read it has the container wait.
type Attachments struct {
	once  bool          // the first end of an input is that of the container's
	dir   string        // the container's (LauncherDir)
	first net.Conn      // or nil
	size  *unix.Winsize // of the terminal of first, or nil

	mu       sync.Mutex
	listener *net.UnixListener
	clients  map[net.Conn]bool
	input    sync.Mutex // one writes at a time
	streams  *streams   // nil until they are served
	last     time.Time  // until when one who does not read has the container wait; zero while it runs
	ended    bool
}

// Attachable has others attach to a new container ([Container.Attach]). first is a socket of
// one who is attached from the beginning, or nil. With once the container's standard input
// ends with that of one who is attached, as with Docker's StdinOnce.
func (c *Container) Attachable(first *os.File, once bool) (*Attachments, error) {
	a := &Attachments{once: once, dir: c.LauncherDir(), clients: map[net.Conn]bool{}}
	if first != nil {
		a.size = sizeAhead(first)
		var err error
		if a.first, err = net.FileConn(first); err != nil {
			return nil, err
		}
		first.Close()
	}
	return a, a.listen()
}

// sizeAhead returns the size that has been sent through a socket before all else, or nil. It
// stays to be read.
func sizeAhead(socket *os.File) *unix.Winsize {
	var data [frameHeader + 4]byte
	n, _, err := unix.Recvfrom(int(socket.Fd()), data[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || n < len(data) || data[0] != frameSize {
		return nil
	}
	return sizeIn(data[frameHeader:])
}

func sizeIn(data []byte) *unix.Winsize {
	return &unix.Winsize{Row: binary.BigEndian.Uint16(data), Col: binary.BigEndian.Uint16(data[2:])}
}

// listen makes the socket, in place of one that is there.
func (a *Attachments) listen() error {
	if err := os.Remove(filepath.Join(a.dir, attachSocket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	dir, path, err := inDirectory(a.dir, attachSocket)
	if err != nil {
		return err
	}
	defer dir.Close()
	if a.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}); err != nil {
		return err
	}
	a.listener.SetUnlinkOnClose(false) // the path is gone then
	return nil
}

// listenAgain replaces the socket, so that nobody waits who has connected to the old one and
// could not be accepted, for example since no descriptor is left. It reports whether there is one.
func (a *Attachments) listenAgain() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return false
	}
	a.listener.Close()
	return a.listen() == nil
}

// inDirectory returns a path of a file in a directory that is short enough for that of a socket
// (unix(7)), as long as the directory is open.
func inDirectory(name, file string) (dir *os.File, path string, err error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), filepath.Join("/proc/self/fd", strconv.Itoa(fd), file), nil
}

// begun reports whether one is attached from the beginning.
func (a *Attachments) begun() bool { return a != nil && a.first != nil }

// begin accepts connections. On nil it does nothing, as the methods below.
func (a *Attachments) begin(s *streams) {
	if a == nil {
		return
	}
	a.mu.Lock()
	a.streams = s
	a.mu.Unlock()
	if a.first != nil {
		a.add(a.first)
	}
	go func() {
		for {
			conn, err := a.listener.Accept()
			switch {
			case err == nil:
				a.add(conn)
			case errors.Is(err, net.ErrClosed), !a.listenAgain():
				return
			}
		}
	}()
}

func (a *Attachments) add(conn net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		conn.Close()
		return
	}
	a.clients[conn] = true
	_ = conn.SetWriteDeadline(a.last)
	go a.serve(conn)
}

// serve takes what one who is attached sends.
func (a *Attachments) serve(conn net.Conn) {
	input := false // it passes input on
	for {
		kind, data, err := readFrame(conn)
		switch {
		case err != nil, kind == frameLeave:
			a.drop(conn)
			if err != nil && input { // it was killed
				a.endInput()
			}
			return
		case kind == frameInput:
			input = true
			a.writeInput(data)
		case kind == frameEOF:
			a.endInput()
		case kind == frameSize && len(data) == 4 && a.streams.master != nil:
			_ = unix.IoctlSetWinsize(int(a.streams.master.Fd()), unix.TIOCSWINSZ, sizeIn(data)) // it is gone: there is nothing to resize
		}
	}
}

func (a *Attachments) writeInput(data []byte) {
	a.input.Lock()
	defer a.input.Unlock()
	to := a.streams.input
	if a.streams.master != nil {
		to = a.streams.master
	}
	if to != nil && a.streams.o.Interactive {
		_, _ = to.Write(data) // nobody reads it any more
	}
}

func (a *Attachments) endInput() {
	a.input.Lock()
	defer a.input.Unlock()
	if a.once && a.streams.input != nil {
		a.streams.input.Close()
	}
}

// lastWrite is how long one who is attached has to read the rest when the container has ended.
const lastWrite = 10 * time.Second

// hurry is called when the container has ended.
func (a *Attachments) hurry() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = time.Now().Add(lastWrite)
	for conn := range a.clients {
		_ = conn.SetWriteDeadline(a.last)
	}
}

func (a *Attachments) drop(conn net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.clients, conn)
	conn.Close()
}

// shown returns what shows the data of a stream to those who are attached, or nil.
func (a *Attachments) shown(kind byte) func([]byte) {
	if a == nil {
		return nil
	}
	return func(data []byte) {
		for len(data) > 0 {
			n := min(len(data), maxFrame)
			a.send(kind, data[:n])
			data = data[n:]
		}
	}
}

// send sends a frame to all. Two streams may be sent at a time.
func (a *Attachments) send(kind byte, data []byte) {
	a.mu.Lock()
	var all []net.Conn
	for conn := range a.clients {
		all = append(all, conn)
	}
	a.mu.Unlock()
	for _, conn := range all {
		if writeFrame(conn, kind, data) != nil {
			a.drop(conn)
		}
	}
}

// finish says how the container has ended, and ends all connections.
func (a *Attachments) finish(status int) {
	if a == nil {
		return
	}
	a.send(frameExit, binary.BigEndian.AppendUint32(nil, uint32(status)))
	a.Close()
}

// Close ends all connections.
func (a *Attachments) Close() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listener.Close()
	a.ended = true
	for conn := range a.clients {
		conn.Close()
	}
	if a.first != nil {
		a.first.Close()
	}
}
