package jsonlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
)

// Query says what to read of a log.
type Query struct {
	Since, Until time.Time // zero: from the beginning, to the end
	Tail         int       // only so many of the last entries; negative is all
	// Follow waits for more, until this is closed and all has been read. nil does not wait.
	Follow <-chan struct{}
}

// maxLine is more than an entry of 16 KiB takes in JSON.
const maxLine = 256 << 10

// Read calls each with the entries, the oldest first, until that returns an error.
func Read(ctx context.Context, path string, q Query, each func(Entry) error) error {
	r := &reader{path: path, q: q, each: each}
	defer r.close()
	var changes <-chan struct{}
	if q.Follow != nil {
		var err error
		var stop func()
		if changes, stop, err = watch(filepath.Dir(path)); err != nil {
			return err
		}
		defer stop()
	}
	if err := r.more(); err != nil {
		return err
	}
	if err := r.tail(); err != nil {
		return err
	}
	for ended := false; q.Follow != nil && !ended; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changes:
		case <-q.Follow:
			ended = true
		}
		if err := r.more(); err != nil {
			return err
		}
	}
	return nil
}

// ParseEntry reads a line of a log.
func ParseEntry(line []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("not a line of a log: %w", err)
	}
	return e, nil
}

type reader struct {
	path string
	q    Query
	each func(Entry) error

	file   *os.File
	number int    // that file had when it was looked at; by now it may have a higher one
	rest   []byte // of the file, a line that was not complete
	last   []Entry
}

// more reads what has been added since it was called before, the first time all there is:
// the rest of the file that it is at, and those that are newer. The newest stays open.
func (r *reader) more() error {
	for {
		f, number, err := r.newer()
		if err == nil && r.file != nil {
			err = r.drain() // where there is a newer one, nothing is added to it any more
		}
		if err != nil || f == nil {
			f.Close()
			return err
		}
		r.close()
		r.file, r.number, r.rest = f, number, nil
	}
}

// newer opens the file that follows the one that is open; the oldest, if none is, or if
// that one has been removed. It returns nil if there is none.
//
// The log may be rotated meanwhile: the files get the next higher number, the oldest file
// first. So a number may be missing, for a moment, or for good if the writer was killed. A
// file with the next lower number that exists is the right one if the open file still has
// its number, and no file has got a number between the two.
func (r *reader) newer() (found *os.File, number int, err error) {
	for {
		at, err := r.at()
		if err != nil {
			return nil, 0, err
		}
		for number = at - 1; number >= 0; number-- {
			if found, err = atomicfile.Open(r.name(number), os.O_RDONLY, 0); !errors.Is(err, os.ErrNotExist) {
				break
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, 0, err
		}
		between := false
		for n := at - 1; n > number && !between; n-- {
			_, err := os.Stat(r.name(n))
			between = err == nil
		}
		now, err := r.at()
		if err == nil && now == at && !between {
			return found, number, nil
		}
		found.Close()
		if err != nil {
			return nil, 0, err
		}
	}
}

// at returns the number that the open file has now, and one more than the oldest file has if
// there is none, or if it has been removed. Numbers only grow.
func (r *reader) at() (number int, err error) {
	if r.file == nil {
		return r.oldest() + 1, nil
	}
	open, err := r.file.Stat()
	if err != nil {
		return 0, err
	}
	for n := r.number; ; n++ {
		file, err := os.Stat(r.name(n))
		switch {
		case err == nil && os.SameFile(open, file):
			r.number = n
			return n, nil
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return 0, err
		case err != nil && n > r.oldest():
			return n, nil
		}
	}
}

// name returns the name of the file with a number.
func (r *reader) name(n int) string {
	if n == 0 {
		return r.path
	}
	return r.path + "." + strconv.Itoa(n)
}

// oldest returns the number of the oldest file, or 0 if there is only the log.
func (r *reader) oldest() int {
	entries, _ := os.ReadDir(filepath.Dir(r.path)) // without one no file can be opened either
	oldest := 0
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), filepath.Base(r.path)+"."); ok {
			n, _ := strconv.Atoi(number) // 0 for another file
			oldest = max(oldest, n)
		}
	}
	return oldest
}

// tail calls each with the last entries, if only so many are asked for. Those that come
// later are wanted all.
func (r *reader) tail() error {
	r.q.Tail = -1
	for _, e := range r.last {
		if err := r.each(e); err != nil {
			return err
		}
	}
	r.last = nil
	return nil
}

// drain reads to the end of the file, which may have been cut to nothing meanwhile.
func (r *reader) drain() error {
	if at, err := r.file.Seek(0, io.SeekCurrent); err != nil {
		return err
	} else if info, err := r.file.Stat(); err != nil {
		return err
	} else if info.Size() < at {
		r.rest = nil
		if _, err := r.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	lines := bufio.NewReaderSize(r.file, 64<<10)
	for {
		part, err := lines.ReadSlice('\n')
		r.rest = append(r.rest, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(r.rest) <= maxLine:
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
		line := bytes.TrimSuffix(r.rest, []byte("\n"))
		r.rest = r.rest[:0]
		e, err := ParseEntry(line)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		if err := r.take(e); err != nil {
			return err
		}
	}
}

func (r *reader) take(e Entry) error {
	if e.Time.Before(r.q.Since) || !r.q.Until.IsZero() && e.Time.After(r.q.Until) {
		return nil
	}
	switch n := r.q.Tail; {
	case n < 0:
		return r.each(e)
	case n > 0:
		if len(r.last) >= n {
			r.last = r.last[1:]
		}
		r.last = append(r.last, e)
	}
	return nil
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// watch returns a channel that has a value when something in a directory has changed
// (inotify(7)).
func watch(dir string) (<-chan struct{}, func(), error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM); err != nil {
		f.Close()
		return nil, nil, os.NewSyscallError("inotify_add_watch", err)
	}
	changes := make(chan struct{}, 1)
	changes <- struct{}{} // what came before the watch
	go func() {
		events := make([]byte, 4096)
		for {
			if _, err := f.Read(events); err != nil {
				return // it has been closed
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes, func() { f.Close() }, nil
}
