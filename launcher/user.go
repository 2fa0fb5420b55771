package launcher

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// execUser resolves --user (`[USER|UID][:GROUP|:GID]`) and --group-add in the
// root's own /etc/passwd and /etc/group, as Docker does: a name must be listed there,
// a number need not be. Both files are untrusted: links are followed as if root were "/".
func execUser(root, spec string, groups []string) (*user.ExecUser, error) {
	u, err := findUser(root, spec)
	if err != nil {
		return nil, hint.With(&Error{Op: fmt.Sprintf("user %q", spec), Err: err}, "users are looked up in the image's own /etc/passwd; a number always works")
	}
	// As with Docker, the primary group is a supplementary one too. Otherwise a program
	// that drops it could access files that deny access to the group (CVE-2022-36109).
	u.Sgids = append([]int{u.Gid}, u.Sgids...)
	if slices.Contains(groups, "") { // GetAdditionalGroups would panic
		return nil, hint.With(&Error{Op: "--group-add", Err: errors.New("a group is missing")}, "write the name of a group in the image, or a number")
	}
	if len(groups) > 0 {
		more, err := findGroups(root, groups)
		if err != nil {
			return nil, hint.With(&Error{Op: "--group-add", Err: err}, "groups are looked up in the image's own /etc/group; a number always works")
		}
		u.Sgids = append(u.Sgids, more...)
	}
	return u, nil
}

func findUser(root, spec string) (*user.ExecUser, error) {
	passwd, err := openInRoot(root, "/etc/passwd")
	if err != nil {
		return nil, err
	}
	defer passwd.Close()
	group, err := openInRoot(root, "/etc/group")
	if err != nil {
		return nil, err
	}
	defer group.Close()
	return lookUp(spec, passwd, group)
}

// lookUp does what [user.GetExecUser] does, for files of any size.
func lookUp(spec string, passwd, group io.Reader) (*user.ExecUser, error) {
	line, name, err := userLine(passwd, spec)
	if err != nil {
		return nil, err
	}
	var lines string
	if _, wanted, _ := strings.Cut(spec, ":"); wanted != "" {
		lines, err = groupLines(group, []string{wanted})
	} else {
		lines, err = memberLines(group, name)
	}
	if err != nil {
		return nil, err
	}
	u, err := user.GetExecUser(spec, &user.ExecUser{Home: "/"}, strings.NewReader(line), strings.NewReader(lines))
	if err != nil {
		return nil, err
	}
	return u, checkIDs(u)
}

// findGroups returns the IDs of groups in ascending order.
func findGroups(root string, groups []string) ([]int, error) {
	group, err := openInRoot(root, "/etc/group")
	if err != nil {
		return nil, err
	}
	defer group.Close()
	lines, err := groupLines(group, groups)
	if err != nil {
		return nil, err
	}
	ids, err := user.GetAdditionalGroups(groups, strings.NewReader(lines))
	slices.Sort(ids) // they come in any order
	return ids, err
}

// openInRoot opens a regular file below root for reading, following links as if
// root were "/". A file that does not exist or is not regular reads as empty.
func openInRoot(root, path string) (io.ReadCloser, error) {
	handle, err := lookUpInRoot(root, path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return emptyFile{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s in the root file system: %w", path, err)
	}
	defer handle.Close()
	if info, err := handle.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return emptyFile{}, nil
	}
	// Not by its path, where there may be another file by now. pathrs.Reopen would mount a
	// procfs of its own, in case that somebody hides parts of /proc, which is the host's here.
	file, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(handle.Fd())))
	if err != nil {
		return nil, fmt.Errorf("open %s in the root file system: %w", path, err)
	}
	return file, nil
}

type emptyFile struct{}

func (emptyFile) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyFile) Close() error             { return nil }
