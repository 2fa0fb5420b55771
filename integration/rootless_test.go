package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/minirun/minirun/internal/testenv"
)

// A user with subordinate IDs has containers as root has them.
func TestRootless(t *testing.T) {
	u := ordinaryUser(t, "minirun-ranges", true)
	u.load(t)
	both := []asUser{
		{"debian id -u", 0, "0", ""},
		{"debian cat /proc/self/uid_map", 0, fmt.Sprintf("0 %d 1 1 %s 65536", u.uid, u.first), ""},
		{"debian grep -E ^(Seccomp|NoNewPrivs|CapBnd): /proc/self/status", 0, "CapBnd: 00000000a80425fb NoNewPrivs: 0 Seccomp: 2", ""},
		{"--seccomp-deny mkdir debian mkdir /x", 1, "", "Operation not permitted"},
		{"--user 33 debian ping -qc1 127.0.0.1", 0, "*", ""}, // by a file capability
		{"--user 33:7 --group-add 44 debian id -G", 0, "7 44", ""},
		{"--device /dev/null:/dev/x debian -- echo > /dev/x && stat -c %t:%T /dev/x", 0, "1:3", ""},
		{"--network host debian -- grep -c lo: /proc/net/dev; touch /sys/x", 1, "1", "Read-only file system"},
		{"--pid host --ipc host --uts host --cgroupns host debian -- ls -d /proc/" + strconv.Itoa(os.Getpid()), 0, "/proc/" + strconv.Itoa(os.Getpid()), ""},
		{"--cgroupns host debian -- grep ' /sys/fs/cgroup' /proc/self/mounts | grep -vc ' ro,'", 1, "0", ""},
		{"--privileged debian -- mount -t tmpfs none /mnt && grep -c mnt /proc/self/mounts", 0, "1", ""},
		{"--init --read-only --tmpfs /t:uid=5 debian -- stat -c %u /t; touch /x", 1, "5", "Read-only file system"},
		{"-v /etc:/e:ro debian -- cat /e/hostname > /dev/null", 0, "", ""},
	}
	for _, tt := range both {
		u.check(t, tt)
		tt.args = "--init-by libcontainer " + tt.args
		u.check(t, tt)
	}
	for _, tt := range []asUser{
		{"--user 70000 debian id", 125, "", `minirun: user "70000": there are 65537 users here, from 0 on`},
		{"debian -- touch /x; chown 70000 /x", 1, "", "Invalid argument"},
		{"--ulimit nofile=64:99999999999 debian true", 125, "", "is more than your own hard limit"},
		{"--oom-score-adj -500 debian true", 125, "", "without root it can only be raised"},
		{"--userns host debian id -u", 0, "0", ""},
		{"--userns auto debian true", 125, "", "minirun: --userns auto: a container of a user's has the user's subordinate ids, not others\nhint: "},
		{"host: true", 125, "", "minirun: host:: as a user the host's root cannot be a layer\nhint: run it with sudo, or bind what you need: -v /usr:/usr:ro\n"},
		{"--explain debian -- unshare -m true", 1, "", "CAP_SYS_ADMIN"},
		{"--debug debian true", 0, "", "entered before Go started: true"},
		{"--debug --name minirun-kept --rm=false debian true", 0, "", "entered before Go started: true"},
		{"--debug debian true", 0, "", "entered before Go started: true"}, // what is kept has ended
		{"rm minirun-kept", 0, "minirun-kept", ""},
	} {
		u.check(t, tt)
	}
	t.Run("files", func(t *testing.T) { u.files(t) })
	t.Run("borders", func(t *testing.T) { u.borders(t) })
	t.Run("kill", func(t *testing.T) { u.kill(t) })
	t.Run("starts", func(t *testing.T) { u.starts(t) })
	t.Run("oracle", func(t *testing.T) { u.oracle(t) })
	t.Run("lacks", func(t *testing.T) { u.lacks(t) })
	t.Run("layers", func(t *testing.T) { u.layers(t) })
	t.Run("verbs", func(t *testing.T) { u.verbs(t) })
	t.Run("limits", func(t *testing.T) { u.limits(t) })
	layers, err := filepath.Glob(u.home + "/.local/share/minirun/layers/sha256/*") // those of debian
	if err != nil || len(layers) == 0 {
		t.Errorf("debian has the layers %q (%v)", layers, err)
	}
	t.Run("scripts", func(t *testing.T) { u.scripts(t) })
	u.check(t, asUser{"rmi -f debian debian:bookworm", 0, "*", "*"}) // it may have both names
	for _, layer := range layers {
		if exists(layer) {
			t.Errorf("after rmi there is %s", layer)
		}
	}
}

