package arm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// startInit starts this test's binary as a container's init, which ends for want of
// libcontainer's pipe at the latest, and returns what it says.
func startInit(t *testing.T, files ...*os.File) (status int, says string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "init")
	if len(files) == 0 { // without a descriptor 3, which may be one that the tests have been given, flock(1)'s say
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd = exec.Command("sh", "-c", `exec "$0" init 3<&-`, exe)
	}
	cmd.Env = append(os.Environ(), "_LIBCONTAINER_INITPIPE=99")
	cmd.ExtraFiles = files
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// An init that cannot join one of its cgroups ends before it does anything else, and
// says which and why.
func TestJoinFails(t *testing.T) {
	dir := t.TempDir()
	sealed := filepath.Join(dir, "sealed")
	if err := os.Mkdir(sealed, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(sealed, "tasks"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := "/" + strings.Repeat("a/", unix.PathMax/2)
	for name, test := range map[string]struct {
		cgroups []string
		want    string
	}{
		"v2 not there":       {[]string{"/no/such"}, "/no/such: no such file or directory"},
		"v2 no directory":    {[]string{file}, file + ": not a directory"},
		"v2 no cgroup":       {[]string{dir}, dir + ": no such file or directory"}, // of its cgroup.procs
		"v1 not there":       {[]string{"", "/no/such"}, "/no/such: no such file or directory"},
		"v1 no directory":    {[]string{"", file}, file + ": not a directory"},
		"v1 no cgroup":       {[]string{"", dir}, dir + ": no such file or directory"},
		"v1 not to be moved": {[]string{"", sealed}, sealed + ": is a directory"},
		"v1 name too long":   {[]string{"", long}, long + ": file name too long"},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := New(1, test.cgroups, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer page.Close()
			if status, says := startInit(t, page.file); status != 255 || says != "" {
				t.Errorf("status %d, %q", status, says)
			}
			if err := page.Failure(); page.joined() || err == nil || err.Error() != "join the cgroup "+test.want {
				t.Errorf("joined %v, %v", page.joined(), err)
			}
			copied, err := unix.Dup(int(page.file.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			opened, err := OpenFailed(os.NewFile(uintptr(copied), "page"))
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			if err := opened.Failure(); err == nil || err.Error() != "join the cgroup "+test.want {
				t.Errorf("opened again: %v", err)
			}
		})
	}
}

// Without cgroups to join init goes on to libcontainer, without a page it does not.
func TestJoinNothing(t *testing.T) {
	page, err := New(0, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	if status, says := startInit(t, page.file); status == 0 || !strings.Contains(says, "netlink header") {
		t.Errorf("status %d, %q: this is not libcontainer", status, says)
	}
	if err := page.Failure(); !page.joined() || err != nil {
		t.Errorf("joined %v, %v", page.joined(), err)
	}
	if status, says := startInit(t); status != 255 || says != "minirun: container init: map the page: Bad file descriptor\n" {
		t.Errorf("status %d, %q", status, says)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if status, says := startInit(t, null); status != 255 || !strings.HasPrefix(says, "minirun: container init: map the page: ") {
		t.Errorf("status %d, %q", status, says)
	}
}

// The launch does not go on with an init that has not joined all of its cgroups.
func TestJoinUnfinished(t *testing.T) {
	page, err := New(0, []string{"", "/a", "/b"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	page.shared.state = parked
	for joined := range 4 {
		if got, want := page.joined(), joined == 3; got != want {
			t.Errorf("%d of 3: joined %v", joined, got)
		}
		if err := page.Failure(); err != nil {
			t.Errorf("%d of 3: %v", joined, err)
		}
		if err := page.WaitParked(); (err == nil) != (joined == 3) || err != nil && err.Error() != "its init did not join its cgroups" {
			t.Errorf("%d of 3: %v", joined, err)
		}
		page.shared.joined++
	}
}
