// Package keyword lists names that occur in profiles: errnos and architectures. Nothing is
// computed at initialisation.
package keyword

import (
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/spelling"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Errno returns the number of a name in errno(3).
func Errno(name string) (number uint, ok bool) {
	switch name { // names that share a number with another
	case "EWOULDBLOCK":
		name = "EAGAIN"
	case "EDEADLOCK":
		name = "EDEADLK"
	case "EOPNOTSUPP":
		name = "ENOTSUP"
	}
	i := slices.Index(Errnos(), name)
	return uint(i + 1), i >= 0
}

// Errnos returns the names of errno 1 and up; unused numbers have the name "".
func Errnos() []string {
	names := make([]string, 133) // EHWPOISON, the last one
	for i := range names {
		names[i] = unix.ErrnoName(unix.Errno(i + 1))
	}
	return names
}

// Arches returns the names of architectures in includes.arches, OCIArches their SCMP_ARCH_
// names. The caller must not change the lists.
var (
	Arches    = sync.OnceValue(func() []string { return arches(syscalls.Arch.String) })
	OCIArches = sync.OnceValue(func() []string { return arches(syscalls.Arch.OCI) })
)

func arches(name func(syscalls.Arch) string) []string {
	var names []string
	for _, a := range syscalls.Arches() {
		names = append(names, name(a))
	}
	return names
}

// Suggest returns a hint with the word of a set that is most similar to a misspelt one, or a
// list of the set if that is small, or "".
func Suggest(word string, set []string) string {
	if near := spelling.Nearest(word, set); near != "" {
		return "did you mean " + near + "?"
	}
	if len(set) <= 12 {
		return "there are " + strings.Join(set, ", ")
	}
	return ""
}
