package integration

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// networkVariable is the number of the descriptor of this machine's network namespace,
// where the test binary is in one of its own.
const networkVariable = "MINIRUN_INTEGRATION_NETWORK"

// ownNetwork starts the test binary again in a network namespace of its own, with the
// loopback device up. Bridges, tables of nftables, parameters of the kernel and ports are
// then not this machine's, and go with the tests. It returns in the new namespace.
//
// execve(2) ends all threads but the calling one, whose namespaces the process keeps.
func ownNetwork() error {
	if number := os.Getenv(networkVariable); number != "" {
		fd, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		unix.CloseOnExec(fd)
		testBed.network = os.NewFile(uintptr(fd), "this machine's network")
		return os.Unsetenv(networkVariable)
	}
	fd, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	env := append(os.Environ(), fmt.Sprintf("%s=%d", networkVariable, fd), "MINIRUN_TEST_BINARY="+testBed.minirun) // which has been built
	return syscall.Exec("/proc/self/exe", os.Args, env)
}

// inMachineNetwork is a command in this machine's own network.
func inMachineNetwork(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.Command(testenv.Program(t, "nsenter"), append([]string{"--net=/proc/self/fd/3"}, args...)...)
	cmd.ExtraFiles = []*os.File{testBed.network}
	return cmd
}

func TestOwnNetwork(t *testing.T) {
	testenv.Root(t)
	own, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	machine, err := testBed.network.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(own, machine) {
		t.Error("the tests are in this machine's network namespace")
	}
}
