package launcher

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

const (
	maxGroups = 65536              // of a process: NGROUPS_MAX (linux/limits.h)
	maxID     = math.MaxUint32 - 1 // setuid(2) takes one more for "leave it as it is"
)

// moby/sys/user keeps all lines of a file that match, and there may be millions.
// So it is given extracts: userLine and groupLines read a file line by line, and
// return the lines that count.

// userLine returns the first line of a passwd file that a user specification
// means, and the name in it; both are "" when there is none.
func userLine(passwd io.Reader, spec string) (line, name string, err error) {
	wanted, _, _ := strings.Cut(spec, ":")
	if wanted == "" {
		wanted = "0" // a container's user is root where none is named
	}
	src := &untilFound{Reader: passwd}
	_, err = user.ParsePasswdFilter(src, func(u user.User) bool {
		if !src.found && means(wanted, u.Name, u.Uid) {
			line, name, src.found = fmt.Sprintf("%s:x:%d:%d::%s:\n", u.Name, u.Uid, u.Gid, u.Home), u.Name, true
		}
		return false
	})
	return line, name, explainLine("/etc/passwd", err)
}

// groupLines returns for each of the wanted groups the first line of a group file
// that means it.
func groupLines(group io.Reader, wanted []string) (string, error) {
	var lines strings.Builder
	missing := slices.Clone(wanted)
	src := &untilFound{Reader: group, found: len(missing) == 0}
	_, err := user.ParseGroupFilter(src, func(g user.Group) bool {
		before := len(missing)
		missing = slices.DeleteFunc(missing, func(w string) bool { return means(w, g.Name, g.Gid) })
		if len(missing) < before {
			fmt.Fprintf(&lines, "%s:x:%d:\n", g.Name, g.Gid)
		}
		src.found = len(missing) == 0
		return false
	})
	return lines.String(), explainLine("/etc/group", err)
}

// memberLines returns a line for each group that a user is a member of.
func memberLines(group io.Reader, name string) (string, error) {
	var lines strings.Builder
	count := 0
	src := &untilFound{Reader: group, found: name == ""}
	_, err := user.ParseGroupFilter(src, func(g user.Group) bool {
		if !slices.Contains(g.List, name) {
			return false
		}
		count++
		src.found = count > maxGroups
		fmt.Fprintf(&lines, ":x:%d:%s,\n", g.Gid, name)
		return false
	})
	if err == nil && count > maxGroups {
		err = fmt.Errorf("the user is in more than %d groups", maxGroups)
	}
	return lines.String(), explainLine("/etc/group", err)
}

// means reports whether what was typed means an entry: a number by its ID alone.
func means(typed, name string, id int) bool {
	if number, err := strconv.Atoi(typed); err == nil {
		return number == id
	}
	return typed == name
}

func explainLine(file string, err error) error {
	if errors.Is(err, bufio.ErrTooLong) {
		err = errors.New("a line is longer than 64 KiB, or 1 MiB for a group")
	}
	if err != nil {
		err = fmt.Errorf("read the image's %s: %w", file, err)
	}
	return err
}

// untilFound ends a file once what is looked for was found.
type untilFound struct {
	io.Reader
	found bool
}

func (r *untilFound) Read(p []byte) (int, error) {
	if r.found {
		return 0, io.EOF
	}
	return r.Reader.Read(p)
}

// checkIDs refuses IDs that the kernel does not have: cut to 32 bits, 2^32 is root.
func checkIDs(u *user.ExecUser) error {
	for _, id := range append([]int{u.Uid, u.Gid}, u.Sgids...) {
		if id < 0 || id > maxID {
			return fmt.Errorf("the image gives it the ID %d, which is not between 0 and %d: %w", id, maxID, unix.EINVAL)
		}
	}
	return nil
}
