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
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/testenv"
)

// underPodman are sessions with Podman; NAME is a name that is free.
var underPodman = []struct{ name, script string }{
	{"run", `run debian sh -c 'id; pwd; env | sort; exit 7'`},
	{"output and input", `echo in | run -i debian sh -c 'cat; echo out; echo err >&2'`},
	// Mounts and /dev/core are left out: these are as with runc, TestUnderDocker compares them.
	{"inside", `run --name NAME debian sh -c '` + strings.ReplaceAll(inside, "'", `'\''`) + `' | grep -v -e ^mount -e core -e ^total`},
	{"terminal", `mkfifo in; script -qec 'podman run --rm -it --network none debian sh -c "tty; test -t 0 && test -t 1 && echo terminal"' /dev/null <>in
bg -t --name NAME debian sh -c 'tty; sleep 1000'; until logs NAME | grep -q pts; do :; done; logs NAME; podman exec -t NAME tty; remove NAME`},
	{"user", `run -u 1000:44 --group-add 29 debian sh -c 'id; echo $HOME'; run -u nobody --umask 027 debian sh -c 'echo $HOME; umask'`},
	{"capabilities", `run --cap-add SYS_ADMIN --cap-drop CHOWN debian grep Cap /proc/self/status; run -u 5 --cap-add KILL debian grep Cap /proc/self/status`},
	{"privileged", `run --privileged --cap-drop SYS_RESOURCE debian sh -c 'grep -E "Seccomp:|Cap" /proc/self/status; ls /dev' | grep -v ^core`},
	{"default filter", `run debian sh -c 'grep Seccomp: /proc/self/status; unshare -U true; mount -t tmpfs x /mnt; chroot / true && echo chroot'`},
	{"own filter", `echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}' >p.json
run --security-opt seccomp=p.json debian mkdir /x; run --security-opt seccomp=unconfined debian grep Seccomp: /proc/self/status`},
	{"not found", `run debian /no/such; run debian nosuch; run debian /etc/passwd; run debian /etc`},
	{"working directory", `run -w /etc debian pwd; run -w /etc/passwd debian pwd`},
	{"read-only and tmpfs", `run --read-only --tmpfs /t:size=1m debian sh -c 'touch /x; touch /t/x && df -k /t | tail -n 1'`},
	{"mounts", `mkdir -p d; echo data >d/f; run -v $PWD/d:/m:ro -v $PWD/d/f:/f -v $PWD/d:/o:O debian sh -c 'cat /m/f /f; touch /m/x; touch /o/x && ls /o'; ls d`},
	{"mapped mounts", `mkdir -p d; touch d/f; run --uidmap 0:100000:5000 -v $PWD/d:/m:idmap debian sh -c 'stat -c %u:%g /m/f; touch /m/own'; stat -c %u:%g d/own`},
	{"root file system", `podman unshare true 2>&1 | grep -c x; c=$(podman create --network none debian true); r=$(podman mount $c); run --rootfs $r:O cat /etc/debian_version; podman umount $c >/dev/null; remove $c`},
	{"limits", `run -m 64m --cpus 0.5 --cpu-shares 512 --ulimit nofile=100:200 --ulimit nproc=1024:1024 --oom-score-adj 300 debian sh -c 'cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes cpu.max cpu.weight cpu/cpu.cfs_quota_us cpu/cpu.shares 2>/dev/null; ulimit -n; cat /proc/self/oom_score_adj'
run --pids-limit 99 debian sh -c 'cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null'`},
	{"kernel parameters", `run --sysctl kernel.shmmax=12345 --shm-size 1m debian sh -c 'cat /proc/sys/kernel/shmmax; df -k /dev/shm | tail -n 1'`},
	{"out of memory", `run --name NAME -m 32m --memory-swap 32m debian sh -c 'x=$(head -c 200m /dev/zero | tr "\\0" x)'`},
	{"devices", `run --device /dev/null:/dev/nothing:r debian sh -c 'ls -l /dev/nothing | cut -c 1-10; head -c 1 /dev/nothing; mknod /x c 1 5 && head -c 1 /x | wc -c'`},
	{"create, start, wait", `create --name NAME debian sh -c 'echo started; exit 9'; inspect '{{.State.Status}}' NAME; p start -a NAME; p wait NAME; p start NAME; p wait NAME; logs NAME; remove NAME`},
	{"exec", `bg --name NAME --env A=1 debian sleep 1000
x NAME sh -c 'echo $A; id; cat /proc/1/comm; grep -E "Seccomp:|Cap" /proc/self/status; exit 4'
x -u 7 -w /etc -e B=2 NAME sh -c 'id; pwd; echo $B'
x --privileged NAME grep Cap /proc/self/status
echo in | x -i NAME cat
x NAME nosuch; x NAME /etc/passwd; x -w /nosuch NAME pwd
podman exec -d NAME sh -c 'echo >/tmp/done' >/dev/null; until podman exec NAME test -e /tmp/done; do :; done
p top NAME comm; remove NAME; x NAME true`},
	{"files", `exec 3</etc/hostname; run --preserve-fds 1 debian sh -c 'ls -l /proc/self/fd | grep -c hostname'`},
	{"pause", `bg --name NAME debian sleep 1000; p pause NAME; inspect '{{.State.Status}}' NAME; x NAME true; p unpause NAME; x NAME echo again; remove NAME`},
	{"update", `bg --name NAME debian sleep 1000; p update -m 80m --memory-swap 90m --cpus 0.25 NAME
x NAME sh -c 'cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes cpu.max cpu/cpu.cfs_quota_us 2>/dev/null'; remove NAME`},
	{"stop and kill", `bg --name NAME debian sh -c 'trap "echo got; exit 5" TERM; echo ready; while :; do sleep 0.05; done'
until logs NAME | grep -q ready; do :; done; p stop NAME; p wait NAME; logs NAME; p start NAME; p kill NAME; p wait NAME; p kill NAME; remove NAME`},
	{"stop in the end", `bg --name NAME debian sh -c 'trap "" TERM; echo ready; while :; do sleep 0.05; done'
until logs NAME | grep -q ready; do :; done; p stop -t 0 NAME 2>/dev/null; p wait NAME; remove NAME`},
	{"restart", `bg --name NAME debian sh -c 'echo up; sleep 1000'; p restart -t 0 NAME; inspect '{{.State.Status}}' NAME; until test $(logs NAME | wc -l) = 2; do :; done; remove NAME`},
	{"restart policy", `bg --name NAME --restart on-failure:2 debian sh -c 'echo up; exit 1'; until test $(logs NAME | wc -l) = 3; do :; done; p wait NAME; inspect '{{.RestartCount}}' NAME; remove NAME`},
	{"attach", `bg -i --name NAME debian sh -c 'read x; echo got $x; exit 3'; echo word | p attach NAME; remove NAME`},
	{"copy", `bg --name NAME debian sleep 1000; echo in >f; p cp f NAME:/f; x NAME cat /f; p cp NAME:/etc/debian_version v; test -s v && echo copied; remove NAME`},
	{"stats", `bg --name NAME -m 64m debian sleep 1000; p stats --no-stream --format '{{.PIDs}} {{.MemUsage}}' NAME | sed 's/^\([0-9]*\) .* /\1 /'; remove NAME`},
	{"list", `bg --name NAME debian sleep 1000; podman ps --filter name=NAME --format '{{.Names}} {{.Command}}'; remove NAME; podman ps -a --filter name=NAME --format '{{.Names}}'`},
	{"other containers' namespaces", `bg --name NAME --ipc shareable debian sleep 1000; podman run --rm --pid container:NAME --ipc container:NAME --network container:NAME debian sh -c 'cat /proc/1/comm'; remove NAME`},
	{"host's namespaces", `podman run --rm --pid host --uts host --ipc host --network host --cgroupns host debian sh -c 'readlink /proc/self/ns/uts; test -d /proc/2/ && echo many'`},
	{"user namespace", `run --uidmap 0:100000:5000 --gidmap 0:200000:5000 debian sh -c 'cat /proc/self/uid_map /proc/self/gid_map; id; ls -ld /root'`},
	{"init", `run --init debian sh -c 'cat /proc/1/comm; exit 3'`},
	{"health", `bg --name NAME --health-cmd 'test -e /ok' --health-interval disable debian sh -c 'sleep 1000'
p healthcheck run NAME; x NAME touch /ok; p healthcheck run NAME; inspect '{{.State.Health.Status}}' NAME; remove NAME`},
	{"pod", `podman pod create --name NAME --network none --infra-name NAME-infra --hostname together >/dev/null
podman pod ps --filter name=NAME --format '{{.NumberOfContainers}} {{.Status}}'; p pod start NAME >/dev/null
podman run --rm --pod NAME debian sh -c 'uname -n; readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts' >own
pid=$(inspect '{{.State.Pid}}' NAME-infra); head -n 1 own; readlink /proc/$pid/ns/net /proc/$pid/ns/ipc /proc/$pid/ns/uts | diff - <(tail -n 3 own) && echo shared
podman run -d --name NAME-a --pod NAME debian sleep 1000 >/dev/null; p pod pause NAME >/dev/null; inspect '{{.State.Status}}' NAME-a; p pod unpause NAME >/dev/null
p pod stop -t 0 NAME >/dev/null; inspect '{{.State.Status}}' NAME-a; removepod NAME`},
	{"systemd", `run --systemd=always debian sh -c 'echo $container; awk "{ print \$5 }" /proc/self/mountinfo | sort -u; cat /proc/self/cgroup | sed "s/libpod-.*//"; for d in /sys/fs/cgroup /sys/fs/cgroup/systemd; do test -w $d && echo $d; done'`},
	{"cgroups", `run --cgroups no-conmon debian echo no-conmon; run --cgroupns private debian sh -c 'cut -d : -f 3 /proc/self/cgroup | sort -u'`},
	{"without cgroups", `podman run --rm --network none --cgroups disabled --cgroupns host debian cat /proc/self/cgroup | cmp - /proc/self/cgroup && echo same
podman run -d --network none --cgroups disabled --name NAME debian sleep 1000 >/dev/null; x NAME echo in; p stop -t 0 NAME; remove NAME`},
	{"hooks", `mkdir h; for s in prestart createRuntime createContainer poststart poststop; do printf '{"version":"1.0.0","hook":{"path":"/bin/sh","args":["sh","-c","cat >/dev/null; echo %s >>%s/%s.log"]},"when":{"always":true},"stages":["%s"]}' $s $PWD $s $s >h/$s.json; done
podman --hooks-dir $PWD/h run --rm --network none debian true; cat *.log`},
	{"time limit", `run --timeout 1 debian sleep 1000`},
	{"notification", `run --sdnotify conmon debian env | grep -c NOTIFY`},
	{"checkpoint", `bg --name NAME debian sleep 1000; podman container checkpoint NAME 2>/dev/null || echo refused; remove NAME`},
	{"no process left", `podman run --rm --network none --pid host debian bash -c 'exec -a left-NAME sleep 1234 & echo gone'; pgrep -f ^left-NAME`},
}

