package integration

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// session is what people do with containers, in this order. A line is a command of docker's
// client and of minirun; what both print, to both streams, and the statuses are compared.
// With ~ in front of a line minirun has its own words, and status 125 for what is wrong about the
// command line: only failure is compared. A line 'sh: COMMAND' runs COMMAND with $docker being one of the two.
const session = `
run -d --name aa -e A=1 -l k=v NET debian sh -c 'trap "exit 7" TERM; echo out; echo out 2; while :; do sleep 0.05; done'
sh: until test "$($docker logs aa 2>&1 | wc -l)" = 2; do sleep 0.05; done
ps
ps --no-trunc
ps -q --no-trunc
ps -q -f name=aa
ps --format '{{.Names}} {{.Image}} {{.State}} {{.Label "k"}} {{.Networks}}'
rm aa
~kill -s FOO aa
exec aa sh -c 'exit 9'
exec aa sh -c 'kill -9 $$'
exec -u 1:2 -e A=2 -e B=3 -w /srv aa sh -c 'id; echo $A$B; pwd'
exec -i aa cat
exec no-such true
exec -d aa sleep 0.1
exec -d -t aa sleep 0.1
sh: sleep 0.2
logs aa
logs --tail 1 aa
logs --tail 0 aa
logs --since 1h aa
logs --until 1h aa
logs no-such
inspect -f '{{.Name}} {{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.Path}} {{.Args}} {{len .Id}} {{.RestartCount}}' aa
inspect -f '{{.Config.Cmd}} {{.Config.Image}} {{.Config.Tty}} {{.Config.OpenStdin}} {{json .Config.Labels}} {{json .Config.Entrypoint}} {{.Config.Hostname}}' aa
inspect -f '{{.HostConfig.NetworkMode}} {{.HostConfig.AutoRemove}} {{.HostConfig.Privileged}} {{.HostConfig.Memory}} {{json .HostConfig.CapAdd}} {{.HostConfig.ShmSize}} {{json .HostConfig.Binds}} {{.HostConfig.LogConfig.Type}} {{.HostConfig.RestartPolicy.Name}}' aa
inspect -f '{{json .Mounts}} {{json .NetworkSettings.Ports}} [{{.NetworkSettings.IPAddress}}] {{.NetworkSettings.Networks.none.IPAddress}} {{.ID}}' aa
inspect -f '{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{end}}' aa
~inspect --type image no-such
inspect no-such
inspect --type container no-such
inspect -f '{{.State.Status}}' aa no-such
container inspect -f '{{.State.StartedAt}} {{.State.FinishedAt}} {{.Created}}' aa
top aa -o nonsense
top no-such
port aa
port aa 80
stats --no-stream --format '{{.Name}} {{.Container}} {{.ID}} {{.NetIO}} {{.BlockIO}}' aa
stats --no-stream no-such
pause aa
rm aa
ps -a --format '{{.Names}} {{.Status}}'
exec aa true
pause aa
inspect -f '{{.State.Status}} {{.State.Paused}} {{.State.Running}}' aa
unpause aa
unpause aa
pause no-such
kill -s WINCH aa
stop -t 20 aa
wait aa
stop aa
kill aa
exec aa true
pause aa
unpause aa
top aa
stats --no-stream aa
logs aa
logs -f aa
ps -a
ps -a -q
ps -q
ps -a -f exited=7 -q
ps -a -f exited=8 -q
inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}} {{.State.Running}}' aa
~run --name aa NET debian true
rm aa
rm aa
~rm -f aa
run -d --name bb NET -m 64m --cap-add SYS_ADMIN --cap-drop CHOWN -v /srv:/mnt:ro --mount type=bind,src=/usr,dst=/x --tmpfs /t --read-only --init -w /tmp -u 1:2 debian sleep 1000
inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CapAdd}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Binds}} {{.HostConfig.Tmpfs}} {{.HostConfig.Init}} {{.Config.WorkingDir}} {{.Config.User}}' bb
inspect -f '{{range .Mounts}}{{println .Type .Source .Destination .Mode .RW .Propagation}}{{end}}' bb
kill bb
wait bb
rm bb
run -d --name cc NET debian sleep 1000
top cc -o args
top cc -o pid,args
pause cc
rm -f cc
run -d --name dd NET --entrypoint sh debian -c 'for i in 1 2 3 4 5; do echo line $i; done; printf partial'
wait dd
inspect -f '{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{.Path}} {{.Args}}' dd
logs --tail 2 dd
rm -v dd
run -d --rm --name ee NET debian sleep 1000
inspect -f '{{.HostConfig.AutoRemove}}' ee
kill ee
sh: while $docker inspect ee >/dev/null 2>&1; do sleep 0.05; done
wait ee
run -d --name ee NET -l aa.b=1 -l c='x y' -e AA=1,=2 -e B=3 --log-opt labels=c,none --log-opt env-regex=^A --log-opt labels-regex=b debian sh -c 'echo out; echo err >&2; echo 12345678 >/a; mkdir /d; ln /a /d/b; ln -s a /l; dd if=/dev/zero of=/etc/debian_version bs=1000 count=2 2>/dev/null; touch /done; exec sleep 1000'
sh: until $docker exec ee test -e /done; do sleep 0.05; done
logs --details ee
sh: $docker logs --details -t ee | sed 's/^[^ ]* //'
logs --details bb
inspect -f '{{json .HostConfig.LogConfig.Config}}' ee
inspect -s -f '{{.SizeRw}}' ee
sh: $docker ps -s --format '{{.Size}}' | sed 's/ (virtual .*B)/ (virtual)/'
sh: $docker ps --format '{{.Size}}' | sed 's/ (virtual .*B)/ (virtual)/'
sh: $docker ps -s | sed -n '1s/  */ /gp'
rm -f ee
run -d --name ee NET debian sleep 1000
logs --details ee
rm -f ee
run -d --name ee NET --log-opt tag='{{.Name}} {{.ImageName}}/{{.ID | printf "%.0s"}}{{len .FullID}},{{.ImageID | len}},{{len .ImageFullID}}' --log-opt labels=none debian sh -c 'echo out; exec sleep 1000'
sh: until $docker logs ee | grep out; do sleep 0.05; done
rename ee ff
logs --details ff
kill ff
sh: $docker wait ff >/dev/null
start ff
sh: until test "$($docker logs ff | wc -l)" = 2; do sleep 0.05; done
logs --tail 1 --details ff
rm -f ff
~run -d --name ee NET --log-opt tag={{.Nonsense}} debian true
sh: $docker rm ee >/dev/null 2>&1 || true
~run -d --name ee NET --log-opt tag={{ debian true
sh: $docker rm ee >/dev/null 2>&1 || true
~run -d --name ee NET --log-opt labels-regex=( debian true
~rm ee
run -d --name ff NET debian sh -c 'echo a >/a; rm /etc/passwd /etc/localtime; mkdir -p /q/w; rm -r /srv; chmod 700 /opt; touch /etc/issue; chown 1:2 /etc/hostname /etc/fstab; cd /usr/share/doc; rm -r bash; mkdir bash; touch bash/n; rm -r tar; echo >tar; rm -rf /media; ln -s /y /media; mv /mnt /mnt2; : >>/etc/shadow; echo x >/dev/shm/x; touch /done; exec sleep 1000'
sh: until $docker exec ff test -e /done; do sleep 0.05; done
diff ff
diff no-such
~diff
~update ff
update -m 64m --memory-swap 128m ff
update --pids-limit 50 ff no-such
update --cpus 0.5 --cpu-shares 512 ff
update --cpuset-cpus 0 ff
sh: $docker stats --no-stream --format '{{.MemUsage}}' ff | sed 's,.*/,,'
inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{.HostConfig.CpusetCpus}}' ff
~update -m 1m ff
~update --cpuset-cpus 99 ff
~update --cpu-quota 20000 ff
~update -m 256m ff
~rename no-such gg
rename ff gg
exec gg cat /a
run -d --name ff NET debian sleep 1000
~rename gg ff
ps --format '{{.Names}} {{.State}}'
rm -f ff
pause gg
rename gg ff
unpause ff
logs gg
inspect -f '{{.Name}} {{.State.Status}}' ff
kill ff
sh: $docker wait ff >/dev/null
rename ff gg
~rename ff gg
~rename gg gg
~rename gg 'x y'
~rename gg
diff gg
update -m 32m --memory-swap 32m gg
inspect -f '{{.Name}} {{.HostConfig.Memory}}' gg
ps -a --format '{{.Names}} {{.State}}'
run -d --name ff NET debian sleep 1000
~rename gg ff
rm -f ff
rm gg
create --name hh -e A=1 NET debian sh -c 'echo hello $A; echo x >>/n; cat /n; exit 3'
ps
ps -a --format '{{.Names}}|{{.Status}}|{{.State}}|{{.Command}}'
inspect -f '{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.State.Pid}} {{.State.StartedAt}} {{.State.FinishedAt}} {{.Path}} {{.Args}} {{.Config.AttachStdout}}' hh
logs hh
exec hh true
stop hh
kill hh
wait hh
top hh
pause hh
diff hh
port hh
stats --no-stream --format '{{.Name}} {{.PIDs}}' hh
start hh
wait hh
logs hh
start hh
wait hh
restart hh
wait hh
logs hh
logs --tail 2 hh
diff hh
ps -a --format '{{.Names}}|{{.Status}}'
inspect -f '{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.Config.AttachStdout}} {{.HostConfig.AutoRemove}}' hh
~start no-such
restart no-such
~create
~create --name hh NET debian true
create --name ii NET debian nosuch
~start ii
ps -a --format '{{.Names}}|{{.Status}}'
rm ii
run -d --name ii -m 64m --memory-swap 64m NET debian sh -c 'trap "exit 7" TERM; echo up; while :; do sleep 0.05; done'
start ii
sh: until test "$($docker logs ii)" = up; do sleep 0.05; done
restart -t 20 ii
sh: until test "$($docker logs ii | wc -l)" = 2; do sleep 0.05; done
inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.HostConfig.Memory}}' ii
pause ii
~start ii
restart -t 0 ii
ps --format '{{.Names}} {{.Status}}'
rm ii
rm -f ii
create --rm --name ii NET debian sleep 1000
start ii
restart -t 0 ii
inspect -f '{{.HostConfig.AutoRemove}} {{.State.Status}} {{.RestartCount}}' ii
kill ii
sh: while $docker inspect ii >/dev/null 2>&1; do sleep 0.05; done
wait ii
rm hh
run -d -i --name jj NET debian sh -c 'read l; echo got $l; echo err >&2; exit 4'
sh: echo hello | $docker attach jj >/dev/null 2>&1
wait jj
attach jj
attach no-such
~attach
~attach --detach-keys foo jj
~start -a jj hh
start -a no-such
sh: echo again | $docker start -i jj >/dev/null 2>&1
sh: echo more | $docker start -ai jj >/dev/null 2>&1
logs jj
rm jj
create -i --name jj NET debian sh -c 'cat; echo end; exit 3'
sh: echo input | $docker start -ai jj; $docker ps -a -f name=jj --format '{{.Names}} {{.Status}}'
inspect -f '{{.Config.OpenStdin}} {{.Config.StdinOnce}} {{.Config.AttachStdin}} {{.State.ExitCode}}' jj
rm jj
run -dit --name jj NET debian sh
attach jj
pause jj
attach jj
rm -f jj
~rm
~top
`

