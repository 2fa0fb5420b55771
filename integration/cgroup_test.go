package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A container is in a cgroup of its own in every hierarchy that the host has mounted.
func TestJoinsCgroups(t *testing.T) {
	c := launch(t, nil, "bash", "-c", "echo ready; exec sleep 1000")
	joined := 0
	for line := range strings.Lines(read(t, filepath.Join("/proc", strconv.Itoa(c.pid1), "cgroup"))) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3) // ID:CONTROLLERS:PATH, cgroups(7)
		dir := filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(fields[1], "name="))
		switch {
		case fields[1] == "" && exists("/sys/fs/cgroup/unified"):
			dir = "/sys/fs/cgroup/unified"
		case !exists(filepath.Join(dir, "cgroup.procs")):
			continue
		}
		joined++
		if want := "/minirun-" + c.name; fields[2] != want {
			t.Errorf("%s: it is not in %s", strings.TrimSpace(line), want)
		}
		if !strings.Contains("\n"+read(t, filepath.Join(dir, fields[2], "cgroup.procs")), "\n"+strconv.Itoa(c.pid1)+"\n") {
			t.Errorf("%s: its PID 1 is not listed", strings.TrimSpace(line))
		}
	}
	if joined == 0 {
		t.Error("no cgroup is mounted")
	}
	c.end(t)
}

// As with runc the container may use every processor, whatever the launcher may.
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

// A cgroup of the container's name with somebody's processes in it, or a frozen one,
// is left alone.
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