// files checks whose files are on the host, and those of the image, and what launcher and command have
// open.
func (u *ordinary) files(t *testing.T) {
	for _, flags := range []string{"", "-t", "--init-by libcontainer", "--explain-filter"} {
		wantClean(t, flags, u.run(append(strings.Fields(flags), "debian", "sh", "-c", cleanScript)...))
	}
	cmd, _ := u.launch(t, "--name", "minirun-files", "debian", "sh", "-c", "echo ready; exec sleep 1000")
	wantClean(t, "exec", u.run("exec", "minirun-files", "sh", "-c", cleanScript))
	want := []string{"/memfd:minirun-wait (deleted)", "anon_inode:[pidfd]", "anon_inode:[signalfd]", "container", "image"}
	var got []string
	eventually(t, "the launcher has closed what it had for the start", func() bool {
		got = slices.DeleteFunc(openFiles(t, cmd.Process.Pid, u.home+"/.local/share/minirun"), func(file string) bool { return file == "pipe" })
		return len(got) <= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("the launcher has %q, want %q", got, want)
	}
	u.check(t, asUser{"kill minirun-files", 0, "minirun-files", ""})
	u.check(t, asUser{"-v " + u.home + ":/h debian touch /h/f", 0, "", ""})
	info, err := os.Stat(u.home + "/f")
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != u.uid {
		t.Errorf("a file that the container's root made in the user's directory: %v, %v", info, err)
	}
	u.check(t, asUser{"debian stat -c %U:%G /etc/shadow /var/mail", 0, "root:shadow root:mail", ""})
	caps, err := exec.Command("sh", "-c", "getcap -n "+u.home+"/.local/share/minirun/layers/sha256/*/usr/bin/ping").CombinedOutput()
	if want := fmt.Sprintf("[rootid=%d]", u.uid); err != nil || !strings.Contains(string(caps), want) {
		t.Errorf("the capabilities of ping are %s (%v), want %s", caps, err, want)
	}
}

// borders tries what SECURITY.md says that no container of a user's can do.
func (u *ordinary) borders(t *testing.T) {
	outside := u.command("sleep", "1000")
	if err := outside.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = outside.Process.Kill(); _ = outside.Wait() }()
	for _, tt := range []asUser{
		{"-v /etc:/e debian cat /e/shadow", 1, "", "Permission denied"},
		{"-v /etc:/e debian touch /e/minirun-was-here", 1, "", "Permission denied"},
		{"-v /etc:/e --privileged debian chown 0 /e/hostname", 1, "", "Operation not permitted"},
		{"--privileged debian mknod /n c 1 1", 1, "", "Operation not permitted"},
		{"--privileged -v /proc:/p debian -- echo 1 > /p/sys/kernel/panic", 2, "", "Permission denied"},
		{"--privileged --pid host debian kill -0 " + strconv.Itoa(os.Getpid()), 1, "", "Operation not permitted"},
		{"--privileged debian -- kill -9 -1; kill -0 " + strconv.Itoa(outside.Process.Pid), 1, "", "No such process"},
		{"--privileged debian mount /dev/vda /mnt", 32, "", "mount"},
	} {
		u.check(t, tt)
	}
	if err := outside.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the user's process outside: %v", err)
	}
	other := u.command("ls", u.home+"/.local/share/minirun")
	other.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	other.Dir = "/"
	if out, err := other.CombinedOutput(); err == nil {
		t.Errorf("another user can list the store: %s", out)
	}
	// A group of the user's on the host is not one of the container's.
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(secret, 0, 6); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(secret); dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o1755); err != nil && dir != "/tmp" {
			t.Fatal(err)
		}
		if filepath.Dir(dir) == "/tmp" {
			break
		}
	}
	for where, cmd := range map[string]*exec.Cmd{"outside": u.command("cat", secret), "inside": u.run("-v", secret+":/s", "debian", "cat", "/s")} {
		cmd.SysProcAttr.Credential.Groups = []uint32{6}
		if out, err := cmd.CombinedOutput(); (err == nil) != (where == "outside") {
			t.Errorf("%s a file of a group of the user's: %v\n%s", where, err, out)
		}
	}
}

