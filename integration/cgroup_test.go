package integration

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hierarchies returns the directories of the cgroup hierarchies that the host has mounted.
func hierarchies(t *testing.T) []string {
	t.Helper()
	if exists("/sys/fs/cgroup/cgroup.procs") {
		return []string{"/sys/fs/cgroup"}
	}
	files, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no cgroups are mounted", err)
	}
	var dirs []string
	for _, file := range files {
		dirs = append(dirs, filepath.Dir(file))
	}
	return dirs
}

// A container's PID 1 is in a cgroup of its own in every hierarchy, also where
// clone3(2) cannot put it there: before Linux 5.7, and in a container of Docker's.
func TestJoinsCgroups(t *testing.T) {
	for name, call := range map[string]int{"with clone3": -1, "without clone3": unix.SYS_CLONE3} {
		t.Run(name, func(t *testing.T) {
			name := containerName(t)
			look, want := "exec grep -lx 1", []string(nil)
			for _, dir := range hierarchies(t) {
				file := filepath.Join(dir, "minirun-$HOSTNAME", "cgroup.procs")
				want = append(want, file)
				look += " /host" + strings.TrimPrefix(file, "/sys/fs/cgroup")
			}
			out, err := confined(t, call, "--name", name, "-v", "/sys/fs/cgroup:/host", "debian", "bash", "-c", look).Output()
			got := strings.Fields(strings.ReplaceAll(randomCgroup.ReplaceAllString(string(out), "/minirun-$$HOSTNAME"), "/host/", "/sys/fs/cgroup/"))
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%v: in %q, want %q", err, got, want)
			}
			wantNothingOf(t, name)
		})
	}
}

// As with runc the container may use every processor, even if the launcher may not.
func TestProcessors(t *testing.T) {
	want, err := exec.Command("getconf", "_NPROCESSORS_ONLN").Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := minirun(t, "debian", "nproc")
	cmd.Args = append([]string{"taskset", "-c", "0"}, cmd.Args...)
	if cmd.Path, err = exec.LookPath("taskset"); err != nil {
		t.Fatal(err)
	}
	if got, err := cmd.Output(); err != nil || string(got) != string(want) {
		t.Errorf("%q (%v), want %q", got, err, want)
	}
}
