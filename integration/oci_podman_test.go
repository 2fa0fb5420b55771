package integration

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/testenv"
)

// podmanSession makes Podman's verbs those of the shell; each reports its status.
const podmanSession = `set +e; cd "$(mktemp -d "$DIR/session.XXX")"
podman() { command podman --root "$DIR/root" --runroot "$DIR/runroot" --tmpdir "$DIR/tmp" --storage-driver "$DRIVER" --log-level error \
	--cgroup-manager "$MANAGER" --events-backend none --runtime "$RUNTIME" "$@"; }
export -f podman; export SHELL=/bin/bash
p() { podman "$@"; echo "[$?]"; }
run() { p run --rm --network none "$@"; }
bg() { podman run -d --network none "$@" >/dev/null; echo "[$?]"; }
create() { podman create --network none "$@" >/dev/null; echo "[$?]"; }
x() { p exec "$@"; }
remove() { podman rm -f -t 0 "$@" >/dev/null; }
removepod() { podman pod rm -f -t 0 "$@" >/dev/null; }
inspect() { podman inspect -f "$@"; }
logs() { podman logs "$@"; }
`

// podmanPlace is a mount namespace for Podman with all that is its own: images, runtimes'
// state, configuration. Where the cgroups are both of v1 and of v2, which crun does not
// support, only those of v1 are there.
const podmanPlace = `test "$ON_DISK" || mount -t tmpfs podman "$DIR"; chown "$OWNER" "$DIR"
test -d /run/systemd/system || mount -t tmpfs run /run
if test -d /sys/fs/cgroup/unified; then
	mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
	for c in $(cut -d : -f 2 /proc/self/cgroup); do mkdir "/sys/fs/cgroup/${c#name=}"; mount -t cgroup -o "$c" cgroup "/sys/fs/cgroup/${c#name=}"; done
fi
mount -t overlay -o lowerdir="$ETC:/etc" etc /etc
echo ready; read -r end`

// podmanLeftovers prints what is left of containers, and removes the cgroups that Podman keeps.
const podmanLeftovers = `test $(id -u) = 0 || podman system migrate
ls /run/minirun-oci/containers /run/minirun-oci/libcontainer 2>/dev/null | grep -v -e : -e ^$
find /sys/fs/cgroup -type d -name 'libpod-*' -not -path '*/libpod-conmon-*'
find /sys/fs/cgroup -depth -type d -path '*libpod_parent*' -exec rmdir {} + 2>/dev/null
true`

// podman is Podman with a store of its own.
type podman struct {
	dir, etc, manager, driver string
	onDisk                    string    // "yes", or "" if dir is a tmpfs
	user                      *ordinary // or nil: root
	runtimeDir                string    // the user's XDG_RUNTIME_DIR
	holder                    int       // a process in its mount namespace
}

// startPodman starts one that has crun, and minirun-runtime. A nil user is root.
func startPodman(t *testing.T, manager string, user *ordinary) *podman {
	t.Helper()
	testenv.Program(t, "podman")
	testenv.Program(t, "crun")
	testenv.Program(t, "catatonit")
	e := &podman{dir: t.TempDir(), etc: settings(t), manager: manager, driver: "overlay", user: user}
	runtime, program, owner := filepath.Join(e.dir, "../minirun-runtime"), testBed.minirun, "0"
	if user != nil {
		e.dir, e.driver, owner = filepath.Join(user.home, "podman"), "vfs", user.name
		e.runtimeDir = e.dir
		if manager == "systemd" { // and Linux is new enough for a user's overlay, but not on a tmpfs (6.6)
			e.driver, e.onDisk, e.runtimeDir = "overlay", "yes", user.runtimeDir()
		}
		runtime, program = filepath.Join(user.home, "bin/minirun-runtime"), user.minirun
		if err := os.Mkdir(e.dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program, runtime); err != nil {
		t.Fatal(err)
	}
	e.configure(t, runtime)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "bash", "-ec", podmanPlace)
	cmd.Env = append(os.Environ(), "DIR="+e.dir, "ETC="+e.etc, "OWNER="+owner, "ON_DISK="+e.onDisk)
	in, out := testenv.Start(t, cmd)
	limited := spare(cmd.Process)
	t.Cleanup(func() {
		left := e.bash("crun", podmanLeftovers)
		if out, err := left.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("left: %s %v", out, err)
		}
		limited()
		in.Close()
		_ = cmd.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("%s: %v", cmd, cmd.Wait())
	}
	e.holder = cmd.Process.Pid
	image := exec.Command(testBed.minirun, "--root", testBed.root, "debian", "tar", "-C", "/", "-c", "--one-file-system", ".")
	pipe(t, image, e.bash("crun", "podman import -q - debian >/dev/null"))
	return e
}

// configure writes containers.conf. Without CAP_SYS_RESOURCE Podman's own limits cannot be set.
func (e *podman) configure(t *testing.T, runtime string) {
	t.Helper()
	conf := "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\npids_limit = 0\n" +
		"[engine]\nruntime_supports_json = [\"crun\", \"minirun-runtime\"]\nruntime_supports_nocgroup = [\"crun\", \"minirun-runtime\"]\n" +
		"[engine.runtimes]\nminirun-runtime = [\"" + runtime + "\"]\n"
	if err := os.Mkdir(filepath.Join(e.etc, "containers"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.etc, "containers/containers.conf"), []byte(conf), 0o644); err != nil { //nolint:gosec // users read it, too
		t.Fatal(err)
	}
}