// kill checks that nothing outlives SIGKILL of the launcher: not even a program that has
// lost its parent-death signal, where the guard is killed too. There the next start, which
// has no power over it once it is in a namespace of its own, must end it before.
func (u *ordinary) kill(t *testing.T) {
	cmd, init := u.launch(t, "--name", "minirun-exec", "debian", "sh", "-c", "echo ready; exec sleep 1000")
	u.check(t, asUser{"exec -u 33 minirun-exec -- test $(id -u) = 33 && grep -q '^Seccomp:.2' /proc/self/status && exit 7", 7, "", ""})
	u.check(t, asUser{"kill minirun-exec", 0, "minirun-exec", ""})
	_ = cmd.Wait()
	if !gone(init) {
		t.Error("the container has not ended")
	}
	for _, guarded := range []bool{true, false} {
		cmd, init := u.launch(t, "--user", "33", "debian", "sh", "-c", "echo ready; exec ping -i 100 127.0.0.1")
		becomes(t, init, "ping")
		if !guarded {
			if err := syscall.Kill(guardOf(t, cmd.Process.Pid), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if guarded {
			eventually(t, "PID 1 dies with its launcher", func() bool { return gone(init) })
		} else if gone(init) {
			t.Error("ping has ended with its launcher; this test does not test the next start")
		}
		u.check(t, asUser{"--debug debian true", 0, "", "entered before Go started: false"})
		eventually(t, "PID 1 has ended", func() bool { return gone(init) })
		u.wantNothing(t)
	}
}

// verbs checks that a user can do with a container in the background what root can, while
// it runs and when it has ended.
func (u *ordinary) verbs(t *testing.T) {
	const name = "minirun-verbs"
	for _, tt := range []asUser{
		{"-d --name " + name + " --hostname minirun-host debian -- echo said; echo text > /f; chown 33 /f; chmod 600 /f; touch /ready; exec sleep 1000", 0, "*", ""},
		{"exec " + name + " -- until test -e /ready; do sleep 0.01; done; id -u", 0, "0", ""},
		{"ps --format {{.Names}}", 0, name, ""},
		{"logs " + name, 0, "said", ""},
		{"top " + name, 0, "*", ""},
		{"inspect --format {{.State.Status}} " + name, 0, "running", ""},
		{"rename " + name + " " + name + "3", 0, "", ""},
		{"-d --rm --name " + name + " debian sleep 1000", 0, "*", ""},
		{"rm -f " + name, 0, name, ""},
		{"rename " + name + "3 " + name, 0, "", ""},
		{"inspect -s -f {{.SizeRw}} " + name, 0, "5", ""},
		{"--network container:" + name + " debian -- hostname; ls /sys/class/net", 0, "minirun-host lo", ""},
		{"-d --rm --name " + name + "2 --network container:" + name + " debian sleep 1000", 0, "*", ""},
		{"exec " + name + "2 hostname", 0, "minirun-host", ""},
		{"rm -f " + name + "2", 0, name + "2", ""},
		{"pause " + name, 1, "", "has no cgroup, without which it cannot be paused"},
		{"cp .profile " + name + ":/g", 0, "*", "*"},
		{"cp " + name + ":/f f", 0, "*", "*"},
		{"exec " + name + " stat -c %u:%g:%a /f /g", 0, "33:0:600 0:0:644", ""},
		{"stop -t 0 " + name, 0, name, ""},
		{"wait " + name, 0, "137", ""},
		{"ps -a --format {{.Names}}:{{.State}}", 0, name + ":exited", ""},
		{"cp " + name + ":/f f2", 0, "*", "*"},
		{"logs " + name, 0, "said", ""},
		{"rm " + name, 0, name, ""},
		{"ps -aq", 0, "", ""},
	} {
		u.check(t, tt)
	}
	for _, file := range []string{"f", "f2"} {
		info, err := os.Stat(filepath.Join(u.home, file))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != u.uid {
			t.Errorf("the copy %s: %v, %v", file, info, err)
		}
	}
	u.wantNothing(t)
}

// wantNothing checks that nothing is left of the user's containers.
func (u *ordinary) wantNothing(t *testing.T) {
	t.Helper()
	for _, dir := range []string{u.home + "/.local/share/minirun/containers", fmt.Sprintf("/tmp/minirun-%d", u.uid)} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != ".files" && e.Name() != ".root" {
				t.Errorf("left: %s/%s", dir, e.Name())
			}
		}
	}
}

