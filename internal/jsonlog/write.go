// Package jsonlog writes and reads logs in the format of Docker's json-file driver: a JSON
// object a line, with the text of a line, the stream that it came from, and the time.
package jsonlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/minirun/minirun/internal/atomicfile"
)

// Entry is a line of a log.
type Entry struct {
	Log    string    `json:"log"` // with its newline, unless it is a part of a longer line
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

// maxText is how much of a line is in one entry, as with Docker.
const maxText = 16 << 10

// Limits of a log.
type Limits struct {
	Size  int64 // in bytes of one file; 0 is no limit
	Files int   // how many are kept: the log, and PATH.1 and so on, the older ones; at least 1
}

// Writer writes a log. All methods may be called by several goroutines. What cannot be
// written is left out, and how many lines that were is said in the log once there is room.
type Writer struct {
	path   string
	limits Limits

	mu   sync.Mutex
	file *os.File
	size int64
	rest map[string][]byte // the beginning of a line, by stream
	lost int
	why  error
}

// Append goes on with a log, or makes it if there is none. A line that is not whole, since its
// writer was killed, is removed.
func Append(path string, l Limits) (*Writer, error) {
	f, err := atomicfile.Open(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(size, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Writer{path: path, limits: l, file: f, size: size, rest: map[string][]byte{}}, nil
}

// wholeLines returns where the last whole line of a file ends.
func wholeLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	block := make([]byte, 4<<10)
	for end := info.Size(); end > 0; {
		start := max(end-int64(len(block)), 0)
		n, err := f.ReadAt(block[:end-start], start)
		if err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// Write adds what was written to a stream. A line that is not complete waits for its
// rest, unless it is longer than 16 KiB.
func (w *Writer) Write(stream string, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	data = append(w.rest[stream], data...)
	now := time.Now().UTC()
	var lines []byte
	count := 0
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n') + 1
		if (end == 0 || end > maxText) && len(data) >= maxText {
			end = maxText
		}
		if end == 0 {
			break
		}
		line := encode(Entry{string(data[:end]), stream, now})
		if w.limits.Size > 0 && count > 0 && w.size+int64(len(lines)+len(line)) > w.limits.Size {
			w.put(lines, count)
			lines, count = nil, 0
		}
		lines, count, data = append(lines, line...), count+1, data[end:]
	}
	w.put(lines, count)
	w.rest[stream] = bytes.Clone(data)
}

func encode(e Entry) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(e) // it has nothing that could fail
	return b.Bytes()
}

// put writes whole lines.
func (w *Writer) put(lines []byte, count int) {
	if count == 0 {
		return
	}
	if w.limits.Size > 0 && w.size > 0 && w.size+int64(len(lines)) > w.limits.Size {
		if err := w.rotate(); err != nil {
			w.lost, w.why = w.lost+count, err
			return
		}
	}
	if w.lost > 0 {
		text := fmt.Sprintf("minirun: %d lines of the log were lost: %v\n", w.lost, w.why)
		lines = append(encode(Entry{text, "stderr", time.Now().UTC()}), lines...)
	}
	if _, err := w.file.Write(lines); err != nil {
		w.lost, w.why = w.lost+count, reason(err)
		_, _ = w.file.Seek(w.size, 0)
		_ = w.file.Truncate(w.size) // so that no half of a line stays
		return
	}
	w.size += int64(len(lines))
	w.lost = 0
}

// reason returns an error without the file, which the log's reader knows.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// rotate begins a new file. Of the old ones as many are kept as the limits say. Where there
// is no room for a new one, all stay as they are.
func (w *Writer) rotate() error {
	if w.limits.Files <= 1 {
		if err := w.file.Truncate(0); err != nil {
			return reason(err)
		}
		_, err := w.file.Seek(0, 0)
		w.size = 0
		return err
	}
	fresh := w.path + ".new"
	f, err := atomicfile.Open(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return reason(err)
	}
	if err := w.shift(fresh); err != nil {
		f.Close()
		return reason(err)
	}
	w.file.Close()
	w.file, w.size = f, 0
	return nil
}

// shift gives the log and each older file the next older name, and fresh the log's.
func (w *Writer) shift(fresh string) error {
	for n := w.limits.Files - 1; n > 0; n-- {
		older := w.path + "." + strconv.Itoa(n)
		newer := w.path
		if n > 1 {
			newer += "." + strconv.Itoa(n-1)
		}
		if err := os.Rename(newer, older); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(fresh, w.path)
}

// File returns the file that is written to, and the limits, for a writer that goes on in
// another program. Nothing may have been written.
func (w *Writer) File() (*os.File, Limits) { return w.file, w.limits }

// Close writes the lines that are not complete, and ends the log.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, stream := range [...]string{"stdout", "stderr"} {
		if rest := w.rest[stream]; len(rest) > 0 {
			w.put(encode(Entry{string(rest), stream, time.Now().UTC()}), 1)
		}
	}
	return w.file.Close()
}
