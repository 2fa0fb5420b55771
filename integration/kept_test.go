package integration

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/testenv"
)

// keptCases are launches that are kept. The first is made by Go, the third by C alone.
var keptCases = []oracleCase{
	{flags: ""},
	{flags: "-h box --domainname dom -e A=1 -e B -w /srv --cap-add SYS_ADMIN --cap-drop CHOWN --label a=1"},
	{flags: "-w /a/b/c -u 1000:1000 --group-add 44 --group-add audio --security-opt no-new-privileges"},
	{flags: "-u nobody --read-only --tmpfs /t --tmpfs /u:ro,size=1m,exec,noatime --shm-size 1m"},
	{flags: "--tmpfs /run --tmpfs /usr/share:rw,nosuid,mode=711 --tmpfs /etc"}, // where the container's own files go
	{flags: "--cap-drop ALL -u 1000 --seccomp-deny mkdir --seccomp-allow keyctl --seccomp-gate CAP_SYS_ADMIN=swapon"},
	{flags: "--seccomp unconfined --security-opt systempaths=unconfined"},
	{flags: "--ulimit nofile=100:200 --ulimit core=0 --ulimit nproc=50 --ulimit stack=1000000:2000000"},
	{flags: "-i --stop-signal INT --stop-timeout 3 --sig-proxy=false --rm --quiet --pull never"},
	{flags: "-i", command: []string{"sh", "-c", "cat; echo error >&2; kill -9 $$"}},
	{flags: "-t"},
	{flags: "-t -u nobody --read-only", command: []string{"sh", "-c", "ls -l /dev; stty -a; echo error >&2; kill -9 $$"}},
	{flags: "--seccomp-deny write", command: []string{"echo", "a"}},
	{flags: "-e PATH=/bin", command: []string{"sh", "-c", "exec sleep 0.01"}},
	{flags: "-m 64m --cpus 0.5 --pids-limit 50"},
	{flags: "-m 64m --memory-swap 128m --memory-reservation 32m --cpu-shares 512 --cpuset-cpus 0 --cpuset-mems 0 --oom-score-adj 100 --sysctl net.ipv4.ip_forward=1"},
	{flags: "-v DIR/dir:/mnt -v DIR/file:/srv/f:ro --mount type=bind,source=DIR,target=/new/x,readonly -v DIR/link:/y --name kept_NAME"},
	{flags: "-v DIR/dir:/etc --tmpfs /mnt -v DIR/dir:/mnt/dir"},
}

// keptRun makes a launch of a case so many times, in one place, and returns what each says
// and whether Go was started for it.
func keptRun(t *testing.T, c oracleCase, count int) (reports [][]string, inGo []bool) {
	t.Helper()
	needsKept(t)
	command := c.command
	if command == nil {
		command = []string{"sh", "-c", picture}
	}
	flags := strings.NewReplacer("DIR", keptDir(t), "NAME", fmt.Sprint(os.Getpid())).Replace(c.flags)
	args := append(strings.Fields(flags), "debian")
	cmd := minirun(t, append(args, command...)...)
	const script = `ip link set lo up; for i in $(seq COUNT); do echo input | "$@"; s=$?; echo "status $s"; echo "end $i" >&2; echo "end $i"; done`
	cmd.Args = append([]string{"unshare", "--net", "--mount", "--propagation", "shared", "sh", "-c", strings.Replace(script, "COUNT", fmt.Sprint(count), 1), "sh"}, cmd.Args...)
	cmd.Path = testenv.Program(t, "unshare")
	cmd.Env = append(cmd.Env, "B=2", "MINIRUN_NETWORK=none", "GODEBUG=inittrace=1") // the Go runtime says what it initialises
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	outputs, errs := stdout.String(), stderr.String()
	for i := range count {
		var out, said string
		out, outputs, _ = strings.Cut(outputs, fmt.Sprintf("end %d\n", i+1))
		said, errs, _ = strings.Cut(errs, fmt.Sprintf("end %d\n", i+1))
		var report []string
		for line := range strings.Lines(said) {
			if !strings.HasPrefix(line, "init ") {
				report = append(report, oracleLine(line))
			}
		}
		reports = append(reports, oraclePicture(out, report))
		inGo = append(inGo, strings.HasPrefix(said, "init ") || strings.Contains(said, "\ninit "))
	}
	return reports, inGo
}

