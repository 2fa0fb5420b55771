package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestRlimits(t *testing.T) {
	got, err := rlimits([]string{"nofile=100", "core=0:-1", "nofile=200:300"})
	if err != nil {
		t.Fatal(err)
	}
	want := []specs.POSIXRlimit{
		{Type: "RLIMIT_CORE", Soft: 0, Hard: ^uint64(0)},
		{Type: "RLIMIT_NOFILE", Soft: 200, Hard: 300},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "nofile", "nosuch=1", "nofile=200:100", "nofile=x", "nofile=63:100"} {
		refused(t, Flags{"ulimit": {text}}, "--ulimit "+text)
	}
}

func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		flags              Flags
		memory, cpus, pids int64
		shm                int64
	}{
		{Flags{}, 0, 0, 0, 64 << 20},
		{Flags{"memory": {"64m"}, "cpus": {"0.5"}, "pids-limit": {"9"}, "shm-size": {"1m"}}, 64 << 20, 5e8, 9, 1 << 20},
		{Flags{"memory": {"1g", "64m"}, "cpus": {"1/2"}, "pids-limit": {"-1"}}, 64 << 20, 5e8, -1, 64 << 20},
		{Flags{"memory": {"0"}, "cpus": {"0"}, "pids-limit": {"0"}, "shm-size": {"0"}}, 0, 0, 0, 64 << 20},
	} {
		c, err := Parse(tt.flags)
		if err != nil {
			t.Errorf("%v: %v", tt.flags, err)
			continue
		}
		if c.Memory != tt.memory || c.CPUs != tt.cpus || c.Pids != tt.pids || c.ShmSize != tt.shm {
			t.Errorf("%v: got memory %d, cpus %d, pids %d, shm %d", tt.flags, c.Memory, c.CPUs, c.Pids, c.ShmSize)
		}
	}
	for _, tt := range []struct{ flag, value, want string }{
		{"memory", "", "not a size"},
		{"memory", "much", "not a size"},
		{"memory", "5m", "less than the least"},
		{"cpus", "", "not a number"},
		{"cpus", "two", "not a number"},
		{"cpus", "NaN", "not a number"},
		{"cpus", "1e9", "not a number"},
		{"cpus", "0.001", "from 0.01 up"},
		{"cpus", "-1", "from 0.01 up"},
		{"cpus", "1/3", "too many decimal places"},
		{"cpus", "99999999999999999999", "from 0.01 up"},
		{"pids-limit", "many", "not a number"},
		{"pids-limit", "", "not a number"},
	} {
		refused(t, Flags{tt.flag: {tt.value}}, tt.want)
	}
}
