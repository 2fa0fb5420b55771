package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"
)

// A kernel that lacks a mount call of a launch is an error, and nothing is left.
func TestOldMounts(t *testing.T) {
	for what, test := range map[string]struct {
		call  int
		flags []string
	}{
		"open_tree":     {unix.SYS_OPEN_TREE, nil},
		"mount_setattr": {unix.SYS_MOUNT_SETATTR, []string{"--read-only"}},
	} {
		t.Run(what, func(t *testing.T) {
			name := containerName(t)
			cmd := confined(t, test.call, append(append([]string{"--name", name}, test.flags...), "debian", "true")...)
			out, _ := cmd.CombinedOutput()
			want := regexp.MustCompile(`^minirun: mount /(etc|run)/[a-z.]+: ` + what + `: function not implemented\nhint: run Linux 5.12 or later; .*\n$`)
			if status := cmd.ProcessState.ExitCode(); status != 125 || !want.Match(out) {
				t.Errorf("status %d: %q, want %s", status, out, want)
			}
			wantNothingOf(t, name)
		})
	}
}

// An image can have a directory in the place of a container's own file.
func TestFolderForFile(t *testing.T) {
	image, name := t.TempDir(), containerName(t)
	if err := os.MkdirAll(filepath.Join(image, "etc/hosts"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := minirun(t, "--name", name, "dir:"+image, "true")
	out, _ := cmd.CombinedOutput()
	const want = "minirun: mount /etc/hosts: is a directory\nhint: the container's own file goes there: fix what the image has in its place\n"
	if status := cmd.ProcessState.ExitCode(); status != 125 || string(out) != want {
		t.Errorf("status %d: %q, want %q", status, out, want)
	}
	wantNothingOf(t, name)
}
