package integration

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/minirun/minirun/internal/testenv"
)

// keptDir makes what a launch may have mounted.
func keptDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := errors.Join(os.Mkdir(filepath.Join(dir, "dir"), 0o755), os.WriteFile(filepath.Join(dir, "file"), []byte("this\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "dir", "passwd"), []byte("root:x:0:0::/:/bin/sh\n"), 0o644), os.Symlink("dir", filepath.Join(dir, "link")))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// needsKept is for a program that counts coverage: it ends as a Go program, and keeps nothing.
func needsKept(t *testing.T) {
	t.Helper()
	testenv.Need(t, "a program that does not count coverage", os.Getenv("GOCOVERDIR") == "")
}

// keptBed is a launch that is kept, and changed in one way or another.
type keptBed struct {
	*testing.T
	run     string
	profile string
	flags   []string
	command []string
}

func (b *keptBed) cmd() *exec.Cmd {
	flags := b.flags
	if flags == nil {
		flags = []string{"--network", "none"}
	}
	cmd := exec.Command(testBed.minirun, slices.Concat(flags, []string{"--seccomp", b.profile, "debian"}, b.command)...)
	cmd.Env = append(os.Environ(), "MINIRUN_RUN_ROOT="+b.run, "GODEBUG=inittrace=1")
	return cmd
}

var initLine = regexp.MustCompile(`(?m)^init .*\n`)

// launch returns whether Go was started, and fails the test unless the launch is as wanted.
func (b *keptBed) launch(status int) (inGo bool) {
	b.Helper()
	var stderr bytes.Buffer
	cmd := b.cmd()
	cmd.Stderr = &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		b.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		b.Errorf("status %d, want %d: %s", got, status, initLine.ReplaceAllString(stderr.String(), ""))
	}
	return bytes.Contains(stderr.Bytes(), []byte("init "))
}

// keep makes launches until one is carried out as it was kept.
func (b *keptBed) keep(status int) {
	b.Helper()
	for range 4 {
		if !b.launch(status) {
			return
		}
	}
	b.Fatal("the launch is not kept")
}

func newKept(t *testing.T, command ...string) *keptBed {
	t.Helper()
	needsKept(t)
	b := &keptBed{T: t, run: filepath.Join(t.TempDir(), "run"), profile: filepath.Join(t.TempDir(), "profile.json"), command: command}
	b.write(`{"defaultAction": "SCMP_ACT_ALLOW"}`)
	return b
}

// write writes the profile, some time ago: what has just changed is not relied on.
func (b *keptBed) write(text string) {
	b.Helper()
	if err := os.WriteFile(b.profile, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	b.settle()
}

// settle waits until a change just made is no longer so new that a stamp might not show
// the next one: the time of a change cannot be set.
func (b *keptBed) settle() {
	<-time.After(2100 * time.Millisecond)
}

// file returns the file of the newest launch that is kept.
func (b *keptBed) file() string {
	b.Helper()
	dir := filepath.Join(testBed.root, "launches")
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	newest, at := "", time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && len(e.Name()) == 16 && info.ModTime().After(at) {
			newest, at = filepath.Join(dir, e.Name()), info.ModTime()
		}
	}
	return newest
}

// tidy fails the test if a container is left.
func (b *keptBed) tidy() {
	b.Helper()
	if left, err := os.ReadDir(filepath.Join(testBed.root, "containers")); err != nil || len(left) > 0 {
		b.Errorf("left: %v, %v", left, err)
	}
}

// ask returns what a verb prints.
func (b *keptBed) ask(args ...string) string {
	b.Helper()
	cmd := exec.Command(testBed.minirun, args...)
	cmd.Env = append(os.Environ(), "MINIRUN_RUN_ROOT="+b.run)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}
