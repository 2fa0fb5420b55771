package launcher

import (
	stdjson "encoding/json"
	"testing"
	"time"

	json "github.com/go-json-experiment/json/v1"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The last value counts, in the order of the list, and an empty HOME is none.
func TestEnvironment(t *testing.T) {
	for _, test := range []struct {
		list, want []string
		ok         bool
	}{
		{nil, nil, true},
		{[]string{"A=1", "B=2", "A=3"}, []string{"B=2", "A=3"}, true},
		{[]string{"HOME=/h", "A="}, []string{"HOME=/h", "A="}, true},
		{[]string{"HOME=/h", "HOME="}, nil, true},
		{[]string{"HOME=", "HOME=/h"}, []string{"HOME=/h"}, true},
		{[]string{"A"}, nil, false},
		{[]string{"=x"}, nil, false},
	} {
		got, err := environment(test.list)
		if (err == nil) != test.ok || cmp.Diff(test.want, got) != "" {
			t.Errorf("%q: %q %v", test.list, got, err)
		}
	}
}

// What an update leaves out stays.
func TestUpdate(t *testing.T) {
	now := &cgroups.Resources{Memory: 1, MemorySwap: 2, CpuPeriod: 3, CpuQuota: 4, CpuShares: 5}
	updateMemory(now, &specs.LinuxMemory{Limit: new(int64(10))})
	updateCPU(now, &specs.LinuxCPU{Quota: new(int64(40))})
	updateMemory(now, nil)
	updateCPU(now, nil)
	updateBlockIO(now, nil)
	want := &cgroups.Resources{Memory: 10, MemorySwap: 2, CpuPeriod: 3, CpuQuota: 40, CpuShares: 5}
	if diff := cmp.Diff(want, now); diff != "" {
		t.Error(diff)
	}
	updateMemory(now, &specs.LinuxMemory{Limit: new(int64(-1))})
	if now.MemorySwap != 0 {
		t.Error("a limit of swap without one of memory")
	}
	device := specs.LinuxThrottleDevice{Rate: 7}
	device.Major, device.Minor = 8, 1
	for range 2 {
		updateBlockIO(now, &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{device}})
	}
	if n := len(now.BlkioThrottleReadBpsDevice); n != 1 {
		t.Errorf("%d entries of one device", n)
	}
}

func TestIsID(t *testing.T) {
	for id, want := range map[string]bool{"a": true, "a+b_c-d.e": true, "_": true, "": false, ".": false, "..": false, ".a": false, "a/b": false, "a b": false, "a\n": false} {
		if got := isID(id); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
}

// The state of an engine's container is byte for byte what libcontainer would write.
func TestStateIsLibcontainers(t *testing.T) {
	spec := specconv.Example()
	spec.Root.Path, spec.Linux.CgroupsPath, spec.Hostname = t.TempDir(), "/a/b", "<&>\u2028"
	spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(1 << 40))}
	spec.Linux.Sysctl = map[string]string{"net.b": "1", "net.a": "2"}
	spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/hook", Args: []string{"a"}, Timeout: new(3)}}}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: "id", Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []libcontainer.State{
		{},
		{
			BaseState:      libcontainer.BaseState{ID: "id", InitProcessPid: 7, InitProcessStartTime: 1 << 60, Created: time.Unix(1, 5).UTC(), Config: *config},
			NamespacePaths: map[configs.NamespaceType]string{configs.NEWPID: "/proc/7/ns/pid", configs.NEWNET: ""},
			CgroupPaths:    map[string]string{"": "/a", "cpu": "/b"},
		},
	} {
		got, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		want, err := stdjson.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Error(diff)
		}
	}
}