// TestSession has a dockerd, which the test starts, as its oracle.
func TestSession(t *testing.T) {
	host := startDockerd(t)
	theirs, ours := "docker -H "+host, testBed.minirun+" --root "+testBed.root
	t.Cleanup(func() {
		_ = exec.Command("sh", "-c", ours+" rm -f aa bb cc dd ee ff gg hh ii jj copies 2>/dev/null").Run()
	})
	for line := range strings.Lines(strings.TrimSpace(session)) {
		line = strings.ReplaceAll(strings.TrimSpace(line), "NET", "--network none")
		command, own := strings.CutPrefix(line, "~")
		their, our := perform(theirs, command), perform(ours, command)
		if own {
			if ok := slices.Contains(their, "exit status 0"); ok != slices.Contains(our, "exit status 0") {
				t.Errorf("%s: docker: %q, minirun: %q", line, their, our)
			}
		} else if diff := cmp.Diff(their, our); diff != "" {
			t.Errorf("%s\ndocker -, minirun +:\n%s", line, diff)
		}
	}
	copies, err := os.ReadFile("testdata/copies.sh")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(performCopies(t, theirs, copies), performCopies(t, ours, copies)); diff != "" {
		t.Errorf("cp: docker -, minirun +:\n%s", diff)
	}
}

