package startup

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// What Go code could use when this package had been initialised.
var limited, atFirst = startAlone(), runtime.GOMAXPROCS(0)

// Go code runs on one processor at first, and on all of them later, unless the user has set a limit.
func TestProcessors(t *testing.T) {
	switch os.Getenv("MINIRUN_TEST_PROCESSORS") {
	case "alone":
		if !limited || atFirst != 1 {
			t.Fatalf("%v, %d", limited, atFirst)
		}
		for deadline := time.After(time.Minute); runtime.GOMAXPROCS(0) != runtime.NumCPU(); {
			select {
			case <-time.After(alone):
			case <-deadline:
				t.Fatal(runtime.GOMAXPROCS(0))
			}
		}
	case "set":
		if limited || atFirst != 3 {
			t.Errorf("%v, %d", limited, atFirst)
		}
	default:
		for _, env := range [][]string{{"MINIRUN_TEST_PROCESSORS=alone", "GOMAXPROCS="}, {"MINIRUN_TEST_PROCESSORS=set", "GOMAXPROCS=3"}} {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestProcessors$")
			cmd.Env = append(os.Environ(), env...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%q: %v: %s", env, err, out)
			}
		}
	}
}
