package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/minirun/minirun/internal/testenv"
)

// ordinary is an ordinary user of this machine, made for a test.
type ordinary struct {
	name     string
	uid, gid uint32
	home     string
	minirun  string // a copy of the program that the user can reach
	first    string // the first subordinate ID, or ""
	env      []string
}

// ordinaryUser makes a user, with subordinate IDs or without. The user goes with the test.
func ordinaryUser(t *testing.T, name string, subordinate bool) *ordinary {
	t.Helper()
	testenv.Root(t)
	testenv.Program(t, "useradd")
	testenv.Program(t, "newuidmap")
	if _, err := user.Lookup(name); err == nil { // of a run that was killed
		run(t, exec.Command("userdel", "--force", "--remove", name))
	}
	run(t, exec.Command("useradd", "--create-home", "--shell", "/bin/sh", name))
	t.Cleanup(func() {
		eventually(t, "no process of "+name+" is left", func() bool { return exec.Command("pgrep", "-U", name).Run() != nil })
		run(t, exec.Command("userdel", "--remove", name))
	})
	entry, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(entry.Uid)
	gid, _ := strconv.Atoi(entry.Gid)
	u := &ordinary{name: name, uid: uint32(uid), gid: uint32(gid), home: entry.HomeDir, minirun: filepath.Join(entry.HomeDir, "bin", "minirun")}
	first, count := rangeOf(t, name)
	u.first = first
	if !subordinate {
		last, _ := strconv.Atoi(first)
		ids := fmt.Sprintf("%s-%d", first, last+count-1)
		run(t, exec.Command("usermod", "--del-subuids", ids, "--del-subgids", ids, name))
		u.first = ""
	}
	if err := os.Mkdir(filepath.Dir(u.minirun), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("cp", testBed.minirun, u.minirun))
	t.Cleanup(func() { _ = os.RemoveAll("/tmp/minirun-" + entry.Uid) }) // the run root
	return u
}

func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
}

// runtimeDir is where the user's systemd has its sockets.
func (u *ordinary) runtimeDir() string { return fmt.Sprint("/run/user/", u.uid) }

// rangeOf returns what useradd has put into /etc/subuid.
func rangeOf(t *testing.T, name string) (first string, count int) {
	t.Helper()
	data, err := os.ReadFile("/etc/subuid")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			first, length, _ := strings.Cut(rest, ":")
			if count, err = strconv.Atoi(length); err == nil {
				return first, count
			}
		}
	}
	t.Fatalf("useradd has given %s no subordinate IDs", name)
	return "", 0
}

// command prepares a program of the user's.
func (u *ordinary) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = u.home
	cmd.Env = []string{"HOME=" + u.home, "USER=" + u.name, "PATH=" + filepath.Dir(u.minirun) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Env = append(cmd.Env, "MINIRUN_NETWORK=none") // this machine may have no /dev/net/tun for users: see TestNetworkAsUser
	cmd.Env = append(cmd.Env, u.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.uid, Gid: u.gid}}
	return cmd
}

func (u *ordinary) run(args ...string) *exec.Cmd { return u.command(u.minirun, args...) }

// load gives the user the image debian.
func (u *ordinary) load(t *testing.T) {
	t.Helper()
	save, load := exec.Command(testBed.minirun, "save", "debian"), u.run("load", "--quiet")
	var said bytes.Buffer
	load.Stderr = &said
	tar, err := save.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	load.Stdin = tar
	if err := save.Start(); err != nil {
		t.Fatal(err)
	}
	if err := load.Run(); err != nil {
		t.Fatalf("load: %v\n%s", err, &said)
	}
	if err := save.Wait(); err != nil {
		t.Fatal(err)
	}
	if said.Len() > 0 && !strings.Contains(said.String(), "unpacked") {
		t.Errorf("load warned: %q", &said)
	}
}

// launch starts a container of the user's, whose command says "ready".
func (u *ordinary) launch(t *testing.T, args ...string) (cmd *exec.Cmd, init int) {
	t.Helper()
	cmd = u.run(args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	said := make([]byte, len("ready"))
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "ready" {
		t.Fatalf("the command said %q (%v)", said, err)
	}
	return cmd, pid1(t, cmd.Process.Pid)
}

// asUser is a launch, and what it must give.
type asUser struct {
	args   string // after minirun; words are separated by spaces, the last one after " -- " is one
	status int
	out    string // what standard output is, without white space at its ends; "*" is anything
	err    string // a part of standard error; "" is that nothing is there, "*" is anything
}

func (u *ordinary) check(t *testing.T, tt asUser) {
	t.Helper()
	front, script, shell := strings.Cut(tt.args, " -- ")
	args := strings.Fields(front)
	if shell {
		args = append(args, "sh", "-c", script)
	}
	var out, said bytes.Buffer
	cmd := u.run(args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != tt.status {
		t.Errorf("%s: exit status %d, want %d\n%s", tt.args, got, tt.status, &said)
	}
	if got := strings.Join(strings.Fields(out.String()), " "); tt.out != "*" && got != tt.out {
		t.Errorf("%s: standard output is %q, want %q\n%s", tt.args, got, tt.out, &said)
	}
	if tt.err != "*" && !strings.Contains(said.String(), tt.err) || tt.err == "" && said.Len() > 0 {
		t.Errorf("%s: standard error is %q, want %q", tt.args, &said, tt.err)
	}
}
