package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	json "github.com/go-json-experiment/json/v1"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/seccomp"
)

// settingsFile is where the administrator says what annotations may change. Whoever
// starts a container sets those, in Kubernetes by a Pod's metadata.
const settingsFile = "/etc/minirun/runtime.json"

// settings are the content of settingsFile. Without the file no annotation is allowed.
type settings struct {
	Annotations []string `json:"annotations"` // those that are allowed
	Profiles    string   `json:"profiles"`    // the directory where org.minirun.seccomp-profile looks
	Reports     string   `json:"reports"`     // that of the files of org.minirun.explain
	Records     string   `json:"records"`     // that of the directories of org.minirun.record
}

// readSettings reads a file that only root can write.
func readSettings(name string) (*settings, error) {
	s := &settings{Profiles: "/etc/minirun/profiles", Reports: "/var/log/minirun", Records: "/var/lib/minirun/records"}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) // it may be a FIFO
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, atomicfile.ErrNotRegular)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid != uint32(os.Geteuid()) || info.Mode().Perm()&0o022 != 0 {
		return nil, hint.New(name+": others than root can write it", "chown root it, and chmod go-w")
	}
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, a := range s.Annotations {
		if !slices.Contains(annotationNames(), a) {
			return nil, fmt.Errorf("%s: annotations: %q is none of minirun's: there are %s", name, a, strings.Join(annotationNames(), ", "))
		}
	}
	for key, dir := range map[string]string{"profiles": s.Profiles, "reports": s.Reports, "records": s.Records} {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("%s: %s: %q is not an absolute path", name, key, dir)
		}
	}
	return s, nil
}

// readBelow reads a file below a directory, as if that were the root: whoever names the
// file may not be allowed to read others.
func readBelow(dir, name string) ([]byte, error) {
	root, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	handle, err := pathrs.OpenatInRoot(root, name)
	if err != nil {
		return nil, fmt.Errorf("%s below %s: %w", name, dir, err)
	}
	defer handle.Close()
	if info, err := handle.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s below %s is not a regular file", name, dir)
	}
	f, err := pathrs.Reopen(handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, seccomp.MaxSize+1))
}
