package launcher

import (
	"errors"
	"maps"
	"os/exec"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"

	"github.com/minirun/minirun/internal/testenv"
)

// The directories of a cgroup are those that libcontainer's manager finds.
func TestNewManager(t *testing.T) {
	for _, path := range []string{"/minirun-a", "/a/b/minirun-a", "minirun-a", "/a/../minirun-a", "/a//b"} {
		config := func() *cgroups.Cgroup { return &cgroups.Cgroup{Path: path, Resources: &cgroups.Resources{}} }
		want, werr := manager.New(config())
		got, err := newManager(config())
		if (err != nil) != (werr != nil) {
			t.Errorf("%s: %v, want %v", path, err, werr)
		}
		if err == nil && !maps.Equal(got.GetPaths(), want.GetPaths()) {
			t.Errorf("%s: %v, want %v", path, got.GetPaths(), want.GetPaths())
		}
	}
}

// An existing cgroup, which an engine may name, is left alone if it has processes or is frozen.
func TestCgroupTaken(t *testing.T) {
	testenv.Root(t)
	for want, take := range map[string]func(cgroups.Manager, int) error{
		"with 1 processes in it": func(cm cgroups.Manager, pid int) error { return cm.Apply(pid) },
		"and frozen":             func(cm cgroups.Manager, _ int) error { return cm.Freeze(cgroups.Frozen) },
	} {
		sleep := exec.Command("sleep", "1000")
		if err := sleep.Start(); err != nil {
			t.Fatal(err)
		}
		config := &cgroups.Cgroup{Path: "/minirun-taken-" + randomDigits(8), Resources: &cgroups.Resources{}}
		cm, err := newManager(config)
		if err == nil {
			err = cm.Apply(-1)
		}
		if err == nil {
			err = take(cm, sleep.Process.Pid)
		}
		if err != nil {
			t.Error(err)
		} else if err := (&ownCgroup{cm, config}).make(); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		_ = sleep.Process.Kill()
		_ = sleep.Wait() // the signal has ended it
		if !cm.Exists() {
			t.Error("the cgroup is gone")
		}
		if err := errors.Join(cm.Freeze(cgroups.Thawed), cm.Destroy()); err != nil {
			t.Error(err)
		}
	}
}
