// Package integration runs the built program on a real kernel, as root, with a
// real Debian. `make test-integration` prepares what it needs:
//
//	MINIRUN_TEST_BINARY  the program, linked as it ships; built when unset
//	MINIRUN_TEST_ARCHIVE an oci-archive that holds the image debian, for a
//	                     machine without a package mirror; bootstrapped when unset
//	MINIRUN_TEST_PROGRAMS a directory with the C programs of testdata, and agents, for a
//	                     machine without compilers; built when unset
//	MINIRUN_REQUIRE      "cgroup v2" or "cgroup v1": a test that this machine, which
//	                     has that and all else, cannot run fails
package integration

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher/arm"
)

// childVariable names what the test binary does instead of testing: steps that cannot
// be undone, or done twice, in the tests' own process.
const childVariable = "MINIRUN_INTEGRATION_CHILD"

var children = map[string]func() error{"agent": agentChild, "blind": blindChild, "confined": confinedChild, "filtered": filteredChild, "intricate": intricateChild, "launch": launchChild, "lifecycle": lifecycleChild}

func child(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	return cmd
}

// testBed is shared by all tests.
var testBed struct {
	minirun  string   // the program
	root     string   // MINIRUN_ROOT: the store with the image debian
	profiles string   // the directory profiles/ of the tree
	network  *os.File // this machine's; the tests have one of their own
}

func TestMain(m *testing.M) {
	arm.Init() // of a container that a test launched in this process
	if name := os.Getenv(childVariable); name != "" {
		if err := children[name](); err != nil {
			fmt.Fprintln(os.Stderr, "integration:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(userVariable) != "" {
		testBed.minirun, testBed.root, testBed.profiles = "minirun", os.Getenv("MINIRUN_ROOT"), os.Getenv("PROFILES")
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 && !testenv.CI() {
		fmt.Fprintln(os.Stderr, "integration: SKIPPED: these tests launch containers, which needs root")
		os.Exit(0)
	}
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		os.Exit(1)
	}
	others := leftovers() // of a suite that was killed, say: this machine may have other users
	flag.Parse()          // endStuck needs the time limit, and m.Run parses beside it
	go endStuck()
	status := m.Run()
	if left := slices.DeleteFunc(leftovers(), func(l string) bool { return slices.Contains(others, l) }); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "integration: FAIL: left behind:\n\t"+strings.Join(left, "\n\t"))
		status = 1
	}
	os.Exit(status)
}

func setUp() error {
	if os.Geteuid() != 0 {
		return errors.New("these tests launch containers: run them as root")
	}
	tree, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	testBed.profiles = filepath.Join(tree, "profiles")
	if testBed.minirun, err = program(tree); err != nil {
		return err
	}
	testBed.root = os.Getenv("MINIRUN_ROOT")
	if testBed.root == "" {
		testBed.root = filepath.Join(tree, "build", "integration")
	}
	// Scripts and the guide's commands find it in PATH.
	os.Setenv("PATH", filepath.Dir(testBed.minirun)+":"+os.Getenv("PATH"))
	os.Setenv("MINIRUN_ROOT", testBed.root)
	if err := prepareImage(); err != nil { // which may need this machine's network
		return err
	}
	return ownNetwork()
}

func program(tree string) (string, error) {
	if path := os.Getenv("MINIRUN_TEST_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	build := exec.Command("make", "-s", "-C", tree, "build")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	return filepath.Join(tree, "minirun"), build.Run()
}

// prepareImage puts the image debian into the store, unless it is there.
func prepareImage() error {
	images, err := exec.Command("minirun", "images", "--format", "json").Output()
	if err != nil {
		return fmt.Errorf("minirun images: %w", err)
	}
	if strings.Contains(string(images), "library/debian:latest") {
		return nil
	}
	args := []string{"bootstrap", "debian"}
	if archive := os.Getenv("MINIRUN_TEST_ARCHIVE"); archive != "" {
		args = []string{"pull", "oci-archive:" + archive}
	}
	cmd := exec.Command("minirun", args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// leftovers returns what is left of containers: directories, cgroups and mounts.
func leftovers() []string {
	var left []string
	entries, _ := os.ReadDir(filepath.Join(testBed.root, "containers"))
	for _, e := range entries {
		left = append(left, "directory "+e.Name())
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), "minirun-") {
			left = append(left, "cgroup "+path)
		}
		return nil // a cgroup that was removed meanwhile
	})
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		left = append(left, err.Error())
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, testBed.root) {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	return left
}

// TestScript runs testdata/script/*.txtar with the image debian in the store.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": testenv.Exits, "agent": agentCommand},
		Setup: func(env *testscript.Env) error {
			env.Setenv("MINIRUN_ROOT", testBed.root)
			env.Setenv("MINIRUN_RUN_ROOT", filepath.Join(env.WorkDir, "run"))
			env.Setenv("PROFILES", testBed.profiles)
			env.Setenv("MINIRUN_NETWORK", os.Getenv("MINIRUN_NETWORK"))
			forAgents(env)
			return nil
		},
		// [root] is for what only root has, with the reason beside it.
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Geteuid() == 0, nil
		},
	})
}
