package launcher

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// AttachOptions say what to attach to a container.
type AttachOptions struct {
	Stdin          *os.File // nil: nothing is passed on
	Stdout, Stderr *os.File
	Terminal       bool   // the container has one
	DetachKeys     []byte // what ends it at a terminal, and leaves the container as it is
}

// ErrDetached says that the keys to detach were pressed.
var ErrDetached = errors.New("read escape sequence")

// ErrNotAttachable says that a container's streams are those of its launcher: it is not in
// the background.
var ErrNotAttachable = errors.New("its streams are its launcher's")

// ErrDisconnected says that nobody serves the streams to who is attached, though the container
// runs on: the process that did was killed, or its launcher has no descriptor left for one more.
var ErrDisconnected = errors.New("its launcher has closed the connection")

// Attach attaches files to a container in the background, until it ends or ctx does, whose
// cause is the error then. The status is the container's. The error is [ErrDetached] if the
// keys were pressed, [ErrNotAttachable] if the container has a launcher that others cannot
// attach to, [ErrDisconnected] if that has ended the attachment, and [ErrLost] as with
// [Container.WaitEnd]. A terminal has its mode back.
func (c *Container) Attach(ctx context.Context, o AttachOptions) (status int, err error) {
	c, release, err := c.pinned()
	if err != nil {
		return 0, c.failed("attach to", err)
	}
	defer release()
	socket := c.attachSocket()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(c.dir, attachSocket), Net: "unix"})
	switch {
	case err != nil && !c.state.alive(): // it has just ended
		return c.WaitEnd(ctx)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		if c.state.Detached {
			return 0, ErrDisconnected
		}
		return 0, ErrNotAttachable
	case err != nil:
		return 0, c.failed("attach to", err)
	}
	return c.attachTo(ctx, conn, o, socket)
}

// Connection returns both ends of a connection: one for [Container.AttachTo], and one for the
// launcher of a container that is to start ([Container.Attachable]). That has the size of the
// user's terminal from the beginning.
func (o *AttachOptions) Connection() (own net.Conn, launchers *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	file, launchers := os.NewFile(uintptr(pair[0]), "attached"), os.NewFile(uintptr(pair[1]), "attached")
	defer file.Close()
	if own, err = net.FileConn(file); err != nil {
		launchers.Close()
		return nil, nil, err
	}
	if o.Terminal {
		o.writeSize(own)
	}
	return own, launchers, nil
}

// Removed returns a container that has ended, and been removed, after it was attached to.
func Removed(dirs Dirs, id string) *Container {
	return &Container{dir: filepath.Join(dirs.Root, "containers", id), state: State{ID: id, Name: id, Status: StatusStopped}}
}

// AttachTo is Attach by a connection to the launcher.
func (c *Container) AttachTo(ctx context.Context, conn net.Conn, o AttachOptions) (status int, err error) {
	if by, release, err := c.pinned(); err == nil { // else it has ended, and been removed
		defer release()
		c = by
	}
	return c.attachTo(ctx, conn, o, c.attachSocket())
}

// pinned returns the container by a descriptor of its directory, which stays right when the
// container gets another name, until release is called.
func (c *Container) pinned() (by *Container, release func(), err error) {
	dir, path, err := inDirectory(c.dir, "")
	if err != nil {
		return c, nil, err
	}
	pinned := *c
	pinned.dir = path
	return &pinned, func() { dir.Close() }, nil
}

func (c *Container) attachTo(ctx context.Context, conn net.Conn, o AttachOptions, socket unix.Stat_t) (status int, err error) {
	t := &attached{conn: conn, o: o, ended: make(chan attachedEnd, 3)}
	defer conn.Close()
	if o.Terminal {
		restore, err := t.takeTerminal()
		if err != nil {
			return 0, err
		}
		defer restore()
	}
	if o.Stdin != nil {
		_ = writeFrame(conn, frameInput, nil) // its end is seen by passOutput
		go t.passInput()
	}
	go t.passOutput()
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case end := <-t.ended:
		if errors.Is(end.err, io.EOF) || errors.Is(end.err, unix.ECONNRESET) {
			return c.waitUnattached(ctx, socket)
		}
		return end.status, end.err
	}
}

