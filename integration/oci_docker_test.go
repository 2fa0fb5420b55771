package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/testenv"
)

// underDocker are sessions with Docker. create, run and start are docker's, with the
// runtime that is tested; NAME is a name that is free.
var underDocker = []struct{ name, script string }{
	{"run", `run --rm debian sh -c 'id; pwd; env | sort; exit 7'`},
	{"output and input", `echo in | run --rm -i debian sh -c 'cat; echo out; echo err >&2'`},
	{"inside", `run --rm --cgroupns private debian sh -c '` + strings.ReplaceAll(inside, "'", `'\''`) + `'`},
	{"terminal", `run --rm -t debian sh -c 'tty; stty size; test -t 0 && test -t 1 && echo terminal'`},
	{"user", `run --rm -u 1000:44 --group-add 29 debian sh -c 'id; echo $HOME'; run --rm -u nobody debian sh -c 'echo $HOME'`},
	{"capabilities", `run --rm --cap-add SYS_ADMIN --cap-drop CHOWN debian grep Cap /proc/self/status
run --rm --privileged --cap-drop SYS_RESOURCE debian true; run --rm --cap-add ALL --cap-drop SYS_RESOURCE debian grep Cap /proc/self/status`},
	{"default filter", `run --rm debian sh -c 'grep Seccomp /proc/self/status; unshare -U true; mount -t tmpfs x /mnt; chroot / true && echo chroot'`},
	{"own filter", `echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}' >p.json
run --rm --security-opt seccomp=p.json debian mkdir /x`},
	{"recorded filter", `minirun --network none --record p.json --record-for docker debian sh -c 'id; ls / | sort' >/dev/null 2>&1
for more in label=disable no-new-privileges; do run --rm --security-opt $more --security-opt seccomp=p.json debian sh -c 'id; ls / | sort'; done`},
	{"not found", `run --rm debian /no/such; run --rm debian nosuch; run --rm debian /etc/passwd; run --rm debian /etc`},
	{"working directory", `run --rm -w /new/dir debian pwd; run --rm -w /etc/passwd debian pwd`},
	{"read-only and tmpfs", `run --rm --read-only --tmpfs /t:size=1m debian sh -c 'touch /x; touch /t/x && df -k /t | tail -n 1'`},
	{"mounts", `mkdir -p d; echo data >d/f; run --rm -v $PWD/d:/m:ro -v $PWD/d/f:/f debian sh -c 'cat /m/f /f; touch /m/x'`},
	{"shared mount", `mkdir -p s; mount --bind s s; mount --make-shared s; run --rm --cap-add SYS_ADMIN --security-opt apparmor=unconfined -v $PWD/s:/s:shared debian sh -c 'mkdir /s/t; mount -t tmpfs t /s/t; touch /s/t/seen'; ls s/t; umount s/t; umount s`},
	{"limits", `run --rm -m 64m --pids-limit 99 --cpus 0.5 --ulimit nofile=100:200 debian sh -c 'cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes pids.max pids/pids.max cpu/cpu.cfs_quota_us 2>/dev/null; ulimit -n'`},
	// Not OOMKilled: containerd may hear of it after the end, and forgets it then, with each runtime.
	{"out of memory", `run --name NAME -m 32m --memory-swap 32m debian sh -c 'x=$(head -c 200m /dev/zero | tr "\\0" x)'; inspect -f '{{.State.ExitCode}}' NAME; rm NAME`},
	{"devices", `run --rm --device /dev/null:/dev/nothing:r debian sh -c 'ls -l /dev/nothing | cut -c 1-10; head -c 1 /dev/nothing; mknod /x c 1 5 && head -c 1 /x | wc -c'`},
	{"create, start, wait", `create --name NAME debian sh -c 'echo started; exit 9' >/dev/null; inspect -f '{{.State.Status}}' NAME; start -a NAME; wait_ NAME; start NAME; wait_ NAME; logs NAME; rm NAME`},
	{"exec", `run -d --name NAME --env A=1 debian sleep 1000 >/dev/null
exec_ NAME sh -c 'echo $A; id; cat /proc/1/comm; grep -E "Seccomp:|Cap" /proc/self/status; exit 4'
exec_ -u 7 -w /etc -e B=2 NAME sh -c 'id; pwd; echo $B'
exec_ -t NAME tty
exec_ --privileged NAME grep Cap /proc/self/status
echo in | exec_ -i NAME cat
exec_ NAME nosuch; exec_ NAME /etc/passwd; exec_ -w /nosuch NAME pwd
exec_ -d NAME sh -c 'echo >/tmp/done'; until exec_ NAME test -e /tmp/done; do :; done
top_ NAME -o comm; rm -f NAME; exec_ NAME true`},
	{"pause", `run -d --name NAME debian sleep 1000 >/dev/null; pause NAME; inspect -f '{{.State.Status}}' NAME; exec_ NAME true; unpause NAME; exec_ NAME echo again; rm -f NAME`},
	{"update", `run -d --name NAME debian sleep 1000 >/dev/null; update -m 80m --memory-swap 90m --cpus 0.25 --pids-limit 55 NAME
exec_ NAME sh -c 'cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes pids.max pids/pids.max cpu/cpu.cfs_quota_us 2>/dev/null'; rm -f NAME`},
	{"stop and kill", `run -d --name NAME debian sh -c 'trap "echo got; exit 5" TERM; echo ready; while :; do sleep 0.05; done' >/dev/null
until logs NAME | grep -q ready; do :; done; stop NAME; wait_ NAME; logs NAME; start NAME; kill NAME; wait_ NAME; kill NAME; rm NAME`},
	{"restart", `run -d --name NAME debian sh -c 'echo up; sleep 1000' >/dev/null; restart -t 0 NAME; inspect -f '{{.State.Status}}' NAME; until test $(logs NAME | wc -l) = 2; do :; done; rm -f NAME`},
	{"stats", `run -d --name NAME -m 64m debian sleep 1000 >/dev/null; stats --no-stream --format '{{.PIDs}} {{.MemPerc}}' NAME | sed 's/[0-9.]*%$/%/'; rm -f NAME`},
	{"other containers' namespaces", `run -d --name NAME --ipc shareable debian sleep 1000 >/dev/null; run_ --rm --pid container:NAME --ipc container:NAME --network container:NAME debian sh -c 'cat /proc/1/comm'; rm -f NAME`},
	{"host's namespaces", `run_ --rm --pid host --uts host --ipc host --network host debian sh -c 'readlink /proc/self/ns/uts; test -d /proc/2/ && echo many'`},
	{"init", `run --rm --init debian sh -c 'cat /proc/1/comm; exit 3'`},
	{"health", `run -d --name NAME --health-cmd 'test -e /ok' --health-interval 200ms debian sh -c 'touch /ok; sleep 1000' >/dev/null; until test $(inspect -f '{{.State.Health.Status}}' NAME) = healthy; do :; done; rm -f NAME`},
	{"small memory limit", `run --rm -m 6m debian echo small`},
	{"no process left", `run --rm --pid host debian bash -c 'exec -a left-NAME sleep 1234 & echo gone'; pgrep -f ^left-NAME`},
}

