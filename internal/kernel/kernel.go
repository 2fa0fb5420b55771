// Package kernel describes the running kernel.
package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Release returns the release from uname(2), such as "6.1.0-18-amd64".
func Release() (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(uts.Release[:]), nil
}

// Version returns the first two numbers of the release.
func Version() (major, minor int, err error) {
	release, err := Release()
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("kernel release %q: %w", release, err)
	}
	return major, minor, nil
}
