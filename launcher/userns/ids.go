package userns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	mobyuser "github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// IDs are the subordinate IDs of a user (subuid(5), subgid(5)).
type IDs struct {
	UIDs, GIDs Ranges
	Missing    error // why a container of the user's has one user, 0; nil where it has more
}

// Ranges are subordinate IDs, and the program that maps them (newuidmap(1)).
type Ranges struct {
	Ranges []Range
	Tool   string // its path
}

// Range is a range of IDs, as the host numbers them.
type Range struct{ First, Count int64 }

// Find returns the subordinate IDs of this process's user, outside of a namespace.
func Find() IDs {
	name, err := userName(UID())
	if err != nil {
		return IDs{Missing: err}
	}
	ids := IDs{}
	kinds := [...]struct {
		file, tool string
		option     []string // of getsubids
		ranges     *Ranges
	}{
		{"/etc/subuid", "newuidmap", nil, &ids.UIDs},
		{"/etc/subgid", "newgidmap", []string{"-g"}, &ids.GIDs},
	}
	for _, kind := range kinds {
		kind.ranges.Ranges = subordinate(kind.file, name, kind.option)
		if len(kind.ranges.Ranges) == 0 && ids.Missing == nil {
			ids.Missing = hint.With(fmt.Errorf("no subordinate ids for %s", name), addIDs(name))
		}
	}
	for _, kind := range kinds { // a list, so that of two missing programs the same one is always named
		path, err := exec.LookPath(kind.tool)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err == nil && strings.Contains(path, "\n") { // a line each: see enter.h
			err = errors.New("a line break in its path")
		}
		if kind.ranges.Tool = path; err != nil && ids.Missing == nil {
			ids.Missing = hint.With(errors.New(kind.tool+" is not installed"), "sudo apt-get install uidmap")
		}
	}
	return ids
}

// Name returns the name of the user whose process this is, or the number.
func Name() string {
	name, err := userName(UID())
	if err != nil {
		return strconv.Itoa(UID())
	}
	return name
}

// userName returns the name of a user. It asks id(1) for one that is not in /etc/passwd,
// but whom getpwuid(3) knows.
func userName(uid int) (string, error) {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username, nil
	}
	name, err := exec.Command("id", "-un", id).Output()
	if err != nil {
		return "", hint.With(fmt.Errorf("user %s has no name", id), "subordinate ids are given to names: see subuid(5)")
	}
	return string(bytes.TrimSpace(name)), nil
}

// subordinate returns the ranges of a user by name or number. The file is for those who
// are in /etc/passwd; where nsswitch.conf(5) names another source, getsubids(1) is asked.
func subordinate(file, name string, option []string) []Range {
	id := strconv.Itoa(UID())
	lines, _ := mobyuser.ParseSubIDFileFilter(file, func(s mobyuser.SubID) bool { return s.Name == name || s.Name == id })
	var ranges []Range
	for _, line := range lines {
		if line.Count > 0 {
			ranges = append(ranges, Range{line.SubID, line.Count})
		}
	}
	if len(ranges) > 0 || !otherSource() {
		return ranges
	}
	answer, _ := exec.Command("getsubids", append(option, name)...).Output()
	for line := range strings.Lines(string(answer)) { // 0: alice 100000 65536
		var r Range
		if _, err := fmt.Sscanf(line, "%d: %s %d %d", new(int), new(string), &r.First, &r.Count); err == nil && r.Count > 0 {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// otherSource reports whether subordinate IDs are kept elsewhere than in files.
func otherSource() bool {
	data, _ := os.ReadFile("/etc/nsswitch.conf")
	for line := range strings.Lines(string(data)) {
		if sources, ok := strings.CutPrefix(strings.TrimSpace(line), "subid:"); ok {
			return strings.TrimSpace(sources) != "files"
		}
	}
	return false
}

// addIDs returns the command that gives a user a range that nobody has.
func addIDs(name string) string {
	const size = 65536
	next := int64(100000)
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		lines, _ := mobyuser.ParseSubIDFileFilter(file, nil)
		for _, line := range lines {
			next = max(next, line.SubID+line.Count)
		}
	}
	given := fmt.Sprintf("%d-%d", next, next+size-1)
	return "sudo usermod --add-subuids " + given + " --add-subgids " + given + " " + name
}

// Count returns how many IDs the ranges have together.
func (r Ranges) Count() int64 {
	count := int64(0)
	for _, ids := range r.Ranges {
		count += ids.Count
	}
	return count
}

// Untrusted returns the path of a program that may not map the IDs, or "".
func (i IDs) Untrusted() string {
	for _, r := range []Ranges{i.UIDs, i.GIDs} {
		if !r.trusted() {
			return r.Tool
		}
	}
	return ""
}

func (r Ranges) tool() string { return filepath.Base(r.Tool) }

// trusted reports whether the program may map IDs that are not the user's own: it has the
// set-uid bit, or a file capability.
func (r Ranges) trusted() bool {
	info, err := os.Stat(r.Tool)
	if err != nil || info.Mode()&os.ModeSetuid != 0 {
		return true // it is something else
	}
	n, err := unix.Getxattr(r.Tool, "security.capability", nil)
	return err == nil && n > 0
}

// Mapped returns how many user and group IDs exist in this process's user namespace, from
// 0 on.
func Mapped() (uids, gids int64, err error) {
	for file, count := range map[string]*int64{"/proc/self/uid_map": &uids, "/proc/self/gid_map": &gids} {
		lines, err := mobyuser.ParseIDMapFile(file)
		if err != nil {
			return 0, 0, err
		}
		for _, line := range lines {
			*count += line.Count
		}
	}
	return uids, gids, nil
}
