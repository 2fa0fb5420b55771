package live_test

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/live"
)

func ExampleFilters() {
	filters, err := live.Filters(1 << 30) // more than the largest PID
	if errors.Is(err, unix.ESRCH) {
		fmt.Println(err)
		return
	}
	for _, f := range filters {
		fmt.Print(f.Disassemble())
	}
	// Output: process 1073741824: no such process
}
