package launcher

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestEnvironment(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"defaults", Options{}, defaultPath + "|HOSTNAME=h|HOME=/root"},
		{"terminal", Options{Terminal: true}, defaultPath + "|HOSTNAME=h|TERM=xterm|HOME=/root"},
		{"own values win, the last of them", Options{Env: []string{"PATH=/bin", "A=1", "A=2", "HOME=/h"}}, "PATH=/bin|HOSTNAME=h|A=2|HOME=/h"},
	} {
		if got := strings.Join(environment(&tt.o, "h", "/root"), "|"); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

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
	for _, text := range []string{"nofile", "nosuch=1", "nofile=200:100", "nofile=x", "nofile=63:100"} {
		if _, err := rlimits([]string{text}); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestResources(t *testing.T) {
	r, err := resources(&Options{Memory: "64m", CPUs: "0.5", Pids: 9})
	if err != nil {
		t.Fatal(err)
	}
	if *r.Memory.Limit != 64<<20 || *r.CPU.Quota != 50_000 || *r.CPU.Period != 100_000 || *r.Pids.Limit != 9 {
		t.Errorf("got %+v %+v %+v", r.Memory, r.CPU, r.Pids)
	}
	if swap := r.Memory.Swap; (swap != nil) != swapCounts() || swap != nil && *swap != 128<<20 {
		t.Errorf("swap %v where counting it is %v", swap, swapCounts())
	}
	for _, o := range []Options{{Memory: "5m"}, {Memory: "much"}, {CPUs: "0.001"}, {CPUs: "100000"}, {CPUs: "-1"}, {CPUs: "NaN"}, {CPUs: "two"}} {
		if _, err := resources(&o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	if r, err := resources(&Options{Memory: "0", CPUs: "0", Pids: 0}); err != nil || r.Memory != nil || r.CPU != nil || r.Pids != nil {
		t.Errorf("0 is no limit: got %+v, %v", r, err)
	}
}
