package launcher

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher/trace"
)

// textRegisters names the registers of struct pt_regs, which begin with r15.
func TestTextRegisters(t *testing.T) {
	for _, test := range []struct {
		mask   uint8
		compat bool
		want   uint32
	}{
		{0, false, 0},
		{1, false, 15},                      // di
		{0b10, false, 14},                   // si
		{0b111, false, 13<<16 | 14<<8 | 15}, // di si dx
		{0b111111, false, 13<<16 | 14<<8 | 15},
		{0b101, true, 13<<8 | 6}, // bx, dx
	} {
		if got := textRegisters(test.mask, test.compat); got != test.want {
			t.Errorf("%b, %t: %#x, want %#x", test.mask, test.compat, got, test.want)
		}
	}
}

const refusedVariable = "MINIRUN_TEST_REFUSED"

// TestRefusedChild is the process that TestWatchLoses watches: as a user without
// capabilities it asks for some.
func TestRefusedChild(t *testing.T) {
	if os.Getenv(refusedVariable) == "" {
		return
	}
	runtime.LockOSThread()
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	for nr := range uintptr(5) { // each is a report of its own, for it has another number
		_, _, _ = unix.RawSyscall([]uintptr{unix.SYS_ACCT, unix.SYS_REBOOT, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_VHANGUP}[nr], 0, 0, 0)
	}
	os.Exit(0)
}

// A report that finds no room in the ring buffer is counted.
func TestWatchLoses(t *testing.T) {
	testenv.Root(t)
	if err := trace.Supported(); err != nil {
		testenv.Need(t, "tracing: "+err.Error(), false)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestRefusedChild$")
	cmd.Env = append(os.Environ(), refusedVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	in, out := testenv.Start(t, cmd)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	maps, err := newWatchMaps()
	if err != nil {
		t.Fatal(err)
	}
	defer maps.close()
	small, err := trace.NewRing("small", os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	maps.ring.Close()
	maps.ring = small
	all := make([]byte, 0, 4*textCalls) // each call has three texts, so that all events are of full size
	for range textCalls {
		all = binary.NativeEndian.AppendUint32(all, textRegisters(0b111, false))
	}
	if err := maps.texts.Update(make([]byte, 4), all); err != nil {
		t.Fatal(err)
	}
	scope, err := trace.NewScope(cmd.Process.Pid, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer scope.Close()
	links, err := attachWatch(scope, maps, trace.Namespace{}, nil, []unix.Errno{unix.EPERM, unix.EACCES})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(out)
	_ = cmd.Wait()
	if err := closeLinks(links); err != nil {
		t.Error(err)
	}
	stopped, stop, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stopped.Close()
	stop.Close()
	got := 0
	if err := small.Run(stopped, func([]byte) { got++ }); err != nil {
		t.Fatal(err)
	}
	lost, err := maps.lost.Count(make([]byte, 4))
	// The runtime of the child's may make more calls that are refused.
	if room := os.Getpagesize() / (eventSize + 8); err != nil || got != room || int(lost) < 5-room {
		t.Errorf("%d reports and %d lost, %v; there is room for %d", got, lost, err, room)
	}
}
