// Package vm tests the host's side of the guests, with a QEMU that boots nothing.
package vm

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stub stands for QEMU: it does GUEST with $console and $status being the files
// that the options name.
const stub = `#!/bin/sh
file() { printf '%s\n' "$@" | sed -n "s/^file,id=$id,path=//p"; }
id=console; console=$(file "$@")
id=status; status=$(file "$@")
eval "$GUEST"
`

// The status and the last line say where the fault is: in the tests, in the guest, on the
// host, or in the time limit.
func TestBootEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		guest   string
		seconds string
		status  int
		last    string
	}{
		"pass":             {`echo tested; echo 0 >"$status"`, "60", 0, "vm: PASS after "},
		"failing test":     {`echo tested; echo 1 >"$status"`, "60", 1, "vm: FAIL: status 1 after "},
		"time-out":         {`exec sleep 1000`, "1", 124, "vm: TIMEOUT: not done after 1 s"},
		"no payload there": {`echo setup >"$status"`, "60", 125, "vm: SETUP: the guest has no payload"},
		"no start of QEMU": {`exit 1`, "60", 125, "vm: SETUP: QEMU does not start"},
		"panic":            {`echo '[ 1.2] Kernel panic - not syncing: no init' >"$console"`, "60", 126, "vm: PANIC: Kernel panic - not syncing: no init"},
		"power off":        {`:`, "60", 126, "vm: DIED: "},
		"QEMU is killed":   {`kill -KILL $$`, "60", 126, "vm: DIED: "},
	} {
		t.Run(name, func(t *testing.T) {
			out, status := boot(t, tt.guest, t.TempDir(), tt.seconds)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if last := lines[len(lines)-1]; status != tt.status || !strings.HasPrefix(last, tt.last) {
				t.Errorf("status %d, want %d; last line %q, want %q", status, tt.status, last, tt.last)
			}
		})
	}
}

func TestBootWithoutPayload(t *testing.T) {
	out, status := boot(t, ":", filepath.Join(t.TempDir(), "none"), "60")
	if want := "vm: SETUP: no payload\n"; status != 125 || !strings.HasSuffix(out, want) {
		t.Errorf("status %d, %q at the end of %q", status, want, out)
	}
}

func boot(t *testing.T, guest, payload, seconds string) (string, int) {
	t.Helper()
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "qemu-system-x86_64"), []byte(stub), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("./boot.sh", t.TempDir(), payload, seconds)
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"), "GUEST="+guest, "MINIRUN_VM_ACCEL=tcg")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