func performCopies(t *testing.T, docker string, script []byte) []string {
	t.Helper()
	cmd := exec.Command("sh")
	cmd.Stdin = strings.NewReader("docker='" + docker + "'\n" + string(script))
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", docker, err)
	}
	return strings.Split(string(out), "\n")
}

// perform runs a line of a session, and returns what can be compared of it.
func perform(docker, line string) []string {
	script := docker + " " + line
	if command, ok := strings.CutPrefix(line, "sh: "); ok {
		script = "docker='" + docker + "'; " + command
	}
	cmd := exec.Command("sh", "-c", script+" 2>&1")
	out, err := cmd.Output()
	if cmd.ProcessState == nil {
		return []string{err.Error()}
	}
	return append(comparableLines(string(out)), cmd.ProcessState.String())
}

var sessionNoise = []struct {
	pattern *regexp.Regexp
	to      string
}{
	{regexp.MustCompile(`\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b`), "ID"},
	{regexp.MustCompile(`(?:Less than a second|About a second|\d+ seconds?)`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`^(?:Error response from daemon: |Error: |minirun: |docker: )+`), ""},
	{regexp.MustCompile(`(?m)^\d+ +(sh|sleep) `), "PID $1 "},
	{regexp.MustCompile(`'(\d+)/tcp' published`), "'$1' published"}, // docker 20.10
	{regexp.MustCompile(`\bCAP_`), ""},                              // not with docker 20.10, which passes names on as they are
	{regexp.MustCompile(`\s+`), " "},
}

// comparableLines returns output without what is another each time, and without hints.
func comparableLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		for _, n := range sessionNoise {
			line = n.pattern.ReplaceAllString(line, n.to)
		}
		if strings.HasPrefix(line, "hint: ") || strings.HasPrefix(line, "See 'docker") || line == "" {
			continue
		}
		lines = append(lines, strings.ToLower(line))
	}
	slices.Sort(lines) // the two streams come in any order
	return lines
}