// attachSocket returns which file the socket is, or nothing if there is none.
func (c *Container) attachSocket() (st unix.Stat_t) {
	if unix.Lstat(filepath.Join(c.dir, attachSocket), &st) != nil {
		return unix.Stat_t{}
	}
	return unix.Stat_t{Dev: st.Dev, Ino: st.Ino, Ctim: st.Ctim}
}

// waitUnattached waits for the end of a container whose launcher has closed the connection and
// did not say that there is an end. A launcher that goes on makes another socket then: the error
// is [ErrDisconnected].
func (c *Container) waitUnattached(ctx context.Context, socket unix.Stat_t) (status int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for c.attachSocket() == socket || !c.state.alive() {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		cancel(ErrDisconnected)
	}()
	return c.WaitEnd(ctx)
}

// attached is one end of a connection.
type attached struct {
	conn  net.Conn
	o     AttachOptions
	left  atomic.Bool // the keys to detach were pressed: the launcher closes the connection
	ended chan attachedEnd
}

type attachedEnd struct {
	status int
	err    error
}

// takeTerminal sets the user's terminal to raw mode if its input is passed on, and keeps the
// container's at its size.
func (t *attached) takeTerminal() (restore func(), err error) {
	host, cooked := t.o.host(), (*term.State)(nil)
	if host == t.o.Stdin {
		if cooked, err = term.MakeRaw(int(host.Fd())); err != nil {
			return nil, rawError(err)
		}
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	resized <- unix.SIGWINCH
	go func() {
		for range resized {
			t.o.writeSize(t.conn)
		}
	}()
	return func() {
		signal.Stop(resized)
		if cooked != nil {
			_ = term.Restore(int(host.Fd()), cooked) // a terminal that is gone has no mode
		}
	}, nil
}

// host returns what has the size of the user's terminal, if there is one.
func (o *AttachOptions) host() *os.File {
	if isTerminal(o.Stdin) {
		return o.Stdin
	}
	return o.Stdout
}

func (o *AttachOptions) writeSize(to io.Writer) {
	if size, err := unix.IoctlGetWinsize(int(o.host().Fd()), unix.TIOCGWINSZ); err == nil {
		data := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, size.Row), size.Col)
		_ = writeFrame(to, frameSize, data) // the connection's end is seen by passOutput
	}
}

func (t *attached) passInput() {
	keys := detachKeys{keys: t.o.DetachKeys}
	data := make([]byte, 32<<10)
	for {
		n, err := t.o.Stdin.Read(data)
		input, detach := data[:n], false
		if t.o.Terminal {
			input, detach = keys.find(input)
		}
		if len(input) > 0 && writeFrame(t.conn, frameInput, input) != nil {
			return
		}
		switch {
		case detach:
			t.left.Store(true)
			_ = writeFrame(t.conn, frameLeave, nil)
			t.ended <- attachedEnd{err: ErrDetached}
			return
		case err != nil:
			_ = writeFrame(t.conn, frameEOF, nil)
			return
		}
	}
}

func (t *attached) passOutput() {
	for {
		kind, data, err := readFrame(t.conn)
		switch {
		case err != nil && t.left.Load():
			return
		case err != nil:
		case kind == frameExit && len(data) == 4:
			t.ended <- attachedEnd{status: int(binary.BigEndian.Uint32(data))}
			return
		case kind == frameStdout:
			err = writeTo(standardOutput, t.o.Stdout, data)
		case kind == frameStderr:
			err = writeTo(standardError, t.o.Stderr, data)
		}
		if err != nil {
			t.ended <- attachedEnd{err: err}
			return
		}
	}
}

func writeTo(name string, to *os.File, data []byte) error {
	if err := writeAll(int(to.Fd()), data); err != nil {
		return lost(name, fmt.Errorf("%w", err))
	}
	return nil
}

// detachKeys finds a sequence of keys in what is typed.
type detachKeys struct {
	keys    []byte
	matched int // how many of them have been typed, and are held back
}

// find returns what of the data is not of the sequence, and whether that is complete.
func (k *detachKeys) find(data []byte) (rest []byte, complete bool) {
	if len(k.keys) == 0 {
		return data, false
	}
	for _, b := range data {
		if b != k.keys[k.matched] {
			rest = append(rest, k.keys[:k.matched]...)
			k.matched = 0
			if b != k.keys[0] {
				rest = append(rest, b)
				continue
			}
		}
		if k.matched++; k.matched == len(k.keys) {
			return rest, true
		}
	}
	return rest, false
}
