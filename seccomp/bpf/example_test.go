package bpf_test

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// example lets all calls through, except socket(2) with family 40.
func example() *bpf.Program {
	number, _ := syscalls.Number(syscalls.AMD64, "socket")
	return &bpf.Program{Arch: syscalls.AMD64, Instructions: []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: bpf.OffsetNr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: bpf.OffsetArgs},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_VSOCK, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}}
}

func ExampleProgram_Emulator() {
	emulator, err := example().Emulator()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, family := range []uint64{unix.AF_INET, unix.AF_VSOCK} {
		call, _ := bpf.NewCall(syscalls.AMD64, "socket", family)
		verdict, err := emulator.Run(call)
		fmt.Println(family, verdict, err)
	}
	// Output:
	// 2 ALLOW <nil>
	// 40 ERRNO(EPERM) <nil>
}

// A walker finds every verdict that a call can get, with any arguments, and the least call that
// gets it.
func ExampleWalker() {
	walker, err := example().Walker()
	if err != nil {
		fmt.Println(err)
		return
	}
	number, _ := syscalls.Number(syscalls.AMD64, "socket")
	solver := bpf.NewSolver()
	err = solver.Ask(func() error {
		for _, o := range walker.Verdicts(solver.Number(syscalls.AMD64, number)) {
			fmt.Println(o.Verdict, o.Calls.Least().Args)
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// ERRNO(EPERM) [40 0 0 0 0 0]
	// ALLOW [0 0 0 0 0 0]
	// <nil>
}
