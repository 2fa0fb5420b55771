package rootfs

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
)

// program is a running program. Reading it reads what it writes to standard output.
type program struct {
	io.Reader
	command *exec.Cmd
	stop    context.CancelFunc
	wait    func() error // waits for the program's end, whoever else does so
	explain func(error) error
	end     error // what Read returns once the program has ended
}

// startProgram starts a command, which stop ends. explain returns the error for a program
// that failed, from the error of [exec.Cmd.Wait].
func startProgram(command *exec.Cmd, stop context.CancelFunc, explain func(error) error) (io.ReadCloser, error) {
	out, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		stop()
		return nil, err
	}
	return &program{Reader: out, command: command, stop: stop, wait: sync.OnceValue(command.Wait), explain: explain}, nil
}

// Read returns an error in place of io.EOF if the program failed, so that partial output
// is never taken for the whole.
func (p *program) Read(b []byte) (int, error) {
	if p.end != nil {
		return 0, p.end
	}
	n, err := p.Reader.Read(b)
	if err == nil {
		return n, nil
	}
	p.end = err
	if failed := p.wait(); failed != nil && !errors.Is(err, os.ErrClosed) {
		p.end = p.explain(failed)
	}
	return n, p.end
}

// Close ends the program and waits for it. Another goroutine may be reading meanwhile.
func (p *program) Close() error {
	p.stop()
	_ = p.wait()
	return nil
}
