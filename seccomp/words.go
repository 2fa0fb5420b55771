package seccomp

import (
	"slices"
	"strings"
	"sync"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/spelling"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// The words of the format. What a set is for is a profile's own business:
// SCMP_ACT_KILL is an old name for SCMP_ACT_KILL_THREAD.
var (
	actions = []string{
		"SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
		"SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
	}
	operators = []string{
		"SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
	}
	filterFlags = []string{
		"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
		"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
	}
)

func errnoNumber(name string) (uint, bool) {
	switch name { // names of errno(3) that share a number with another
	case "EWOULDBLOCK":
		name = "EAGAIN"
	case "EDEADLOCK":
		name = "EDEADLK"
	case "EOPNOTSUPP":
		name = "ENOTSUP"
	}
	i := slices.Index(errnoNames(), name)
	return uint(i + 1), i >= 0
}

// errnoNames lists errno 1 and up; numbers that mean nothing are "".
func errnoNames() []string {
	names := make([]string, 133) // EHWPOISON, the last one
	for i := range names {
		names[i] = unix.ErrnoName(unix.Errno(i + 1))
	}
	return names
}

var capabilities = sync.OnceValue(func() []string {
	known := capability.ListKnown()
	names := make([]string, len(known))
	for i, c := range known {
		names[i] = "CAP_" + strings.ToUpper(c.String())
	}
	return names
})

// archNames are the SCMP_ARCH_ names, hostArches those of includes.arches.
var (
	archNames = sync.OnceValue(func() []string {
		var names []string
		for _, a := range syscalls.Arches() {
			names = append(names, a.OCI())
		}
		return names
	})
	hostArches = sync.OnceValue(func() []string {
		var names []string
		for _, a := range syscalls.Arches() {
			names = append(names, a.String())
		}
		return names
	})
)

// dockerKeys are the keys that Docker and Podman resolve. A runtime, which is given
// the flat list of the OCI runtime specification, knows none of them.
var dockerKeys = []string{"archMap", "defaultErrno", "errno", "excludes", "includes", "name"}

// noteKeys are keys that authors give to comments.
var noteKeys = []string{"$comment", "$schema", "comment", "comments", "description", "note", "notes"}

// wordHint is didYouMean for the words of the format, which people write without
// their prefix, or as another tool names the same thing.
func wordHint(word string, set []string) string {
	for _, prefix := range [...]string{"", "CAP_", "SCMP_ACT_", "SCMP_CMP_", "SCMP_ARCH_", "SECCOMP_FILTER_FLAG_"} {
		if full := prefix + strings.ToUpper(word); slices.Contains(set, full) {
			return "did you mean " + full + "?"
		}
	}
	arch, ok := syscalls.ParseArch(word)
	if !ok {
		arch, ok = syscalls.ParseArch(strings.ToLower(word))
	}
	if ok {
		for _, name := range [...]string{arch.OCI(), arch.String()} {
			if slices.Contains(set, name) {
				return "did you mean " + name + "?"
			}
		}
	}
	return didYouMean(word, set)
}

// didYouMean is a hint that names the word of a set that is nearest to what was
// written, or lists a small set.
func didYouMean(word string, set []string) string {
	if near := spelling.Nearest(word, set); near != "" {
		return "did you mean " + near + "?"
	}
	if len(set) <= 12 {
		return "there are " + strings.Join(set, ", ")
	}
	return ""
}
