package launcher

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/jsonlog"
	"github.com/minirun/minirun/internal/testenv"
)

// FuzzLogEntry compares entries with those that encoding/json writes.
func FuzzLogEntry(f *testing.F) {
	for _, text := range []string{
		"", "plain\n", "\"\\/<&>'\x7f", "\x00\x01\b\f\t\r\n\x1b[0m\x1f", "ü€\U0001f600\U0010ffff", "\u2027\u2028\u2029\u202a\ufffd",
		"\xff", "\xc0\x80 \xc1\xbf", "\xe0\x9f\xbf \xed\xa0\x80", "\xf0\x8f\xbf\xbf \xf4\x90\x80\x80 \xf5", "\xe2\x80", "\xe2\x28\xa1", "\xf0\x9f\x98x",
	} {
		f.Add([]byte(text), int64(1767323045123456780))
	}
	for _, ns := range []int64{0, 1, 1e9, 1767323045e9, 17673230451e8, 1767323045000000010} {
		f.Add([]byte("x"), ns)
	}
	f.Fuzz(func(t *testing.T, text []byte, ns int64) {
		text = text[:min(len(text), 16<<10)]
		at := time.Unix(0, max(ns, 0)).UTC()
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(jsonlog.Entry{Log: string(text), Stream: "stdout", Time: at}); err != nil {
			t.Fatal(err)
		}
		if got := cLogEntry(string(text), "stdout", at); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("got  %swant %s", got, want.Bytes())
		}
	})
}

// logWriter is a writer of a log.
type logWriter interface {
	Write(stream string, data []byte)
}

type cWriter struct{ cLog }

func (w cWriter) Write(stream string, data []byte) { w.write(stream, string(data)) }

// loggedFiles writes a log with both writers, and compares all files of it. All is written at
// one time.
func loggedFiles(t *testing.T, l jsonlog.Limits, write func(dir string, w logWriter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { compareLogs(t, l, write) })
}

func compareLogs(t *testing.T, l jsonlog.Limits, write func(dir string, w logWriter)) {
	t.Helper()
	goDir, cDir := t.TempDir(), t.TempDir()
	w, err := jsonlog.Append(filepath.Join(goDir, "log"), l)
	if err != nil {
		t.Fatal(err)
	}
	write(goDir, w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cDir, "log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := beginCLog(path, l)
	if err != nil {
		t.Fatal(err)
	}
	write(cDir, cWriter{c})
	c.end()
	if diff := cmp.Diff(readLogs(t, goDir), readLogs(t, cDir)); diff != "" {
		t.Errorf("-Go +C:\n%.4000s", diff)
	}
}

func readLogs(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "log*"))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // a directory
		}
		texts[filepath.Base(file)] = string(data)
	}
	return texts
}

// What the launcher in C logs is what the one in Go does.
func TestLogInC(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	parts := []struct{ stream, text string }{
		{"stdout", "one\ntwo\nthr"},
		{"stderr", "<&>\"\n"},
		{"stdout", "ee\n\n"},
		{"stderr", long + "yy"},
		{"stderr", "\n\xffpartial \xe2\x82"},
		{"stdout", long[1:] + "\n"},
		{"stdout", long + "\n"},
		{"stdout", long[1:] + "€" + long + long + "\n"},
		{"stdout", strings.Repeat("\x01", 100<<10)},
		{"stdout", strings.Repeat("\n", 5000)},
		{"stdout", "last"},
		{"stderr", "\xacand last"},
	}
	for _, l := range []jsonlog.Limits{{}, {Size: 50, Files: 3}, {Size: 20000, Files: 1}, {Size: 20000, Files: 3}, {Size: 300000, Files: 2}} {
		t.Run(fmt.Sprint(l), func(t *testing.T) {
			loggedFiles(t, l, func(_ string, w logWriter) {
				for _, p := range parts {
					w.Write(p.stream, []byte(p.text))
				}
			})
		})
	}
}

// A file that is empty is not rotated, also for a line that is larger than the limit.
func TestLogInCEmpty(t *testing.T) {
	loggedFiles(t, jsonlog.Limits{Size: 20, Files: 3}, func(_ string, w logWriter) {
		w.Write("stdout", []byte("a line\n"))
	})
}

// Files are rotated at the same lines.
func TestLogInCRotated(t *testing.T) {
	for files := range 4 {
		loggedFiles(t, jsonlog.Limits{Size: 1000, Files: files + 1}, func(_ string, w logWriter) {
			random := rand.New(rand.NewPCG(1, uint64(files)))
			for i := range 300 {
				text := strings.Repeat(fmt.Sprintf("%d\n", i), random.IntN(4)) + strings.Repeat("x", 10*random.IntN(9))
				w.Write([]string{"stdout", "stderr"}[random.IntN(2)], []byte(text+"\n"))
			}
		})
	}
}

// Where lines are lost, as many are said to be.
func TestLogInCLost(t *testing.T) {
	loggedFiles(t, jsonlog.Limits{Size: 120, Files: 3}, func(dir string, w logWriter) {
		for i := range 9 {
			if i == 3 {
				_ = os.Mkdir(filepath.Join(dir, "log.new"), 0o700)
			}
			if i == 7 {
				_ = os.Remove(filepath.Join(dir, "log.new"))
			}
			w.Write("stdout", fmt.Appendf(nil, "line %d\n", i))
		}
	})
}

// On a full disk whole lines are lost, and their number is said once there is room.
func TestLogInCFullDisk(t *testing.T) {
	dir := testenv.Disk(t, "size=64k")
	path, filler := filepath.Join(dir, "log"), filepath.Join(dir, "filler")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := beginCLog(path, jsonlog.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	_ = os.WriteFile(filler, make([]byte, 1<<20), 0o600) // as much as there is room for
	for range 300 {
		log.write("stdout", "a line that may be lost, since the disk is full\n")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	log.write("stdout", "after\n")
	log.end()
	text := readLogs(t, dir)["log"]
	lines := strings.Split(strings.TrimSpace(text), "\n")
	lost := 300 - (len(lines) - 2)
	want := fmt.Sprintf(`"minirun: %d lines of the log were lost: no space left on device\n"`, lost)
	if lost < 100 || !strings.Contains(lines[len(lines)-2], want) || !strings.Contains(lines[len(lines)-1], "after") {
		t.Errorf("%d lines, of which the last are %q, want %s; %v", len(lines), lines[max(0, len(lines)-2):], want, slices.Sorted(maps.Keys(readLogs(t, dir))))
	}
}