// starts checks that many starts, one after another and eight at a time, all succeed and
// leave nothing behind.
func (u *ordinary) starts(t *testing.T) {
	count := 16
	if text := os.Getenv("MINIRUN_TEST_STARTS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, atOnce := range []int{1, 8} {
		var workers errgroup.Group
		workers.SetLimit(atOnce)
		for range count / 2 {
			workers.Go(func() error {
				if out, err := u.run("debian", "true").CombinedOutput(); err != nil || len(out) > 0 {
					return fmt.Errorf("a start of %d at once: %w: %s", atOnce, err, out)
				}
				return nil
			})
		}
		if err := workers.Wait(); err != nil {
			t.Error(err)
		}
		u.wantNothing(t)
	}
	eventually(t, "no process of the user's is left", func() bool { return exec.Command("pgrep", "-U", u.name).Run() != nil })
}

// doctorSays checks what a check of doctor's says to the user.
func (u *ordinary) doctorSays(t *testing.T, check, status, text string) {
	t.Helper()
	out, _ := u.run("doctor").Output() // something else may be missing
	line := regexp.MustCompile("(?m)^" + status + " +" + check + " +" + regexp.QuoteMeta(text))
	if !line.Match(out) {
		t.Errorf("doctor says no %q:\n%s", line, out)
	}
}