// bash is a script with the session's verbs.
func (e *podman) bash(runtime, script string) *exec.Cmd {
	args := []string{"--mount=/proc/" + strconv.Itoa(e.holder) + "/ns/mnt"}
	env := append(os.Environ(), "DIR="+e.dir, "MANAGER="+e.manager, "DRIVER="+e.driver, "RUNTIME="+runtime)
	if e.user != nil {
		args = append(args, "setpriv", "--reuid", e.user.name, "--regid", e.user.name, "--init-groups")
		env = append(env, "USER="+e.user.name, "HOME="+e.user.home, "XDG_RUNTIME_DIR="+e.runtimeDir)
	}
	cmd := exec.Command("nsenter", append(args, "bash", "-c", podmanSession+script)...)
	cmd.Env = env
	return cmd
}

// TestUnderPodman compares containers that Podman runs with minirun with those that it
// runs with crun.
func TestUnderPodman(t *testing.T) {
	manager := "cgroupfs"
	if systemd.present(t) {
		manager = "systemd"
	}
	e := startPodman(t, manager, nil)
	t.Run("cgroups", func(t *testing.T) { e.compareAll(t, podmanCgroups) })
	t.Run("containers", func(t *testing.T) { e.compareAll(t, underPodman) })
	t.Run("annotations", func(t *testing.T) {
		needTracing(t)
		out := e.session(t, "minirun-runtime", annotatedByPodman)
		reports, _ := os.ReadFile(filepath.Join(e.etc, "../reports/mkdir.json"))
		records, _ := os.ReadFile(filepath.Join(e.etc, "../records/all/mkdir.json"))
		if out != "[1]\n[0]\n[0]\nmkdir: cannot create directory '/x': No space left on device\n" ||
			!strings.Contains(string(reports), `"call":"mkdir"`) || !strings.Contains(string(records), `"mkdir"`) {
			t.Errorf("%s: %s %s", out, reports, records)
		}
	})
}

// compareAll compares each of some sessions, several at a time.
func (e *podman) compareAll(t *testing.T, sessions []podmanScript) {
	for _, session := range sessions {
		t.Run(session.name, func(t *testing.T) {
			t.Parallel()
			e.compare(t, session.script)
		})
	}
}

// TestUnderPodmanAsUser is TestUnderPodman for a user's containers.
func TestUnderPodmanAsUser(t *testing.T) {
	e := startPodman(t, "cgroupfs", ordinaryUser(t, "minirun-podman", true))
	for _, session := range underPodmanAsUser {
		t.Run(session.name, func(t *testing.T) {
			if out := e.compare(t, session.script); !strings.Contains(out, session.want) {
				t.Errorf("no %q in %s", session.want, out)
			}
		})
	}
}

// TestUnderPodmanDelegated is TestUnderPodman for a user who has a systemd, which makes cgroups with limits.
func TestUnderPodmanDelegated(t *testing.T) {
	testenv.Program(t, "podman")
	requires(t, cgroup2, systemd)
	user := ordinaryUser(t, "minirun-podman", true)
	unit := fmt.Sprintf("user@%d.service", user.uid)
	run(t, exec.Command("systemctl", "start", unit)) // as logging in does
	t.Cleanup(func() { run(t, exec.Command("systemctl", "stop", unit)) })
	e := startPodman(t, "systemd", user)
	e.compareAll(t, slices.DeleteFunc(slices.Clone(podmanCgroups), func(s podmanScript) bool { return !slices.Contains(podmanDelegated, s.name) }))
}

// compare returns what a session with minirun prints, and has it be what it prints with crun.
func (e *podman) compare(t *testing.T, script string) (ours string) {
	t.Helper()
	theirs, ours := e.session(t, "crun", script), e.session(t, "minirun-runtime", script)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("crun -, minirun +:\n%s", diff)
	}
	return ours
}

// annotatedByPodman has a call denied and reported, passed and recorded, and allowed by another profile.
const annotatedByPodman = `echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}' >p.json
run --security-opt seccomp=p.json --annotation org.minirun.explain=mkdir.json debian mkdir /x
run --security-opt seccomp=p.json --annotation org.minirun.record=all --annotation org.minirun.complain=true --annotation org.minirun.explain=mkdir.json debian mkdir /x
run --security-opt seccomp=p.json --annotation org.minirun.seccomp-profile=default debian mkdir /x
`

// session returns what a session prints, without what differs from container to container.
// The texts of errors that only people read are the runtime's own.
func (e *podman) session(t *testing.T, runtime, script string) string {
	t.Helper()
	name := fmt.Sprintf("session-%s-%x", runtime, rand.Uint64())
	cmd := e.bash(runtime, strings.ReplaceAll(script, "NAME", name))
	var stdout, stderr bytes.Buffer // apart, since their order is by chance
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // each verb's status is in the output
	text := strings.ReplaceAll(stdout.String()+stderr.String(), name, "NAME")
	text = podmanError.ReplaceAllString(text, "ERROR")
	return regexp.MustCompile(`\b(?:[0-9a-f]{12}|[0-9a-f]{64})\b`).ReplaceAllString(text, "ID")
}

// podmanError is a message about an error of the runtime, whose text is its own.
var podmanError = regexp.MustCompile(`Error: .*\bOCI .*`)