// dockerSession makes docker's verbs those of the shell; each reports its status.
const dockerSession = `set +e
d() { docker -H "$HOST" "$@"; echo "[$?]"; }
run_() { d run --runtime "$RUNTIME" "$@"; }
run() { run_ --network none "$@"; }
create() { docker -H "$HOST" create --runtime "$RUNTIME" --network none "$@"; }
inspect() { docker -H "$HOST" inspect "$@"; }
logs() { docker -H "$HOST" logs "$@"; }
for verb in start rm pause unpause update stop kill restart stats; do eval "$verb() { d $verb \"\$@\"; }"; done
exec_() { docker -H "$HOST" exec "$@"; s=$?; echo "[$s]"; return $s; }
wait_() { d wait "$@"; }
top_() { d top "$@"; }
`

// TestUnderDocker compares containers that a dockerd runs with minirun with those that
// it runs with runc.
func TestUnderDocker(t *testing.T) {
	_, err := exec.LookPath("runc")
	testenv.Need(t, "runc", err == nil)
	runtime := filepath.Join(t.TempDir(), "minirun-runtime")
	if err := os.Symlink(testBed.minirun, runtime); err != nil {
		t.Fatal(err)
	}
	host := startDockerd(t, "--add-runtime", "minirun="+runtime)
	t.Cleanup(func() {
		left, err := filepath.Glob(filepath.Join(filepath.Dir(strings.TrimPrefix(host, "unix://")), "exec/runtime-*/moby/containers/*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left: %v %v", left, err)
		}
	})
	for _, session := range underDocker {
		t.Run(session.name, func(t *testing.T) {
			t.Parallel()
			theirs := underRuntime(t, host, "runc", session.script)
			ours := underRuntime(t, host, "minirun", session.script)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("runc -, minirun +:\n%s", diff)
			}
		})
	}
}

