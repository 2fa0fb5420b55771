package syscalls_test

import (
	"fmt"

	"github.com/minirun/minirun/seccomp/syscalls"
)

func ExampleNumber() {
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64} {
		number, ok := syscalls.Number(arch, "open")
		fmt.Println(arch, number, ok)
	}
	// Output:
	// amd64 2 true
	// arm64 0 false
}

func ExampleSuggest() {
	fmt.Println(syscalls.Suggest("chwon"))
	// Output: chown
}

func ExampleFormatArgument() {
	fmt.Println(syscalls.FormatArgument(syscalls.AMD64, "socket", 0, 40))
	// Output: AF_VSOCK
}
