package startup

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// Go code runs on one processor at first, and on all of them later, unless the user has set a limit.
func TestProcessors(t *testing.T) {
	switch os.Getenv("MINIRUN_TEST_PROCESSORS") {
	case "alone":
		if n := runtime.GOMAXPROCS(0); n != 1 {
			t.Fatal(n)
		}
		AllProcessorsLater()
		for deadline := time.After(time.Minute); runtime.GOMAXPROCS(0) != runtime.NumCPU(); {
			select {
			case <-time.After(alone):
			case <-deadline:
				t.Fatal(runtime.GOMAXPROCS(0))
			}
		}
	case "set":
		if AllProcessorsLater(); limited || runtime.GOMAXPROCS(0) != 3 {
			t.Errorf("%v, %d", limited, runtime.GOMAXPROCS(0))
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