// A launch that is carried out as it was kept gives the same container as one in Go.
func TestKept(t *testing.T) {
	for _, c := range keptCases {
		// The run root has the test's name. With a comma in it Linux before 6.5 cannot make the overlay that seals the program by
		// fsconfig(2), and the launch is Go's.
		name := strings.ReplaceAll(strings.TrimSpace(c.flags+" "+strings.Join(c.command, " ")), ",", ";")
		t.Run(name, func(t *testing.T) {
			var reports [][]string
			var inGo []bool
			// The first launch may make a layer of files, which is too new to rely on for two seconds.
			eventually(t, "the third launch is as the second was kept", func() bool {
				reports, inGo = keptRun(t, c, 3)
				return !inGo[2]
			})
			if diff := cmp.Diff(reports[0], reports[2]); diff != "" {
				t.Errorf("Go -, kept +:\n%s", diff)
			}
			if diff := cmp.Diff([]bool{true, true, false}, inGo); diff != "" {
				t.Errorf("in Go: want -, got +:\n%s", diff)
			}
		})
	}
}

// A launch that reads a file of the user's which has no stamp is made each time.
func TestKeptNever(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("a=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flags := range []string{"--env-file " + file, "--label-file " + file, "-v /anonymous", "--init", "--device /dev/fuse"} {
		if _, inGo := keptRun(t, oracleCase{flags: flags, command: []string{"true"}}, 3); slices.Contains(inGo, false) {
			t.Errorf("%s: in Go: %v", flags, inGo)
		}
	}
}

// What a launch depends on has changed, or the file is not one to trust: Go makes the
// launch, and keeps it anew.
func TestKeptChanges(t *testing.T) {
	b := newKept(t, "mkdir", "/x")
	b.keep(0)
	file, dir := b.file(), filepath.Join(testBed.root, "launches")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	another := *b
	another.flags = []string{"--network", "none", "--label", "a=b"}
	another.keep(0)
	anothers, err := os.ReadFile(another.file())
	if err != nil || bytes.Equal(anothers, whole) {
		t.Fatalf("%v, or it is the same", err)
	}
	damaged := func(at int) func() error {
		return func() error {
			text := bytes.Clone(whole)
			text[at] ^= 1
			return os.WriteFile(file, text, 0o600)
		}
	}
	for name, change := range map[string]func() error{
		"damaged head":       damaged(9),
		"damaged sum":        damaged(17),
		"damaged middle":     damaged(len(whole) / 2),
		"cut":                func() error { return os.Truncate(file, int64(len(whole)/2)) },
		"empty":              func() error { return os.Truncate(file, 0) },
		"writable":           func() error { return os.Chmod(file, 0o620) },
		"another user's":     func() error { return os.Chown(file, 1, -1) },
		"a link":             func() error { return errors.Join(os.Rename(file, file+".there"), os.Symlink(file+".there", file)) },
		"a pipe":             func() error { return errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)) },
		"another launch's":   func() error { return os.WriteFile(file, anothers, 0o600) },
		"writable directory": func() error { return os.Chmod(dir, 0o720) },
	} {
		t.Run(name, func(t *testing.T) {
			b.T = t
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if !b.launch(0) {
				t.Error("carried out")
			}
			if err := errors.Join(os.Chmod(dir, 0o700), os.RemoveAll(file+".there")); err != nil {
				t.Fatal(err)
			}
			b.keep(0)
		})
	}
	b.T = t
	b.write(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}`)
	if !b.launch(1) {
		t.Error("the old profile is used")
	}
	b.keep(1)
	// The same size, and the time of the last write: the time of the last change shows it.
	var st syscall.Stat_t
	if err := syscall.Stat(b.profile, &st); err != nil {
		t.Fatal(err)
	}
	b.write(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["rmdir", "unlink"], "action": "SCMP_ACT_ERRNO"}]}`)
	when := time.Unix(st.Mtim.Unix())
	if err := os.Chtimes(b.profile, when, when); err != nil {
		t.Fatal(err)
	}
	if !b.launch(0) {
		t.Error("the old profile is used")
	}
}

