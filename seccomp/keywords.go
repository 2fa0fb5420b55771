package seccomp

import (
	"slices"
	"strings"

	"github.com/minirun/minirun/seccomp/internal/keyword"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// The keywords of the format. SCMP_ACT_KILL is an old name for SCMP_ACT_KILL_THREAD.
var (
	actionNames = []string{
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

// dockerKeys are the keys that only Docker and Podman read. The flat list that a runtime
// gets (OCI runtime specification) has none of them.
var dockerKeys = []string{"archMap", "defaultErrno", "errno", "excludes", "includes", "name"}

// noteKeys are keys that authors use for comments.
var noteKeys = []string{"$comment", "$schema", "comment", "comments", "description", "note", "notes"}

// keywordHint is [keyword.Suggest] for the keywords of the format. It also recognizes
// keywords without their prefix, and the names of architectures in other tools.
func keywordHint(word string, set []string) string {
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
	return keyword.Suggest(word, set)
}
