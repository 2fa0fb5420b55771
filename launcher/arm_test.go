package launcher

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Lines of /proc/PID/syscall as Linux writes them (proc_pid_syscall(5)).
func TestOpensForWriting(t *testing.T) {
	openat, other := strconv.Itoa(unix.SYS_OPENAT), strconv.Itoa(unix.SYS_FUTEX)
	for line, want := range map[string]bool{
		openat + " 0xffffffffffffff9c 0xc0001a2000 0x80001 0x0 0x0 0x0 0x7ffd 0x47d5ee": true,  // O_WRONLY|O_CLOEXEC
		openat + " 0xffffffffffffff9c 0xc0001a2000 0x80000 0x0 0x0 0x0 0x7ffd 0x47d5ee": false, // O_RDONLY: libcontainer opens more than the FIFO
		openat + " 0xffffffffffffff9c 0xc0001a2000 0x80002 0x0 0x0 0x0 0x7ffd 0x47d5ee": false,
		other + " 0xffffffffffffff9c 0xc0001a2000 0x80001 0x0 0x0 0x0 0x7ffd 0x47d5ee":  false,
		"running":                            false,
		"-1 0x7ffd 0x47d5ee":                 false, // blocked, but not in a call
		openat:                               false,
		openat + " 0xffffffffffffff9c 0x0 x": false,
		"":                                   false,
	} {
		if got := opensForWriting([]byte(line)); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}

func TestInitPageTooLong(t *testing.T) {
	if _, err := newInitPage(maxInstructions+1, nil); err == nil || !strings.Contains(err.Error(), "4097 instructions") {
		t.Errorf("%v", err)
	}
}

// A process that never parks, or has no arming thread, or dies, is no start.
func TestArmWithoutInit(t *testing.T) {
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	page, err := newInitPage(len(filter), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()

	busy := exec.Command("sleep", "1000")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Process.Kill(); _ = busy.Wait() }()
	soon := time.Now().Add(20 * time.Millisecond)
	if err := waitParked(busy.Process.Pid, soon); err == nil || err.Error() != "container init does not park" {
		t.Errorf("a process that does not park: %v", err)
	}
	if err := page.await(busy.Process.Pid, soon); err == nil || err.Error() != "the arming thread does not answer" {
		t.Errorf("no thread that answers: %v", err)
	}

	dead := exec.Command("true")
	if err := dead.Start(); err != nil {
		t.Fatal(err)
	}
	if err := page.await(dead.Process.Pid, time.Now().Add(time.Minute)); err == nil || err.Error() != "container init died" {
		t.Errorf("a process that died: %v", err)
	}
	if err := dead.Wait(); err != nil { // it was left to be waited for
		t.Error(err)
	}
}

// A process that opens a FIFO for writing is parked; without an arming thread it
// still gets no program.
func TestArmParkedStranger(t *testing.T) {
	fifo := t.TempDir() + "/fifo"
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	parked := exec.Command("sh", "-c", `exec >"$0"`, fifo)
	if err := parked.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parked.Process.Kill(); _ = parked.Wait() }()
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	page, err := newInitPage(len(filter), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	if err := page.install(parked.Process.Pid, filter, 0); err == nil || !strings.Contains(err.Error(), "the arming thread is not waiting") {
		t.Errorf("%v", err)
	}
	if page.state() != 0 {
		t.Errorf("the page was written to: state %d", page.state())
	}
}
