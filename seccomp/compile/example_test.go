package compile_test

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// The list of a bundle's config.json needs no profile.
func ExampleCompile() {
	list := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Syscalls:      []specs.LinuxSyscall{{Names: []string{"read", "write"}, Action: specs.ActAllow}},
	}
	program, err := compile.Compile(syscalls.AMD64, list, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	emulator, err := program.Emulator()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"read", "mount", "openat2"} {
		call, _ := bpf.NewCall(syscalls.AMD64, name)
		verdict, err := emulator.Run(call)
		fmt.Println(name, verdict, err)
	}
	fmt.Println(compile.CheckLaunch(program))
	// Output:
	// read ALLOW <nil>
	// mount ERRNO(ENOSYS) <nil>
	// openat2 ERRNO(ENOSYS) <nil>
	// the profile denies execve (ERRNO(ENOSYS)), so no command can be started
}
