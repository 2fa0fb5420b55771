package seccomp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/seccomp/syscalls"
)

func TestCheckLaunch(t *testing.T) {
	denying := func(action, name string) string {
		return fmt.Sprintf(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [%q], "action": %q}]}`, name, action)
	}
	for source, want := range map[string][]string{
		`{"defaultAction": "SCMP_ACT_ALLOW"}`:      nil,
		`{"defaultAction": "SCMP_ACT_LOG"}`:        nil,
		denying("SCMP_ACT_ERRNO", "execve"):        {"execve (ERRNO(EPERM))"},
		denying("SCMP_ACT_KILL_PROCESS", "execve"): {"execve (KILL_PROCESS)"},
		denying("SCMP_ACT_TRAP", "futex"):          {"futex (TRAP)"},
		denying("SCMP_ACT_NOTIFY", "write"):        {"write (NOTIFY)"},
		denying("SCMP_ACT_LOG", "execve"):          nil,
		denying("SCMP_ACT_ERRNO", "mount"):         nil, // a start does it before the filter is there
		denying("SCMP_ACT_ERRNO", "openat2"):       {"openat2 (ERRNO(EPERM))"},
		denying("SCMP_ACT_ERRNO", "sched_yield"):   nil,
		denying("SCMP_ACT_TRAP", "sched_yield"):    {"sched_yield (TRAP)"},
		`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}`: nil,
	} {
		err := launchOf(t, source)
		var launch *LaunchError
		if errors.As(err, &launch) != (want != nil) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", source, err, want)
			continue
		}
		if launch == nil {
			continue
		}
		if diff := cmp.Diff(want, launch.Denied); diff != "" || !strings.HasSuffix(err.Error(), ": "+strings.Join(want, ", ")) || launch.Hint() == "" {
			t.Errorf("%s: %v, hint %q\n%s", source, err, launch.Hint(), diff)
		}
	}
}

// A profile that allows nothing is told of the whole launch set.
func TestCheckLaunchAll(t *testing.T) {
	err := launchOf(t, `{"defaultAction": "SCMP_ACT_KILL_PROCESS"}`)
	var launch *LaunchError
	if !errors.As(err, &launch) {
		t.Fatalf("%v", err)
	}
	var names []string
	for _, d := range launch.Denied {
		name, _, _ := strings.Cut(d, " ")
		names = append(names, name)
	}
	if !slices.Equal(names, launchSet[:]) {
		t.Errorf("%v, want %v", names, launchSet)
	}
}

// Docker's default lets a start through, on every architecture and whatever the capabilities.
func TestCheckLaunchDefault(t *testing.T) {
	p := parsed(t)["default"]
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.S390X, syscalls.PPC64LE, syscalls.RISCV64} {
		for _, caps := range [][]string{nil, dockerDefaults(), capabilities()} {
			policy, err := p.Resolve(Target{caps, arch, Kernel{6, 18}})
			if err != nil {
				t.Fatal(err)
			}
			program, err := policy.Compile()
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckLaunch(program); err != nil {
				t.Errorf("%s with %v: %v", arch, caps, err)
			}
		}
	}
}

func launchOf(t *testing.T, source string) error {
	t.Helper()
	program, err := policyOf(t, source).Compile()
	if err != nil {
		t.Fatal(err)
	}
	return CheckLaunch(program)
}
