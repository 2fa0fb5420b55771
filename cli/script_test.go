package cli

import (
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher/arm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMain lets the test binary be minirun, both for the scripts and as the
// init of containers that they start.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"minirun": func() {
			arm.Init()
			os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScript runs testdata/script/*.txtar. Beside testscript's own commands
// there is
//
//	exits STATUS COMMAND [ARG...]
//
// which fails unless COMMAND ends with that status. Each script has its own store:
// $XDG_DATA_HOME for a user, and $ROOT to be given as --root for root. $BELL is a flag that
// would rename the terminal if it were printed unescaped.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": testenv.Exits},
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			env.Setenv("BELL", "--\x1b]0;owned\a")
			env.Setenv("ROOT", env.WorkDir+"/store")
			env.Setenv("XDG_DATA_HOME", env.WorkDir+"/data")
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir+"/run")
			return nil
		},
	})
}

// condition is the condition root of `[!root] skip`: scripts that need root are skipped for
// other users, except in CI.
func condition(name string) (bool, error) {
	if name != "root" {
		return false, errors.New("unknown condition " + name)
	}
	root := os.Geteuid() == 0
	if !root && testenv.CI() {
		return false, errors.New("needs root, which CI should have")
	}
	return root, nil
}
