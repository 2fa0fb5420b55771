package launcher

/*
#include "wait.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/jsonlog"
)

// serve serves the streams of a container in the background, whose launcher in C has given
// them away since somebody has connected. It returns when the launcher has said how the
// container has ended, or has been killed.
func (r *Remains) serve() error {
	s, err := r.servedStreams()
	if err != nil {
		return fmt.Errorf("serve the container's streams: %w", err)
	}
	a := s.o.Attach
	if a.first, err = a.listener.Accept(); err != nil { // who has connected sees all from here on
		return err
	}
	a.begin(s)
	s.begin()
	text, err := io.ReadAll(r.file(r.record.end, "end"))
	status, serr := strconv.Atoi(string(text))
	a.hurry()
	err = errors.Join(err, s.drain(nil))
	if serr == nil { // else the launcher was killed
		a.finish(status)
	}
	a.Close()
	if s.o.Log != nil {
		err = errors.Join(err, s.o.Log.Close())
	}
	return err
}

// file returns a file of the record, or nil.
func (r *Remains) file(fd C.int32_t, name string) *os.File {
	if fd < 0 {
		return nil
	}
	unix.CloseOnExec(int(fd))
	return os.NewFile(uintptr(fd), name)
}

// pollable is file for what reads of can be ended.
func (r *Remains) pollable(fd C.int32_t, name string) *os.File {
	if fd >= 0 {
		_ = unix.SetNonblock(int(fd), true) // it is so already
	}
	return r.file(fd, name)
}

func (r *Remains) servedStreams() (*streams, error) {
	h := r.record
	socket := r.file(h.attach, attachSocket)
	listener, err := net.FileListener(socket)
	socket.Close() // the listener has a copy
	if err != nil {
		return nil, err
	}
	unixListener, ok := listener.(*net.UnixListener)
	if !ok {
		return nil, errors.New("not a socket to connect to")
	}
	s := &streams{o: &Options{Interactive: h.to[C.STREAM_IN] >= 0, Attach: &Attachments{
		once: h.once != 0, dir: "/proc/self/fd/" + strconv.Itoa(int(h.lock)), listener: unixListener, clients: map[net.Conn]bool{},
	}}}
	if h.log >= 0 {
		if s.o.Log, err = jsonlog.Append(r.text(h.log_path), jsonlog.Limits{Size: int64(h.log_size), Files: int(h.log_files)}); err != nil {
			return nil, err
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // without a log
	if err != nil {
		return nil, err
	}
	s.add(standardOutput, "stdout", frameStdout, r.pollable(h.from[C.STREAM_OUT], "output"), null)
	s.add(standardError, "stderr", frameStderr, r.pollable(h.from[C.STREAM_ERR], "output"), null)
	if s.slave = r.file(h.slave, "terminal"); s.slave != nil {
		s.master = s.outputs[0].from
	} else {
		s.input = r.file(h.to[C.STREAM_IN], "input")
	}
	if said := r.pollable(h.said, "said"); said != nil {
		s.outputs = append(s.outputs, &output{name: standardError, from: said, to: null, log: s.logged("stderr")})
	}
	return s, nil
}
