package integration

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// cgroupFile is a file of the container's cgroup. On cgroup v1 the name has a
// controller before it: "memory/memory.limit_in_bytes".
func (l *launched) cgroupFile(t *testing.T, name string) string {
	t.Helper()
	controller, file, v1 := strings.Cut(name, "/")
	if !v1 {
		controller, file = "", name
	}
	for line := range strings.Lines(read(t, filepath.Join("/proc", strconv.Itoa(l.pid1), "cgroup"))) {
		// ID:CONTROLLER[,CONTROLLER]:PATH, cgroups(7)
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if !strings.Contains(","+fields[1]+",", ","+controller+",") {
			continue
		}
		return filepath.Join("/sys/fs/cgroup", controller, fields[2], file)
	}
	t.Fatalf("container has no cgroup for %s", name)
	return ""
}

// end kills the container and everything in it.
func (l *launched) end(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(l.pid1, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, l.Cmd, 137)
	wantNothing(t, l)
}

// limits are the cgroup files of --memory 64m --pids-limit 20 --cpus 0.5.
var limits = map[feature]map[string]string{
	cgroup1: {
		"memory/memory.limit_in_bytes": "67108864",
		"pids/pids.max":                "20",
		"cpu/cpu.cfs_quota_us":         "50000",
		"cpu/cpu.cfs_period_us":        "100000",
	},
	cgroup2: {
		"memory.max": "67108864",
		"pids.max":   "20",
		"cpu.max":    "50000 100000",
	},
}

// Every manager of cgroups writes the limits, and removes the cgroup.
func TestLimits(t *testing.T) {
	for version, files := range limits {
		for manager, needed := range map[string][]feature{"cgroupfs": {version}, "systemd": {version, systemd}} {
			t.Run(string(version)+"/"+manager, func(t *testing.T) {
				requires(t, needed...)
				c := launch(t, []string{"--cgroup-manager", manager, "--memory", "64m", "--pids-limit", "20", "--cpus", "0.5"},
					"sh", "-c", "echo ready; exec sleep 1000")
				for file, want := range files {
					if got := strings.TrimSpace(read(t, c.cgroupFile(t, file))); got != want {
						t.Errorf("%s is %q, want %q", file, got, want)
					}
				}
				c.end(t)
			})
		}
	}
}

// reaches waits until a line of a cgroup's file says more than zero.
func (l *launched) reaches(t *testing.T, file, key string) {
	t.Helper()
	path := l.cgroupFile(t, file)
	eventually(t, key+" in "+file, func() bool {
		for line := range strings.Lines(read(t, path)) {
			if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == key && value != "0" {
				return true
			}
		}
		return false
	})
}

func TestForkBomb(t *testing.T) {
	for version, dir := range map[feature]string{cgroup1: "pids/", cgroup2: ""} {
		t.Run(string(version), func(t *testing.T) {
			requires(t, version)
			c := launch(t, []string{"--pids-limit", "16"},
				"perl", "-e", `syswrite STDOUT, "ready"; while (1) { defined fork or select undef, undef, undef, .05 }`)
			c.reaches(t, dir+"pids.events", "max")
			if got := read(t, c.cgroupFile(t, dir+"pids.current")); got != "16\n" {
				t.Errorf("%q processes, want 16", got)
			}
			c.end(t)
		})
	}
}

// hog is a command that needs 256 MiB.
var hog = []string{"perl", "-e", `$x = "x" x (256 << 20); print length $x`}

func TestMemoryHog(t *testing.T) {
	for version, file := range map[feature]string{cgroup1: "memory/memory.oom_control", cgroup2: "memory.events"} {
		t.Run(string(version), func(t *testing.T) {
			requires(t, version)
			cmd := minirun(t, append([]string{"--memory", "32m", "debian"}, hog...)...)
			if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 137 {
				t.Errorf("PID 1 ended with %v, want 137: %s", cmd.ProcessState, out)
			}
			c := launch(t, []string{"--memory", "32m"},
				append([]string{"sh", "-c", `echo ready; "$@" & exec sleep 1000`, "sh"}, hog...)...)
			c.reaches(t, file, "oom_kill")
			c.end(t)
		})
	}
}

func TestBusyLoop(t *testing.T) {
	for version, file := range map[feature]string{cgroup1: "cpu/cpu.stat", cgroup2: "cpu.stat"} {
		t.Run(string(version), func(t *testing.T) {
			requires(t, version)
			c := launch(t, []string{"--cpus", "0.2"}, "sh", "-c", "echo ready; while :; do :; done")
			c.reaches(t, file, "nr_throttled")
			c.end(t)
		})
	}
}

// In its cgroup namespace the container sees its own cgroup as the root.
func TestCgroupNamespace(t *testing.T) {
	requires(t, cgroup2)
	out, err := minirun(t, "--memory", "64m", "debian", "cat", "/proc/self/cgroup", "/sys/fs/cgroup/memory.max").Output()
	if want := "0::/\n67108864\n"; err != nil || string(out) != want {
		t.Errorf("%q (%v), want %q", out, err, want)
	}
	out, err = minirun(t, "debian", "mkdir", "/sys/fs/cgroup/own").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("Read-only file system")) {
		t.Errorf("%q (%v), want a read-only file system", out, err)
	}
}

// The next start also removes what a killed launcher left with systemd.
func TestKilledLauncherWithSystemd(t *testing.T) {
	requires(t, systemd)
	c := launch(t, []string{"--cgroup-manager", "systemd"}, "sh", "-c", "sleep 1000 & echo ready; wait")
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	eventually(t, "PID 1 dies with its launcher", func() bool { return gone(c.pid1) })
	if err := minirun(t, "debian", "true").Run(); err != nil {
		t.Fatal(err)
	}
	wantNothing(t, c)
}
