package arm

import (
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// carryOut starts this test's binary as an init with a plan, which fails, and returns how.
func carryOut(t *testing.T, plan []byte) *Error {
	t.Helper()
	page, err := New(0, nil, []string{"true"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	file, err := os.CreateTemp(t.TempDir(), "plan")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(plan); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "init")
	cmd.ExtraFiles = page.Files(file)
	cmd.Env = []string{PlanVariable(2 + len(cmd.ExtraFiles))}
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 255 || len(out) > 0 {
		t.Errorf("status %d, %q", cmd.ProcessState.ExitCode(), out)
	}
	failed, ok := page.Failure().(*Error) //nolint:errorlint // it is not wrapped
	if !ok || failed.Step != StepPlan {
		t.Fatalf("%v, want a failure of the plan", page.Failure())
	}
	return failed
}

func encoded(t *testing.T, steps ...PlanStep) []byte {
	t.Helper()
	data, err := encode(steps)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A plan that is not whole is refused before its first step.
func TestPlanDamaged(t *testing.T) {
	good := encoded(t, PlanStep{Kind: Umask, Mode: 0o22}, PlanStep{Kind: User, Groups: []uint32{1, 2, 3}}, PlanStep{Kind: Mask, Options: []string{"a", "b"}})
	const head, step = 24, 64 // plan.h
	number := func(at int, n uint32) []byte {
		data := slices.Clone(good)
		binary.NativeEndian.PutUint32(data[at:], n)
		return data
	}
	for name, plan := range map[string][]byte{
		"empty":          {0},
		"short":          good[:head-1],
		"truncated":      good[:len(good)-1],
		"longer":         append(slices.Clone(good), 0),
		"magic":          number(0, 1),
		"version":        number(8, 99),
		"steps":          number(12, 1<<30),
		"size":           number(16, 1),
		"path":           number(head+8, uint32(len(good))),
		"source":         number(head+12, 1<<31),
		"type":           number(head+16, uint32(len(good))),
		"list":           number(head+20, uint32(len(good))),
		"list too long":  number(head+step+24, 1<<30),
		"list at odds":   number(head+step+20, head+1),
		"texts too many": number(head+2*step+24, 4), // two, and the one that ends the file
		"no end of text": append(slices.Clone(good[:len(good)-1]), 'a'),
	} {
		t.Run(name, func(t *testing.T) {
			if e := carryOut(t, plan); e.At != -1 || e.Errno != unix.EBADMSG {
				t.Errorf("step %d: %v", e.At, e.Errno)
			}
		})
	}
}

// A step of no kind, and a plan that does not end with the command, fail.
func TestPlanUnknownKind(t *testing.T) {
	for name, tt := range map[string]struct {
		steps []PlanStep
		at    int
	}{
		"unknown":    {[]PlanStep{{Kind: Umask}, {Kind: Command + 1}}, 1},
		"none":       {[]PlanStep{{}}, 0},
		"no command": {[]PlanStep{{Kind: Umask}, {Kind: Umask}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if e := carryOut(t, encoded(t, tt.steps...)); e.At != tt.at || e.Errno != unix.EBADMSG {
				t.Errorf("step %d: %v", e.At, e.Errno)
			}
		})
	}
}

// Each failure says which step it was of.
func TestPlanStepFails(t *testing.T) {
	e := carryOut(t, encoded(t, PlanStep{Kind: Umask, Mode: 0o22}, PlanStep{Kind: Namespaces, Value: [4]uint64{unix.CLONE_PARENT}}))
	if e.At != 1 || e.Errno != unix.EINVAL {
		t.Errorf("step %d: %v", e.At, e.Errno)
	}
	e = carryOut(t, encoded(t, PlanStep{Kind: Command, Path: "/no/such:/"}))
	if e.At != 0 || e.Reason != NotInPath {
		t.Errorf("step %d: %v, reason %d", e.At, e.Errno, e.Reason)
	}
}

func TestPlanNUL(t *testing.T) {
	if _, err := WritePlan([]PlanStep{{Kind: Mount, Options: []string{"a", "b\x00c"}}}); err == nil || err.Error() != `"b\x00c" has a NUL byte` {
		t.Errorf("%v", err)
	}
}

// Every kind and flag has a name.
func TestPlanNames(t *testing.T) {
	for k := Keyring; k <= Command; k++ {
		if strings.HasPrefix(k.String(), "kind") {
			t.Errorf("%v has no name", k)
		}
	}
	if got := (Recursive | Later).String(); got != "recursive,later" {
		t.Errorf("flags %s", got)
	}
}
