package seccomp

import (
	"fmt"
	"runtime"

	"github.com/minirun/minirun/internal/kernel"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Target is the container and the machine that a profile is resolved for.
type Target struct {
	Capabilities []string      // the container's bounding set, CAP_ names
	Arch         syscalls.Arch // of the kernel
	Kernel       Kernel
}

// HostTarget returns the target for a container with these capabilities on this machine.
func HostTarget(capabilities []string) (Target, error) {
	arch, ok := syscalls.ParseArch(runtime.GOARCH)
	if !ok {
		return Target{}, fmt.Errorf("seccomp: architecture %s has no system call table", runtime.GOARCH)
	}
	kernel, err := hostKernel()
	return Target{Capabilities: capabilities, Arch: arch, Kernel: kernel}, err
}

// hostKernel returns the version that uname(2) reports.
func hostKernel() (Kernel, error) {
	major, minor, err := kernel.Version()
	return Kernel{major, minor}, err
}
