package integration

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What the processes of a launch have open, since a pipe that one of them holds has its reader
// wait.

// allFiles returns what a process has open, by number.
func allFiles(t *testing.T, pid int) (files []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd/", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		to, _ := os.Readlink(dir + e.Name()) // it may have been closed
		files = append(files, to)
	}
	return files
}

// A guard has two descriptors: of the launcher and of PID 1.
func TestGuardFiles(t *testing.T) {
	want := []string{"anon_inode:[pidfd]", "anon_inode:[pidfd]"}
	check := func(what string, launcher int) {
		t.Helper()
		var got []string
		guard := guardOf(t, launcher)
		defer func() {
			if t.Failed() {
				t.Logf("%s: the guard has %q", what, got)
			}
		}()
		eventually(t, "the guard has closed the rest", func() bool {
			got = allFiles(t, guard)
			return slices.Equal(got, want)
		})
	}
	for _, flags := range []string{"", "-i", "-t", "--init", "--init-by libcontainer", "-p 127.0.0.1::80"} {
		c := launch(t, strings.Fields(flags), "sh", "-c", "echo ready; exec sleep 1000")
		check(flags, c.Process.Pid)
		_ = c.Process.Kill()
		_ = c.Wait()
		if err := minirun(t, "rm", "-f", c.name).Run(); err != nil {
			t.Error(err)
		}
	}
	for _, flags := range []string{"", "-i", "-t", "--init-by libcontainer"} {
		name := containerName(t)
		detach(t, name, append(strings.Fields(flags), "debian", "sleep", "1000")...)
		check("-d "+flags, supervisorOf(t, name))
		says(t, 0, name, "", "rm", "-f", name)
	}
}

// The child that warns of ^C has standard error and what it reads, also while nobody reads that,
// and does not keep a launcher from ending.
func TestSpeakerFiles(t *testing.T) {
	name := containerName(t)
	cmd := minirun(t, "-i", "--name", name, "debian", "sh", "-c", "trap : USR1; head -c 200000 /dev/zero >&2 & exec perl -e 'sleep 1 while 1'")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, w, err := os.Pipe() // nobody reads it
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	launcher := cmd.Process.Pid
	eventually(t, "standard error is full", func() bool {
		n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		return err == nil && n >= 64<<10
	})
	becomes(t, pid1(t, launcher), "perl")
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	speaker := serverOf(t, launcher) // a child that is neither PID 1 nor the guard
	var got []string
	eventually(t, "the speaker has been started", func() bool {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", speaker))
		got = allFiles(t, speaker)
		for i, file := range got {
			got[i], _, _ = strings.Cut(file, ":[")
		}
		slices.Sort(got)
		return string(comm) == "exe\n"
	})
	if want := []string{os.DevNull, os.DevNull, "/memfd:minirun-wait (deleted)", "pipe"}; !slices.Equal(got, want) {
		t.Errorf("the speaker has %q, want %q", got, want)
	}
	if err := unix.Kill(pid1(t, launcher), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the launcher ends", func() bool {
		_ = cmd.Process.Signal(unix.SIGTERM)
		return zombie(launcher)
	})
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 143 && cmd.ProcessState.ExitCode() != 137 {
		t.Error(err)
	}
	wantNothingOf(t, name)
}

// A container in the background holds no file that its user's process was given.
func TestGivenFiles(t *testing.T) {
	for flags, verb := range map[string][]string{"": nil, "-t": nil, "--init-by libcontainer": nil, "exec": {"exec", "-d"}} {
		name := containerName(t)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		env, err := os.CreateTemp(t.TempDir(), "env")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := env.WriteString("A=given\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := env.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"run", "-d", "--name", name, "--env-file", "/dev/fd/4"}, strings.Fields(flags)...)
		if verb != nil {
			detach(t, name, "debian", "sleep", "1000")
			args = append(verb, "--env-file", "/dev/fd/4", name)
		} else {
			t.Cleanup(func() { _ = minirun(t, "rm", "-f", name).Run() })
			args = append(args, "debian")
		}
		cmd := minirun(t, append(args, "sh", "-c", `echo $A > /given; sleep 1000`)...)
		cmd.ExtraFiles = []*os.File{w, env}
		run(t, cmd)
		w.Close()
		env.Close()
		if _, err := r.Read(make([]byte, 1)); err != io.EOF { // or it waits
			t.Error(err)
		}
		r.Close()
		eventually(t, "the command has read the environment", func() bool {
			out, _ := minirun(t, "exec", name, "cat", "/given").Output()
			return string(out) == "given\n"
		})
		says(t, 0, name, "", "rm", "-f", name)
	}
}

// A user's launcher cannot open another user's pipe again. It does not block all the same where
// nobody reads that.
func TestUnreadPipeOfAnother(t *testing.T) {
	u := ordinaryUser(t, "minirun-reader", true)
	u.load(t)
	cmd, _ := u.launch(t, "debian", "sh", "-c", "echo ready; "+fillsOutput)
	pipe, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", cmd.Process.Pid), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	wantEndUnread(t, cmd, pipe)
}

const fillsOutput = "trap 'exit 3' TERM; head -c 300000 /dev/zero & while :; do sleep 0.01; done"

// wantEndUnread ends a launch of fillsOutput whose output nobody reads, and expects the command's status.
func wantEndUnread(t *testing.T, cmd *exec.Cmd, output *os.File) {
	t.Helper()
	eventually(t, "the pipe is full", func() bool {
		n, err := unix.IoctlGetInt(int(output.Fd()), unix.TIOCINQ)
		return err == nil && n > 60<<10
	})
	eventually(t, "the launcher ends", func() bool {
		_ = cmd.Process.Signal(unix.SIGTERM)
		return zombie(cmd.Process.Pid)
	})
	wantStatus(t, cmd, 3)
}

// The status is the command's also where nobody reads what is said about its output, and so where
// the process that says it is killed.
func TestUnreadOutputAndErrors(t *testing.T) {
	output, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	errs, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	fd := int(stderr.Fd())
	for err = unix.SetNonblock(fd, true); err == nil; { // until it is full
		_, err = unix.Write(fd, make([]byte, 1))
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	cmd := minirun(t, "debian", "sh", "-c", fillsOutput)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdout.Close()
	stderr.Close()
	wantEndUnread(t, cmd, output)
}
