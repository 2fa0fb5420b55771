package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
			args := []string{"--name", name, "-v", "/sys/fs/cgroup:/host", "debian", "grep", "-lx", "1"}
			var want []string
			for _, dir := range hierarchies(t) {
				file := filepath.Join(dir, "minirun-"+name, "cgroup.procs")
				want = append(want, file)
				args = append(args, "/host"+strings.TrimPrefix(file, "/sys/fs/cgroup"))
			}
			out, err := confined(t, call, args...).Output()
			got := strings.Fields(strings.ReplaceAll(string(out), "/host/", "/sys/fs/cgroup/"))
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

// An existing cgroup of the container's name is left alone if it has processes or is
// frozen.
func TestCgroupTaken(t *testing.T) {
	occupied, frozen, freeze := "/sys/fs/cgroup/devices", "/sys/fs/cgroup/freezer", "FROZEN"
	state := "freezer.state"
	if cgroup2.present(t) {
		occupied, frozen, freeze = "/sys/fs/cgroup", "/sys/fs/cgroup", "1"
		state = "cgroup.freeze"
	}
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
	for why, test := range map[string]struct{ hierarchy, file, text string }{
		"with 1 processes in it": {occupied, "cgroup.procs", strconv.Itoa(sleep.Process.Pid)},
		"and frozen":             {frozen, state, freeze},
	} {
		t.Run(why, func(t *testing.T) {
			name := containerName(t)
			dir := filepath.Join(test.hierarchy, "minirun-"+name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, test.file), []byte(test.text), 0); err != nil {
				t.Error(err)
			}
			cmd := minirun(t, "--name", name, "debian", "true")
			out, _ := cmd.CombinedOutput()
			want := "minirun: make the cgroup /minirun-" + name + ": it is there already, " + why + "\nhint: "
			if cmd.ProcessState.ExitCode() != 125 || !strings.HasPrefix(string(out), want) {
				t.Errorf("%v: %q, want %q", cmd.ProcessState, out, want)
			}
			if err := os.WriteFile(filepath.Join(test.hierarchy, "cgroup.procs"), []byte(strconv.Itoa(sleep.Process.Pid)), 0); err != nil {
				t.Errorf("the process in it is gone: %v", err)
			}
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
			wantNothingOf(t, name)
		})
	}
}
