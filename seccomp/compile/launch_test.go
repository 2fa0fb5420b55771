package compile

import (
	"errors"
	"fmt"
	"testing"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

func TestCheckLaunch(t *testing.T) {
	const refused = "the profile denies execve (%s), so no command can be started"
	profile := func(fallback, name, action string) string {
		return fmt.Sprintf(`{"defaultAction": %q, "syscalls": [{"names": [%q], "action": %q}]}`, fallback, name, action)
	}
	for source, verdict := range map[string]string{
		`{"defaultAction": "SCMP_ACT_ALLOW"}`:                          "",
		`{"defaultAction": "SCMP_ACT_LOG"}`:                            "",
		`{"defaultAction": "SCMP_ACT_NOTIFY"}`:                         "",
		`{"defaultAction": "SCMP_ACT_ERRNO"}`:                          "ERRNO(EPERM)",
		profile("SCMP_ACT_ALLOW", "execve", "SCMP_ACT_ERRNO"):          "ERRNO(EPERM)",
		profile("SCMP_ACT_ALLOW", "execve", "SCMP_ACT_KILL_PROCESS"):   "KILL_PROCESS",
		profile("SCMP_ACT_ALLOW", "execve", "SCMP_ACT_TRAP"):           "TRAP",
		profile("SCMP_ACT_ALLOW", "execve", "SCMP_ACT_NOTIFY"):         "",
		profile("SCMP_ACT_ALLOW", "execve", "SCMP_ACT_LOG"):            "",
		profile("SCMP_ACT_ALLOW", "write", "SCMP_ACT_KILL_PROCESS"):    "",
		profile("SCMP_ACT_KILL_PROCESS", "execve", "SCMP_ACT_ALLOW"):   "", // it dies at its first call, as it should
		profile("SCMP_ACT_KILL_PROCESS", "execveat", "SCMP_ACT_ALLOW"): "KILL_PROCESS",
	} {
		err := launchOf(t, source)
		var launch *LaunchError
		switch {
		case verdict == "" && err != nil:
			t.Errorf("%s: %v", source, err)
		case verdict != "" && !errors.As(err, &launch):
			t.Errorf("%s: %v, want the verdict %s", source, err, verdict)
		case verdict != "" && (err.Error() != fmt.Sprintf(refused, verdict)):
			t.Errorf("%s: %v", source, err)
		}
	}
}

// Docker's default lets a start through, on every architecture and whatever the capabilities.
func TestCheckLaunchDefault(t *testing.T) {
	p := parsed(t)["default"]
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.S390X, syscalls.PPC64LE, syscalls.RISCV64} {
		for _, caps := range [][]string{nil, seccomptest.DockerDefaults(), capname.All()} {
			policy, err := p.Resolve(seccomp.Target{Capabilities: caps, Arch: arch, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
			if err != nil {
				t.Fatal(err)
			}
			program, err := compilePolicy(policy)
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
	program, err := compilePolicy(policyOf(t, source))
	if err != nil {
		t.Fatal(err)
	}
	return CheckLaunch(program)
}