// swarmSession is a service of three containers, one of which is killed.
const swarmSession = `export DOCKER_HOST=$HOST
three() { until test $(docker ps -q | wc -l) = 3; do sleep 0.1; done; }
docker swarm init --advertise-addr 127.0.0.1 >/dev/null
docker service create --detach --name three --replicas 3 --network host --stop-signal KILL debian sleep 1000 >/dev/null
three
docker inspect -f '{{.HostConfig.Runtime}}' $(docker ps -q) | sort -u
killed=$(docker ps -q | head -n 1)
docker kill $killed >/dev/null
until test "$(docker inspect -f '{{.State.Status}}' $killed)" = exited; do sleep 0.1; done
three
docker ps -q | grep -c $killed || true
docker service rm three >/dev/null
until test $(docker ps -aq | wc -l) = 0; do sleep 0.1; done
docker swarm leave --force
`

// TestSwarm has Docker's Swarm run a service with minirun: more than one machine is the
// engine's affair. dockerd has a network of its own, for the bridges that it makes.
func TestSwarm(t *testing.T) {
	dir := t.TempDir()
	runtime := filepath.Join(dir, "minirun-runtime")
	if err := os.Symlink(testBed.minirun, runtime); err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(dir, "dockerd")
	if err := os.WriteFile(alone, []byte("#!/bin/sh\nexec unshare --net sh -c 'ip link set lo up && exec dockerd \"$@\"' sh \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	host := startDockerdAs(t, alone, "--add-runtime", "minirun="+runtime, "--default-runtime", "minirun")
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, "bash", "-ec", swarmSession)
	cmd.Env = append(os.Environ(), "HOST="+host)
	if out, err := cmd.Output(); err != nil || string(out) != "minirun\n0\nNode left the swarm.\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// underRuntime returns what a session prints, without what differs from container to
// container. The texts of errors that only people read are the runtime's own.
func underRuntime(t *testing.T, host, runtime, script string) string {
	t.Helper()
	name := fmt.Sprintf("session-%s-%x", runtime, rand.Uint64())
	cmd := exec.Command("bash", "-c", dockerSession+strings.ReplaceAll(script, "NAME", name))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOST="+host, "RUNTIME="+runtime)
	var stdout, stderr bytes.Buffer // apart, since their order is by chance
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // each verb's status is in the output
	text := strings.ReplaceAll(stdout.String()+stderr.String(), name, "NAME")
	text = regexp.MustCompile(`\b(?:[0-9a-f]{12}|[0-9a-f]{64})\b`).ReplaceAllString(text, "ID")
	text = clientLog.ReplaceAllString(text, "")
	return runtimeError.ReplaceAllStringFunc(text, func(line string) string {
		cause := knownCause.FindString(line)
		if cause == "is a directory" { // runc of Go 1.20 and later
			cause = "permission denied"
		}
		return runtimeError.FindStringSubmatch(line)[1] + "ERROR: " + cause
	})
}

var (
	// runtimeError is a message about an error of the runtime, whose text is its own.
	runtimeError = regexp.MustCompile(`(Error response from daemon: |OCI runtime exec failed: ).*`)
	// clientLog is what docker 20.10 itself logs, or not, when a start fails.
	clientLog = regexp.MustCompile(`(?m)^time=".*error waiting for container: context canceled"\n`)
	// knownCause is what dockerd looks for in it.
	knownCause = regexp.MustCompile(`executable file not found in \$PATH|no such file or directory|permission denied|is a directory|not a directory|is paused|is not running|conflict`)
)