// limits checks that limits hold where the user's systemd gives a cgroup, and are refused
// elsewhere.
func (u *ordinary) limits(t *testing.T) {
	if !exists("/sys/fs/cgroup/cgroup.controllers") {
		u.check(t, asUser{"--memory 64m debian true", 125, "", "minirun: --memory 64m: without root there are no limits on cgroup v1\nhint: boot with systemd.unified_cgroup_hierarchy=1, or run it with sudo\n"})
		u.doctorSays(t, "limits", "warning", "none: without root there are no limits on cgroup v1")
		return
	}
	u.check(t, asUser{"--pids-limit 20 debian true", 125, "", "minirun: --pids-limit 20: no systemd of yours runs (XDG_RUNTIME_DIR is not set)\nhint: log in anew (ssh, machinectl shell " + u.name + "@)"})
	u.doctorSays(t, "limits", "warning", "none: no systemd of yours runs (XDG_RUNTIME_DIR is not set)")
	testenv.Need(t, "systemd", exists("/run/systemd/system"))
	manager := fmt.Sprintf("user@%d.service", u.uid)
	run(t, exec.Command("systemctl", "start", manager))
	t.Cleanup(func() { run(t, exec.Command("systemctl", "stop", manager)) })
	u.env = []string{fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", u.uid)}
	defer func() { u.env = nil }()
	u.doctorSays(t, "limits", "ok", "")
	scopes := func() []string {
		found, err := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/user.slice/user-%d.slice/%s/*/minirun-*", u.uid, manager))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for _, by := range []string{"", "--init-by libcontainer "} {
		u.check(t, asUser{
			by + "--memory 32m --pids-limit 20 --cpus 0.5 debian -- cd /sys/fs/cgroup; cat memory.max memory.swap.max pids.max cpu.max; cut -d: -f3 /proc/self/cgroup; touch x", 1,
			"33554432 33554432 20 50000 100000 /", "Read-only file system",
		})
	}
	u.check(t, asUser{"--memory 32m debian perl -e $x='x'x100000000", 137, "", ""})
	eventually(t, "no scope is left", func() bool { return len(scopes()) == 0 })
	cmd, init := u.launch(t, "--pids-limit", "20", "debian", "sh", "-c", "echo ready; exec sleep 1000")
	if found := scopes(); len(found) != 1 {
		t.Errorf("a container with a limit has the scopes %q, want one", found)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "PID 1 dies with its launcher", func() bool { return gone(init) })
	eventually(t, "no scope is left after SIGKILL", func() bool { return len(scopes()) == 0 })
	u.check(t, asUser{"debian true", 0, "", ""})
	cmd, _ = u.launch(t, "debian", "sh", "-c", "echo ready; exec sleep 1000")
	if found := scopes(); len(found) != 0 {
		t.Errorf("a container without limits has the scopes %q", found)
	}
	_ = cmd.Process.Kill()
}

// A user without subordinate IDs has containers with one user. The image is a directory
// of the user's.
func TestRootlessOneID(t *testing.T) {
	u := ordinaryUser(t, "minirun-one", false)
	root := filepath.Join(u.home, "root")
	layers, err := filepath.Glob(testBed.root + "/layers/sha256/*/usr/bin/tty")
	if err != nil || len(layers) == 0 {
		t.Fatal("the store has no layer of debian", err)
	}
	run(t, exec.Command("cp", "-a", filepath.Join(layers[0], "../../.."), root))
	run(t, exec.Command("chown", "-R", u.name+":0", root))
	image := "dir:" + root
	u.check(t, asUser{"--quiet " + image + " true", 125, "", "belongs to a user or a group that you do not have"})
	run(t, exec.Command("chown", "-R", u.name+":", root))
	both := []asUser{
		{image + " cat /proc/self/uid_map /proc/self/setgroups", 0, fmt.Sprintf("0 %d 1 deny", u.uid), ""},
		{image + " -- grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; stat -c %u:%g /dev/pts", 0, "NoNewPrivs: 0 Seccomp: 2 0:0", ""},
	}
	for _, tt := range both {
		u.check(t, tt)
		tt.args = "--init-by libcontainer " + tt.args
		u.check(t, tt)
	}
	for _, tt := range []asUser{
		{"--user 33 " + image + " id", 125, "", "minirun: user \"33\": there is one user here, 0\nhint: see 'minirun doctor', user ids\n"},
		{"--group-add 44 " + image + " id", 125, "", "minirun: --group-add 44: there is one group here, 0\n"},
		{"doctor", 0, "*", ""},
		{"bootstrap debian", 125, "", "there is one user here, 0"},
	} {
		u.check(t, tt)
	}
	pty := openTerminal(t, u.run("-it", image, "tty"))
	pty.wait("/dev/pts/0")

	// Layers lose their owners, and are kept apart from those that have them.
	run(t, exec.Command("sh", "-c", "cd "+u.home+" && touch f && chown 7:8 f && tar -cf f.tar f"))
	u.check(t, asUser{"--root other import f.tar small", 0, "*", "the container has one user, 0\nhint: sudo usermod --add-subuids "})
	u.check(t, asUser{"import f.tar small", 0, "*", "unpacked"})
	if found, err := filepath.Glob(u.home + "/.local/share/minirun/one-id/layers/sha256/*/f"); err != nil || len(found) != 1 {
		t.Errorf("the layer's file is at %q (%v)", found, err)
	}
	if out, err := u.run("__complete", "--", "rmi", "sm").Output(); err != nil || !strings.HasPrefix(string(out), "small") {
		t.Errorf("completion offers %q, %v; want the image", out, err)
	}
}
