package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/launcher"
)

// reportNeeds prints which capabilities the run needed, and what for.
func (r *recording) reportNeeds() {
	found, err := r.recorder.Needs()
	if err != nil {
		r.app.ui.warn("--record: which capabilities the run needed is not known: %v", err)
		return
	}
	needed := neededFor(found)
	line, reasons := "--cap-drop ALL", []string{}
	for _, name := range slices.SortedFunc(maps.Keys(needed), func(a, b string) int {
		return slices.Index(capname.All(), a) - slices.Index(capname.All(), b)
	}) {
		line += " --cap-add " + name
		reasons = append(reasons, fmt.Sprintf("  %s  %s", name, strings.Join(needed[name], ", ")))
	}
	r.app.ui.say("minirun: capabilities that the run needed: %s", line)
	for _, reason := range reasons {
		r.app.ui.say("%s", printable(reason))
	}
}

// neededFor returns what each capability was needed for: calls, and executables.
func neededFor(found []launcher.Need) map[string][]string {
	needed := map[string][]string{}
	for _, n := range found {
		call, _ := callName(launcher.Notification{Arch: n.Call.Arch, Nr: n.Call.Nr})
		if n.Cap >= len(capname.All()) || n.File == "" && !matters(call, n) {
			continue
		}
		capability, what := capname.All()[n.Cap], call
		if n.File != "" {
			what = "the file capability of " + n.File
		}
		if !slices.Contains(needed[capability], what) {
			needed[capability] = append(needed[capability], what)
		}
	}
	return needed
}

// matters reports whether a call would have had another result without a capability that the
// kernel checked. Some calls check one whatever they do (Linux 6.18).
func matters(call string, n launcher.Need) bool {
	mode := n.Args[1]
	switch call {
	case "setuid", "setuid32": // kernel/sys.c; the others look at the IDs first
		return uint32(n.Args[0]) != n.UID
	case "setgid", "setgid32":
		return uint32(n.Args[0]) != n.GID
	case "capset": // cap_capset of security/commoncap.c, for inheritable capabilities out of nothing
		return n.Cap != unix.CAP_SETPCAP
	case "fchmodat", "fchmodat2":
		mode = n.Args[2]
	case "chmod", "fchmod":
	default:
		return true
	}
	return n.Cap != unix.CAP_FSETID || mode&unix.S_ISGID != 0 // setattr_prepare of fs/attr.c
}