// underPodmanAsUser are sessions of an ordinary user's, who may make no cgroup.
var underPodmanAsUser = []struct{ name, script, want string }{
	{"run", `run debian sh -c 'id; cat /proc/self/uid_map; grep -E "Seccomp:|Cap" /proc/self/status; cut -d : -f 3 /proc/self/cgroup; unshare -U true; exit 3'; run debian nosuch`, "Seccomp:\t2\n"},
	{"exec", `bg --name NAME debian sleep 1000; x NAME id; podman exec -t NAME tty; p stop -t 0 NAME; remove NAME`, "/dev/pts/0"},
	{"own user", `run --userns keep-id debian sh -c 'id; touch /x'`, "(minirun-podman)"},
	{"without cgroups", `run --cgroups disabled debian echo in`, "in\n[0]\n"},
}

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
const podmanPlace = `mount -t tmpfs podman "$DIR"; chown "$OWNER" "$DIR"
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
	user                      *ordinary // or nil: root
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
	cmd.Env = append(os.Environ(), "DIR="+e.dir, "ETC="+e.etc, "OWNER="+owner)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left := e.bash("crun", podmanLeftovers)
		if out, err := left.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("left: %s %v", out, err)
		}
		in.Close()
		_ = cmd.Wait()
	})
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("%s: %v", cmd, cmd.Wait())
	}
	e.holder = cmd.Process.Pid
	image := exec.Command(testBed.minirun, "--root", testBed.root, "debian", "tar", "-C", "/", "-c", "--one-file-system", ".")
	load := e.bash("crun", "podman import -q - debian >/dev/null")
	if load.Stdin, err = image.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := image.Start(); err != nil {
		t.Fatal(err)
	}
	outputOf(t, load)
	if err := image.Wait(); err != nil {
		t.Fatal(err)
	}
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
		env = append(env, "USER="+e.user.name, "HOME="+e.user.home, "XDG_RUNTIME_DIR="+e.dir)
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
	for _, session := range underPodman {
		t.Run(session.name, func(t *testing.T) {
			t.Parallel()
			e.compare(t, session.script)
		})
	}
	t.Run("annotations", func(t *testing.T) {
		t.Parallel()
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
