package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An untrusted root may have anything at a mount point. The mount point that is found or made is
// inside the root, where a container with that root would find it.
func TestMountPoint(t *testing.T) {
	for name, test := range map[string]struct {
		make func(root string) error
		want string // below root
		err  string
	}{
		"there":                    {func(root string) error { return os.WriteFile(root+"/etc/hosts", nil, 0o600) }, "etc/hosts", ""},
		"not there":                {nil, "etc/hosts", ""},
		"no directory":             {func(root string) error { return os.Remove(root + "/etc") }, "etc/hosts", ""},
		"link":                     {link("/run/hosts"), "run/hosts", ""},
		"relative link":            {link("../run/hosts"), "run/hosts", ""},
		"link that leads out":      {link("../../../../../../../../outside"), "outside", ""},
		"link of the directory":    {dirLink("/usr/etc"), "usr/etc/hosts", ""},
		"directory that leads out": {dirLink("../../../../../../.."), "hosts", ""},
		"link to itself":           {link("hosts"), "", "too many levels of symbolic links"},
		"link to nowhere":          {link("/no/such/dir/hosts"), "no/such/dir/hosts", ""},
		"a directory":              {func(root string) error { return os.Mkdir(root+"/etc/hosts", 0o755) }, "", "is a directory"},
		"directory is a file": {func(root string) error {
			return errors.Join(os.Remove(root+"/etc"), os.WriteFile(root+"/etc", nil, 0o600))
		}, "", "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			root := filepath.Join(base, "root")
			if err := os.MkdirAll(root+"/etc", 0o755); err != nil {
				t.Fatal(err)
			}
			if test.make != nil {
				if err := test.make(root); err != nil {
					t.Fatal(err)
				}
			}
			file, err := mountPoint(root, "/etc/hosts")
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			got, err := file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.Lstat(filepath.Join(root, test.want))
			if err != nil || !os.SameFile(got, want) || !want.Mode().IsRegular() {
				t.Errorf("not %s: %v", test.want, err)
			}
			if entries, err := os.ReadDir(base); err != nil || len(entries) != 1 {
				t.Errorf("beside the root: %v, %v", entries, err)
			}
		})
	}
}

func link(to string) func(string) error {
	return func(root string) error { return os.Symlink(to, root+"/etc/hosts") }
}

func dirLink(to string) func(string) error {
	return func(root string) error {
		return errors.Join(os.Remove(root+"/etc"), os.Symlink(to, root+"/etc"))
	}
}
