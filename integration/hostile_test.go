package integration

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Containers that start at the same time on one volume all make the same directories.
func TestSameDirectoriesAtOnce(t *testing.T) {
	dir := "/volume" + strings.Repeat("/d", 200)
	for range 4 {
		volume := t.TempDir()
		var all sync.WaitGroup
		for range 3 {
			cmd := launchBy(t, "plan", "-v", volume+":/volume", "-w", dir, "debian", "true")
			all.Go(func() {
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		all.Wait()
	}
}

// A FIFO that nobody writes to does not stop init, wherever it is, and what fails is named.
func TestFIFOs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	const replaced = "hint: fix what the image or a mount has in its place\n"
	for target, want := range map[string]string{
		"/dev/console": "it runs\n",
		"/dev/null":    "minirun: start container: /dev/null is not the null device\n" + replaced,
		"/dev/ptmx":    "minirun: start container: link /dev/ptmx: device or resource busy\n" + replaced,
	} {
		cmd := launchBy(t, "plan", "-t", "-v", fifo+":"+target, "debian", "echo", "it runs")
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		out, err := cmd.CombinedOutput()
		if !late.Stop() {
			t.Errorf("%s: init waits", target)
		}
		if got := strings.ReplaceAll(string(out), "\r\n", "\n"); got != want {
			t.Errorf("%s: %v %q, want %q", target, err, out, want)
		}
	}
}