// A hit is killed at random moments, or asked to end. Nothing stays, at the latest when
// the next launch has begun.
func TestKeptKilled(t *testing.T) {
	b := newKept(t, "true")
	b.flags = []string{"--network", "bridge", "--dns", "192.0.2.8", "-m", "64m", "-v", filepath.Dir(b.profile) + ":/mnt"}
	b.keep(0)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		for range robustRounds(t) {
			cmd := b.cmd()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-time.After(rand.N(20 * time.Millisecond)) // the moment is the test's input
			_ = cmd.Process.Signal(sig)
			_ = cmd.Wait()
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			ended := status.Signaled() && status.Signal() == sig || status.ExitStatus() == 128+int(sig) || status.ExitStatus() == 0
			if !ended {
				t.Errorf("after %v: %v", sig, cmd.ProcessState)
			}
			b.launch(0)
		}
	}
	eventually(t, "no device is left", func() bool {
		out, err := exec.Command("ip", "-o", "link").Output()
		return err == nil && !bytes.Contains(out, []byte(" mr0a"))
	})
	for range 3 { // a start looks at some containers only
		b.launch(0)
	}
	b.tidy()
	b.keep(0)
}

// A container that a killed launcher has left is removed by Go. What C cannot do is undone,
// and Go says why it cannot either.
func TestKeptFallsBack(t *testing.T) {
	b := newKept(t, "true")
	b.keep(0)
	dead := filepath.Join(testBed.root, "containers", "dead_one")
	if err := os.Mkdir(dead, 0o711); err != nil {
		t.Fatal(err)
	}
	if !b.launch(0) {
		t.Error("a container that was left behind is not seen")
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	b.keep(0)
	if err := os.RemoveAll(b.run); err != nil { // its stamp is gone too
		t.Fatal(err)
	}
	b.launch(0)
	b.keep(0)
	files := filepath.Join(b.run, ".files")
	if err := errors.Join(os.Remove(files), os.WriteFile(files, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if !b.launch(125) {
		t.Error("the launch did not fail in Go")
	}
	b.tidy()
}

// What others see of a container is the same, and they can do the same with it.
func TestKeptIsSeen(t *testing.T) {
	needsKept(t)
	b := &keptBed{T: t, run: filepath.Join(t.TempDir(), "run"), command: []string{"sh", "-c", "trap 'exit 7' USR1; echo ready; sleep 1000 & wait"}}
	var seen []string
	for i := range 3 {
		cmd := exec.Command(testBed.minirun, append([]string{"-i", "--network", "bridge", "--dns", "192.0.2.8", "-m", "64m", "--label", "a=b", "debian"}, b.command...)...)
		cmd.Env = append(os.Environ(), "MINIRUN_RUN_ROOT="+b.run, "GODEBUG=inittrace=1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		_, stdout := testenv.Start(t, cmd) // its input stays open
		if line, err := stdout.ReadString('\n'); line != "ready\n" {
			t.Fatalf("%q, %v: %s", line, err, initLine.ReplaceAllString(stderr.String(), ""))
		}
		pid := cmd.Process.Pid
		files := waitsInC(t, pid)
		if kib := ownMemory(t, pid); kib > 512 {
			t.Errorf("launch %d: the launcher has %d KiB of its own", i+1, kib)
		}
		id := strings.TrimSpace(b.ask("ps", "-q"))
		report := strings.Join(files, "\n") + b.ask("inspect", id) + b.ask("exec", id, "sh", "-c", "id; grep -E 'Cap|Seccomp|NoNew' /proc/self/status; cat /proc/self/cgroup; hostname; env | sort") +
			b.ask("ps", "--format", "{{.Image}} {{.Command}} {{.State}}") + b.ask("stop", "-s", "USR1", id)
		_ = cmd.Wait()
		report += cmd.ProcessState.String()
		if inGo := strings.Contains(stderr.String(), "init "); inGo != (i < 2) {
			t.Errorf("launch %d: Go was started: %v", i+1, inGo)
		}
		for _, own := range []*regexp.Regexp{containersDir, randomCgroup, volatileInspect, randomID, containerNames} {
			report = own.ReplaceAllString(report, "OWN")
		}
		seen = append(seen, strings.Join(ownAddress(report), "\n"))
	}
	if diff := cmp.Diff(seen[0], seen[2]); diff != "" {
		t.Errorf("Go -, kept +:\n%s", diff)
	}
}

var (
	volatileInspect = regexp.MustCompile(`"(Created|StartedAt|Pid|Id)": .*`)
	containerNames  = regexp.MustCompile(`[a-z]+_[a-z]+\b|\b[0-9a-f]{12,64}\b`)
)

// A command that the kernel does not run is explained by Go, after C has tried.
func TestKeptExecFails(t *testing.T) {
	needsKept(t)
	archive := filepath.Join(t.TempDir(), "root.tar")
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	const script = "#!/no/such\n"
	err := w.WriteHeader(&tar.Header{Name: "script", Mode: 0o755, Size: int64(len(script))})
	if err == nil {
		_, err = io.WriteString(w, script)
	}
	if err = errors.Join(err, w.Close(), os.WriteFile(archive, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	k := &keptBed{T: t, run: filepath.Join(t.TempDir(), "run")}
	k.ask("import", "-q", archive, "kept:exec")
	defer k.ask("rmi", "kept:exec")
	k.settle()
	for i := range 3 {
		cmd := exec.Command(testBed.minirun, "--network", "none", "kept:exec", "/script")
		cmd.Env = append(os.Environ(), "MINIRUN_RUN_ROOT="+k.run, "GODEBUG=inittrace=1")
		out, _ := cmd.CombinedOutput()
		const want = "minirun: run /script: no such file or directory\nhint: the interpreter /no/such does not exist in the container\n"
		if got := initLine.ReplaceAllString(string(out), ""); got != want || cmd.ProcessState.ExitCode() != 127 {
			t.Errorf("launch %d: status %d, %s", i+1, cmd.ProcessState.ExitCode(), got)
		}
		inGo := []int{2, 2, 1}[i] // the launcher, and the child that explains
		if got := bytes.Count(out, []byte("init runtime @")); got != inGo {
			t.Errorf("launch %d: Go was started %d times, want %d", i+1, got, inGo)
		}
	}
}

// seen returns what a launch that reads its input prints, and what others see of its command.
func (b *keptBed) seen(env ...string) (report string, inGo bool) {
	b.Helper()
	cmd := b.cmd()
	cmd.Env = append(cmd.Env, env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, stdout := testenv.Start(b, cmd)
	const ready = "ready\n"
	_, _ = io.WriteString(stdin, ready) // a failure is seen by the output
	for !strings.HasSuffix(report, ready) {
		line, err := stdout.ReadString('\n')
		report += line
		if err != nil {
			b.Fatalf("%q, %v: %s", report, err, initLine.ReplaceAllString(stderr.String(), ""))
		}
	}
	id := strings.TrimSpace(b.ask("ps", "-q"))
	report += b.ask("ps", "--no-trunc", "--format", "{{.Command}}") + b.ask("inspect", "--format", "{{json .Path}} {{json .Args}} {{json .Config}}", id)
	stdin.Close()
	_ = cmd.Wait()
	return strings.ReplaceAll(report, id, "ID") + cmd.ProcessState.String(), strings.Contains(stderr.String(), "init ")
}

// The words after the image belong to one launch: what is kept is carried out with others, which
// the command and those who look at the container find as if Go had made the launch.
func TestKeptWords(t *testing.T) {
	b := newKept(t)
	const script = `for word; do printf '[%s]' "$word"; done; echo; cat`
	for i, begin := range []struct{ flags, words []string }{
		{nil, []string{"sh", "-c", script, "sh"}},
		{[]string{"--entrypoint", "sh"}, []string{"-c", script, "sh"}},
	} {
		b.flags = slices.Concat([]string{"-i", "--network", "none", "-e", "T=" + t.Name()}, begin.flags)
		b.command = slices.Concat(begin.words, []string{"any"})
		b.keep(0)
		for j, words := range [][]string{
			nil,
			{"", "--rm", "-it", "--", "debian", `"quoted\"`, "line\n\ttab\x01n\x1b\x7f", "$PATH", "</script>&'"},
			slices.Repeat([]string{strings.Repeat("long ", 100)}, 40),
			{"\u007f\u0080ü\u07ff\u0800\u2028\ud7ff\ue000\uffff\U00010000\U0010ffff"},
			{"not UTF-8:\xff\x80", "\xc3", "\xed\xa0\x80\xf4\x90\x80\x80"},
		} {
			b.command = slices.Concat(begin.words, words)
			kept, inGo := b.seen()
			made, _ := b.seen(fmt.Sprintf("KEY=%d %d", i, j)) // which no launch has had
			if diff := cmp.Diff(made, kept); diff != "" {
				t.Errorf("%v %.40q: Go -, kept +:\n%s", begin.flags, words, diff)
			}
			if inGo {
				t.Errorf("%v %.40q: Go was started", begin.flags, words)
			}
		}
	}
}
