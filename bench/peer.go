package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// peer is one way to run a command in a container.
type peer struct {
	name    string
	command func(args ...string) *exec.Cmd // args name the command: /bin/true or /bin/cat
	before  func() error                   // not measured; may be nil
	slow    bool                           // it is measured in one of seldom rounds
	remote  bool                           // other processes do the work, so its own CPU time says nothing

	wall, cpu []time.Duration // alone, by round
	batches   []time.Duration // a start, among others at the same time
	waiting   usage           // while the container runs
}

const seldom = 5

// same returns what another peer took in the rounds in which this one is measured.
func (p *peer) same(all []time.Duration) (same []time.Duration) {
	for round, one := range all {
		if !p.slow || round%seldom == 0 {
			same = append(same, one)
		}
	}
	return same
}

// errLeftOut is why a peer is not measured.
var errLeftOut = errors.New("left out")

// start runs the peer once: it warms caches and shows whether it works here.
func (p *peer) start() error {
	if p.before != nil {
		if err := p.before(); err != nil {
			return fmt.Errorf("%w: %w", errLeftOut, err)
		}
	}
	cmd := p.command("/bin/true")
	if out, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %w: %s", errLeftOut, err, lines[len(lines)-1])
	}
	if err := p.command("/bin/false").Run(); err == nil {
		return fmt.Errorf("%w: it hides the status of its command", errLeftOut)
	}
	return nil
}

// settle is the time for the kernel, and a daemon, to remove the previous peer's
// container, so that each start is measured on an idle machine.
const settle = 50 * time.Millisecond

// measure starts one container. Every status but 0 is an error.
func (p *peer) measure() error {
	if p.before != nil {
		if err := p.before(); err != nil {
			return err
		}
	}
	time.Sleep(settle)
	wall, cpu, err := timed(p.command("/bin/true"))
	p.wall, p.cpu = append(p.wall, wall), append(p.cpu, cpu)
	return err
}

// timed runs a command. The CPU time is that of all processes that it waited for.
func timed(cmd *exec.Cmd) (wall, cpu time.Duration, err error) {
	var said bytes.Buffer
	cmd.Stderr = &said
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("%v: %w: %s", cmd.Args, err, bytes.TrimSpace(said.Bytes()))
	}
	return time.Since(begin), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// width is how many containers a batch starts at the same time.
const width = 8

// batch starts count containers, width at a time.
func (p *peer) batch(l *layout, count int) error {
	var next atomic.Int64
	errs := make([]error, width)
	var all sync.WaitGroup
	time.Sleep(settle)
	begin := time.Now()
	for i := range errs {
		all.Go(func() {
			errs[i] = l.do(func() error {
				for next.Add(1) <= int64(count) {
					if _, _, err := timed(p.command("/bin/true")); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	all.Wait()
	p.batches = append(p.batches, time.Since(begin)/time.Duration(count))
	return errors.Join(errs...)
}

// holder is a container that runs until it is let go.
type holder struct {
	cmd   *exec.Cmd
	stdin io.Closer
	said  bytes.Buffer
}

// hold starts a container and returns when its command runs: cat(1), which has
// answered.
func (p *peer) hold() (*holder, error) {
	h := &holder{cmd: p.command("/bin/cat")}
	h.cmd.Stderr = &h.said
	in, err := h.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.stdin = in
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(in, "\n"); err != nil {
		return nil, errors.Join(err, h.release())
	}
	if _, err := bufio.NewReader(out).ReadByte(); err != nil {
		return nil, errors.Join(err, h.release())
	}
	return h, nil
}

func (h *holder) release() error {
	_ = h.stdin.Close()
	if err := h.cmd.Wait(); err != nil {
		return fmt.Errorf("%v: %w: %s", h.cmd.Args, err, bytes.TrimSpace(h.said.Bytes()))
	}
	return nil
}

// wait measures what waits for a container.
func (p *peer) wait() error {
	h, err := p.hold()
	if err != nil {
		return err
	}
	p.waiting, err = usageOf(h.cmd.Process.Pid)
	return errors.Join(err, h.release())
}

// crowd runs f while count containers run.
func (p *peer) crowd(l *layout, count int, f func() error) error {
	var holders []*holder
	var mutex sync.Mutex
	var next atomic.Int64
	errs := make([]error, width)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			errs[i] = l.do(func() error {
				for next.Add(1) <= int64(count) {
					h, err := p.hold()
					if err != nil {
						return err
					}
					mutex.Lock()
					holders = append(holders, h)
					mutex.Unlock()
				}
				return nil
			})
		})
	}
	all.Wait()
	err := errors.Join(errs...)
	if err == nil {
		err = f()
	}
	for _, h := range holders {
		_ = h.stdin.Close() // all end together
	}
	for _, h := range holders {
		err = errors.Join(err, h.release())
	}
	return err
}

// version is the second or third word of what a program says of its version.
func version(program string) string {
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(out), "\n")
	for _, word := range strings.Fields(first) {
		if word[0] >= '0' && word[0] <= '9' {
			return " " + strings.TrimSuffix(word, ",")
		}
	}
	return ""
}

// ownNamespace reports whether a process is in the PID namespace of this one, so that
// it is not the container's.
func ownNamespace(pid int) bool {
	mine, err := os.Readlink("/proc/self/ns/pid")
	theirs, other := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	return err == nil && other == nil && mine == theirs
}
