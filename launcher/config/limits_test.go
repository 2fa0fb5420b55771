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
		{Flags{"cpus": {"1e-1"}, "pids-limit": {"0x10"}, "cpu-quota": {"-1"}}, 0, 1e8, 16, 64 << 20},
		{Flags{"cpus": {"0x1"}, "pids-limit": {"1_000"}}, 0, 1e9, 1000, 64 << 20},
	} {
		c, err := Parse(tt.flags)
		if err != nil {
			t.Errorf("%v: %v", tt.flags, err)
			continue
		}
		want := Limits{Memory: tt.memory, CPUs: tt.cpus, Pids: tt.pids}
		if c.Limits != want || c.ShmSize != tt.shm {
			t.Errorf("%v: got %+v, shm %d", tt.flags, c.Limits, c.ShmSize)
		}
	}
	for _, tt := range []struct{ flag, value, want string }{
		{"memory", "", "not a size"},
		{"memory", "much", "not a size"},
		{"memory", "5m", "less than the minimum"},
		{"cpus", "", "not a number"},
		{"cpus", "two", "not a number"},
		{"cpus", "NaN", "not a number"},
		{"cpus", "1e1000", "not a number"},
		{"cpus", "1p1000", "not a number"},
		{"cpus", "0.001", "from 0.01 up"},
		{"cpus", "-1", "from 0.01 up"},
		{"cpus", "1/3", "too many decimal places"},
		{"cpus", "99999999999999999999", "from 0.01 up"},
		{"pids-limit", "many", "not a number"},
		{"pids-limit", "08", "not a number"},
		{"pids-limit", "4194305", "more than the 4194304"},
		{"cpu-quota", "999", "not between"},
		{"cpu-quota", "-x", "not a number"},
		{"pids-limit", "", "not a number"},
		{"memory-swap", "64m", "memory and swap together"},
		{"memory-swap", "", "not a size"},
		{"memory-reservation", "1m", "less than the minimum"},
		{"cpu-period", "100", "not between 1000 and 1000000"},
		{"cpu-quota", "999", "not between 1000 and"},
		{"cpu-quota", "x", "not a number"},
		{"cpu-shares", "1", "not between 2 and 262144"},
		{"cpuset-cpus", "x", `"x" is neither a number nor a range`},
		{"cpuset-cpus", "3-1", `"3-1" is neither`},
		{"cpuset-mems", "0,", `"" is neither`},
		{"cpuset-mems", "99999999999", "is neither"},
		{"oom-score-adj", "2000", "not between -1000 and 1000"},
	} {
		refused(t, Flags{tt.flag: {tt.value}}, tt.want)
	}
	refused(t, Flags{"memory": {"64m"}, "memory-swap": {"32m"}}, "less than --memory")
	refused(t, Flags{"memory": {"64m"}, "memory-reservation": {"128m"}}, "more than --memory")
	refused(t, Flags{"cpus": {"1"}, "cpu-quota": {"5000"}}, "--cpu-quota and --cpu-period say the same")
}

func TestCgroupLimits(t *testing.T) {
	c, err := Parse(Flags{
		"memory": {"64m"}, "memory-swap": {"-1"}, "memory-reservation": {"32m"}, "cpu-quota": {"50000"}, "cpu-period": {"200000"},
		"cpu-shares": {"512"}, "cpuset-cpus": {"0-2,4"}, "cpuset-mems": {"0"}, "oom-score-adj": {"-5"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Limits{
		Memory: 64 << 20, MemorySwap: -1, MemoryReservation: 32 << 20,
		CPUQuota: 50000, CPUPeriod: 200000, CPUShares: 512, CpusetCPUs: "0-2,4", CpusetMems: "0",
	}
	if c.Limits != want || c.OOMScoreAdj != -5 {
		t.Errorf("got %+v, oom %d", c.Limits, c.OOMScoreAdj)
	}
}
