package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/runc/libcontainer"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/minirun/minirun/internal/hint"
)

// streams passes on the container's standard streams: through pipes, or with -t through
// the master of a terminal that the container's init makes. A container of this launcher
// never gets the launcher's own files, which it could reopen, or push input into
// (TIOCSTI).
type streams struct {
	o         *Options
	inherited []*os.File // ends that init inherits, until they are closed here
	ours      []io.Closer
	input     *os.File // with pipes: where standard input goes, or nil
	outputs   []*output
	running   sync.WaitGroup // the goroutines of outputs
	terminal
	interrupts *interrupts
}

// attach gives the process its ends of the streams. The caller closes the result. A
// container that outlives this process gets the files of o themselves, since nobody would
// pass data on.
func attach(process *libcontainer.Process, o *Options, owner Owner) (*streams, error) {
	s := &streams{o: o}
	var err error
	switch {
	case o.Engine != nil && o.Engine.Console != nil: // the engine serves it
	case o.Spec.Process.Terminal && o.Engine != nil && o.Engine.Foreground:
		err = s.attachTerminal(process)
	case owner == OwnerNobody && o.Spec.Process.Terminal:
		err = &Error{Op: "attach a terminal", Err: errors.New("the container outlives the process that would serve it")}
	case owner == OwnerNobody:
		s.attachFiles(process)
	case o.Spec.Process.Terminal:
		err = s.attachTerminal(process)
	default:
		err = s.attachPipes(process)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// attachFiles gives the process the files of o themselves. libcontainer opens /dev/null for
// those that are nil.
func (s *streams) attachFiles(process *libcontainer.Process) {
	if s.o.Interactive && s.o.Stdin != nil {
		process.Stdin = s.o.Stdin
	}
	if s.o.Stdout != nil {
		process.Stdout = s.o.Stdout
	}
	if s.o.Stderr != nil {
		process.Stderr = s.o.Stderr
	}
}

// The names of outputs in messages.
const (
	standardOutput = "standard output"
	standardError  = "standard error"
)

func (s *streams) attachPipes(process *libcontainer.Process) error {
	for _, out := range []struct {
		field  *io.Writer
		name   string
		stream string
		frame  byte
		to     *os.File
	}{{&process.Stdout, standardOutput, "stdout", frameStdout, s.o.Stdout}, {&process.Stderr, standardError, "stderr", frameStderr, s.o.Stderr}} {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		*out.field = w
		s.inherited = append(s.inherited, w)
		s.ours = append(s.ours, r)
		s.add(out.name, out.stream, out.frame, r, out.to)
	}
	if !s.o.Interactive {
		return nil // libcontainer opens /dev/null
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	process.Stdin = r
	s.inherited = append(s.inherited, r)
	s.input = w
	return nil
}

// add adds what passes a stream of the container on, unless from is nil.
func (s *streams) add(name, stream string, frame byte, from, to *os.File) {
	if from != nil {
		s.outputs = append(s.outputs, &output{name: name, from: from, to: to, log: s.logged(stream), show: s.o.Attach.shown(frame)})
	}
}

// logged returns the function that logs a stream, or nil without a log.
func (s *streams) logged(stream string) func([]byte) {
	if s.o.Log == nil {
		return nil
	}
	return func(data []byte) { s.o.Log.Write(stream, data) }
}

// begin starts passing on the data of pipes.
func (s *streams) begin() {
	for _, out := range s.outputs {
		s.running.Go(out.run)
	}
	if s.input != nil && s.o.Stdin != nil {
		go func() {
			_, _ = io.Copy(s.input, s.o.Stdin)
			s.input.Close()
		}()
	}
}

// taken is called when init has its ends of the streams. It closes the launcher's copies of
// them, and takes the terminal.
func (s *streams) taken() error {
	s.closeChilds()
	if s.socket != nil {
		return s.takeTerminal()
	}
	return nil
}

// started does what taken does, and then serves the terminal and attached clients.
func (s *streams) started() error {
	err := s.taken()
	if err == nil && s.socket != nil {
		err = s.serveTerminal()
	}
	if err == nil {
		s.o.Attach.begin(s)
	}
	return err
}

// lastOutput is how long drain still passes output on after a signal: the same signal may
// have ended the container.
const lastOutput = time.Second

// drain is called when no process of the container is left. It returns when all of their
// output has been passed on, or some time after a signal on stop: a reader of the output may
// take as long as it likes.
func (s *streams) drain(stop <-chan unix.Signal) error {
	if s.slave != nil {
		s.slave.Close() // so the master comes to an end
	}
	for _, out := range s.outputs {
		out.finish()
	}
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case sig := <-stop:
		select {
		case <-time.After(lastOutput):
			return unread(sig)
		case <-done:
		}
	case <-done:
	}
	for _, out := range s.outputs {
		if out.err != nil {
			return lost(out.name, out.err)
		}
	}
	return nil
}

// unread returns the error of a launch that a signal has ended while output waited for a
// reader.
func unread(sig unix.Signal) error {
	return &Error{Op: "write the output", Err: fmt.Errorf("%v before all was read", sig), Code: 128 + int(sig)}
}

// lost returns the error of an output that could not be written.
func lost(name string, err error) error {
	return hint.With(&Error{Op: "write " + name, Err: err}, outputHelp(err))
}

func outputHelp(err error) string {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return "make room where the output goes; the command may not have come to its end"
	}
	return "the command may not have come to its end"
}

// close restores the user's terminal and closes every file that is still open.
func (s *streams) close() {
	s.closeChilds()
	for _, c := range s.ours {
		c.Close()
	}
	if s.cooked != nil {
		_ = term.Restore(int(s.host.Fd()), s.cooked) // fails only when the terminal is gone
		s.cooked = nil
	}
}

func (s *streams) closeChilds() {
	for _, f := range s.inherited {
		f.Close()
	}
	s.inherited = nil
}
