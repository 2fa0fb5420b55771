package jsonlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/testenv"
)

func texts(t *testing.T, path string, q Query) []string {
	t.Helper()
	found := []string{}
	err := Read(t.Context(), path, q, func(e Entry) error {
		found = append(found, e.Stream+":"+e.Log)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// The lines are as dockerd 20.10 writes them.
func TestWrite(t *testing.T) {
	long := strings.Repeat("x", maxText+10)
	path := filepath.Join(t.TempDir(), "log")
	w, err := Append(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct{ stream, text string }{
		{"stdout", "one\ntwo\nthr"}, {"stderr", "<&>\n"}, {"stdout", "ee\n\n"}, {"stderr", long}, {"stderr", "\n\xffend"},
	} {
		w.Write(part.stream, []byte(part.text))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"stdout:one\n", "stdout:two\n", "stderr:<&>\n", "stdout:three\n", "stdout:\n",
		"stderr:" + long[:maxText], "stderr:" + long[maxText:] + "\n", "stderr:\ufffdend",
	}
	if diff := cmp.Diff(want, texts(t, path, Query{Tail: -1})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var first map[string]string
	line, _, _ := strings.Cut(string(data), "\n")
	if err := json.Unmarshal([]byte(line), &first); err != nil || !strings.HasPrefix(line, `{"log":"one\n","stream":"stdout","time":"`) || !strings.HasSuffix(first["time"], "Z") {
		t.Errorf("%s: %v", line, err)
	}
}

// No file is larger than the limit, no more are kept, and what is kept is the end.
func TestRotate(t *testing.T) {
	for _, files := range []int{1, 3} {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a[b]")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "log")
			w, err := Append(path, Limits{Size: 1000, Files: files})
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for i := range 200 {
				w.Write("stdout", fmt.Appendf(nil, "line %d\nmore %d\n", i, i))
				all = append(all, fmt.Sprintf("stdout:line %d\n", i), fmt.Sprintf("stdout:more %d\n", i))
			}
			w.Write("stdout", []byte(strings.Repeat("many\n", 50)))
			for range 50 {
				all = append(all, "stdout:many\n")
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			found, _ := filepath.Glob(strings.ReplaceAll(path, "[", "\\[") + "*")
			if len(found) != files {
				t.Errorf("files: %v", found)
			}
			for _, f := range found {
				if info, err := os.Stat(f); err != nil || info.Size() > 1000 || info.Size() < 100 && f != path {
					t.Errorf("%s: %v %v", f, info, err)
				}
			}
			kept := texts(t, path, Query{Tail: -1})
			if diff := cmp.Diff(all[len(all)-len(kept):], kept); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(kept[max(0, len(kept)-3):], texts(t, path, Query{Tail: 3})); diff != "" {
				t.Errorf("tail: -want +got:\n%s", diff)
			}
		})
	}
}

// Where a new file cannot be made, the old ones stay.
func TestRotateRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := Append(path, Limits{Size: 100, Files: 3})
	if err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		for i := from; i < to; i++ {
			w.Write("stdout", fmt.Appendf(nil, "%d\n", i)) // one fits in a file
		}
	}
	write(0, 3)
	if err := os.Mkdir(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	write(3, 7)
	want := []string{"stdout:0\n", "stdout:1\n", "stdout:2\n"}
	if diff := cmp.Diff(want, texts(t, path, Query{Tail: -1})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	write(7, 8)
	want = append(want[1:], "stderr:minirun: 4 lines of the log were lost: is a directory\n", "stdout:7\n")
	if diff := cmp.Diff(want, texts(t, path, Query{Tail: -1})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTimes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var data []byte
	for i := range 4 {
		data = append(data, encode(Entry{fmt.Sprintln(i), "stdout", at.Add(time.Duration(i) * time.Minute)})...)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{Tail: -1}, "0123"},
		{Query{Tail: 0}, ""},
		{Query{Tail: 9}, "0123"},
		{Query{Tail: -1, Since: at.Add(time.Minute)}, "123"},
		{Query{Tail: 1, Until: at.Add(2 * time.Minute)}, "2"},
		{Query{Tail: 1, Since: at.Add(time.Hour)}, ""},
	} {
		got := strings.NewReplacer("stdout:", "", "\n", "").Replace(strings.Join(texts(t, path, tt.q), ""))
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
		}
	}
}

// A follower gets all lines in their order, over rotations, and ends when the log does.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := Append(path, Limits{Size: 4000, Files: 50})
	if err != nil {
		t.Fatal(err)
	}
	w.Write("stdout", []byte("line 0\n"))
	ended, written := make(chan struct{}), make(chan struct{})
	seen := make(chan int, 1)
	go func() {
		defer close(written)
		<-seen // it follows
		for i := 1; i < 500; i++ {
			w.Write("stdout", fmt.Appendf(nil, "line %d\n", i))
		}
		_ = w.Close()
		close(ended)
	}()
	next := 0
	err = Read(t.Context(), path, Query{Tail: -1, Follow: ended}, func(e Entry) error {
		if want := fmt.Sprintf("line %d\n", next); e.Log != want {
			return fmt.Errorf("%q, want %q", e.Log, want)
		}
		select {
		case <-seen:
		default:
		}
		seen <- next
		next++
		return nil
	})
	if err != nil || next != 500 {
		t.Fatalf("%d lines: %v", next, err)
	}
	<-written
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Read(stopped, path, Query{Follow: make(chan struct{})}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A log that is rotated while it is read has all its lines once, also if several files
// have been begun since the reader looked.
func TestRotatedWhileRead(t *testing.T) {
	for _, q := range []Query{{Tail: -1}, {Tail: -1, Follow: closed()}} {
		path := filepath.Join(t.TempDir(), "log")
		w, err := Append(path, Limits{Size: 100, Files: 100}) // one line fits in a file
		if err != nil {
			t.Fatal(err)
		}
		written, next := 0, 0
		write := func(count int) {
			for range count {
				w.Write("stdout", fmt.Appendf(nil, "line %d\n", written))
				written++
			}
		}
		write(5)
		err = Read(t.Context(), path, q, func(e Entry) error {
			if want := fmt.Sprintf("line %d\n", next); e.Log != want {
				return fmt.Errorf("%q, want %q", e.Log, want)
			}
			if next++; next < 20 {
				write(next % 4)
			}
			return nil
		})
		if err != nil || next != written {
			t.Errorf("%d lines of %d: %v", next, written, err)
		}
	}
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// The same where the writer does not wait for the reader.
func TestRotatedAtAnyTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	w, err := Append(path, Limits{Size: 100, Files: 500})
	if err != nil {
		t.Fatal(err)
	}
	var reading atomic.Bool
	done := make(chan int)
	go func() {
		n := 0
		for ; n < 10 || reading.Load() && n < 500; n++ {
			w.Write("stdout", fmt.Appendf(nil, "line %d\n", n))
			reading.CompareAndSwap(false, n == 9)
		}
		_ = w.Close()
		done <- n
	}()
	for !reading.Load() {
		runtime.Gosched()
	}
	for range 30 {
		for i, text := range texts(t, path, Query{Tail: -1}) {
			if want := fmt.Sprintf("stdout:line %d\n", i); text != want {
				t.Fatalf("%q, want %q", text, want)
			}
		}
	}
	reading.Store(false)
	if n := <-done; len(texts(t, path, Query{Tail: -1})) != n {
		t.Errorf("there are %d lines, want %d", len(texts(t, path, Query{Tail: -1})), n)
	}
}

// On a full disk lines are lost, never half of one, and the log says how many.
func TestFullDisk(t *testing.T) {
	dir := testenv.Disk(t, "size=64k")
	path, filler := filepath.Join(dir, "log"), filepath.Join(dir, "filler")
	w, err := Append(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	w.Write("stdout", []byte("before\n"))
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	for range 300 {
		w.Write("stdout", []byte("a line that may be lost, since the disk is full\n"))
	}
	lost := w.lost
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.Write("stdout", []byte("after\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got := texts(t, path, Query{Tail: -1})
	want := []string{fmt.Sprintf("stderr:minirun: %d lines of the log were lost: no space left on device\n", lost), "stdout:after\n"}
	if len(got) != 300-lost+3 || lost < 100 || cmp.Diff(want, got[len(got)-2:]) != "" {
		t.Errorf("lost %d, and there are %d; the last are %q", lost, len(got), got[max(0, len(got)-2):])
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"log":"a\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}` + "\n"))
	f.Add([]byte("{}\nnull\n[1]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		entries := 0
		_ = Read(t.Context(), path, Query{Tail: -1}, func(Entry) error { entries++; return nil })
		if lines := strings.Count(string(data), "\n"); entries > lines {
			t.Errorf("%d entries of %d lines", entries, lines)
		}
	})
}

// A log that is gone on with has all its lines, except one that its writer did not finish.
func TestAppend(t *testing.T) {
	for name, before := range map[string]string{
		"none": "", "whole": "{\"log\":\"a\\n\"}\n", "half a line": "{\"log\":\"a\\n\"}\n{\"log\":", "only half a line": "{\"lo",
		"a long half": "{\"log\":\"a\\n\"}\n" + strings.Repeat("x", 10000),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			w, err := Append(path, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			w.Write("stdout", []byte("b\n"))
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			whole := before[:strings.LastIndexByte(before, '\n')+1]
			if rest, ok := strings.CutPrefix(string(data), whole); !ok || !strings.HasPrefix(rest, `{"log":"b\n","stream":"stdout"`) || strings.Count(rest, "\n") != 1 {
				t.Errorf("%q", data)
			}
		})
	}
}

// A writer that is killed while it rotates leaves numbers out, among them perhaps the log's.
func TestRotationKilled(t *testing.T) {
	for missing := range 4 {
		path := filepath.Join(t.TempDir(), "log")
		w, err := Append(path, Limits{Size: 100, Files: 4})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 4 {
			w.Write("stdout", fmt.Appendf(nil, "line %d\n", n))
		}
		_ = w.Close()
		r := &reader{path: path}
		if err := os.Remove(r.name(missing)); err != nil {
			t.Fatal(err)
		}
		var want []string
		for n := range 4 {
			if n != 3-missing {
				want = append(want, fmt.Sprintf("stdout:line %d\n", n))
			}
		}
		if diff := cmp.Diff(want, texts(t, path, Query{Tail: -1})); diff != "" {
			t.Errorf("without %d (-want +got):\n%s", missing, diff)
		}
	}
}

// What is not a regular file is no log, and is not waited for.
func TestNotRegular(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"device":    func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		for _, file := range []string{"log", "log.1"} {
			path := filepath.Join(t.TempDir(), "log")
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.RemoveAll(filepath.Join(filepath.Dir(path), file)), put(filepath.Join(filepath.Dir(path), file))); err != nil {
				t.Fatal(err)
			}
			err := Read(t.Context(), path, Query{Tail: -1}, func(Entry) error { return nil })
			if !errors.Is(err, atomicfile.ErrNotRegular) {
				t.Errorf("read with a %s as %s: %v", name, file, err)
			}
		}
		path := filepath.Join(t.TempDir(), "log")
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		if _, err := Append(path, Limits{Files: 1}); !errors.Is(err, atomicfile.ErrNotRegular) && !errors.Is(err, unix.EISDIR) {
			t.Errorf("append to a %s: %v", name, err)
		}
	}
	// The next file of a log is a FIFO: lines are lost, and said to be, but not waited for.
	path := filepath.Join(t.TempDir(), "log")
	w, err := Append(path, Limits{Size: 100, Files: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path+".new", 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.Write("stdout", []byte("line\n"))
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	w.Write("stdout", []byte("line\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "lines of the log were lost") {
		t.Errorf("%q, %v", text, err)
	}
}
