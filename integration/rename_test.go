package integration

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A container that runs gets another name, whatever its launcher is. Another container can have
// the old one at once, and all verbs, its launcher and its log go on with the new one.
func TestRenameRunning(t *testing.T) {
	for kind, flags := range map[string][]string{
		"in C":                {"--rm"},
		"in C and kept":       {"--rm=false"},
		"in Go":               {"--rm", "--init", "--explain"},
		"in Go and kept":      {"--rm=false", "--explain"},
		"its own users":       {"--rm=false", "--userns", "auto"},
		"in the background":   {"-d", "--rm"},
		"in Go in background": {"-d", "--explain"},
		"a log that rotates":  {"-d", "--log-opt", "max-size=1k", "--log-opt", "max-file=2"},
	} {
		t.Run(kind, func(t *testing.T) { renameRunning(t, flags) })
	}
}

func renameRunning(t *testing.T, flags []string) {
	name, behind := containerName(t), flags[0] == "-d"
	other, renamed := name+"-other", name+"-renamed"
	keeps := flags[0] == "--rm=false" || behind && flags[1] != "--rm"
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", name, other, renamed).Run() })
	command := []string{"sh", "-c", "trap 'echo end; exit 7' TERM; echo begin; until test -e /go; do sleep 0.05; done; seq 1000; while :; do sleep 0.05; done"}
	launcher := minirun(t, append(append(append([]string{"--name", name}, flags...), "debian"), command...)...)
	if err := launcher.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = launcher.Process.Kill(), launcher.Wait() }()
	eventually(t, "it runs", func() bool { return minirun(t, "exec", name, "true").Run() == nil })

	follow := minirun(t, "logs", "-f", name)
	followed, err := follow.StdoutPipe()
	if err == nil && behind {
		err = follow.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if behind {
		if _, err := io.ReadFull(followed, make([]byte, len("begin\n"))); err != nil {
			t.Fatal(err)
		}
	}
	says(t, 0, "", "", "rename", name, renamed)
	says(t, 1, "", "no such container", "exec", name, "true")
	says(t, 0, "\n", "", "-d", "--name", name, "debian", "sleep", "1000")
	says(t, 1, "", "already in use", "rename", renamed, name)
	says(t, 0, "", "", "exec", renamed, "touch", "/go")
	says(t, 0, renamed+"\n", "", "pause", renamed)
	says(t, 0, "", "", "rename", renamed, other)
	says(t, 0, other+"\n", "", "unpause", other)
	if behind {
		eventually(t, "the log has all", func() bool {
			out, _ := minirun(t, "logs", "--tail", "1", other).Output()
			return string(out) == "1000\n"
		})
	}
	says(t, 0, other+"\n", "", "stop", other)
	if status := launcher.Wait(); !behind && launcher.ProcessState.ExitCode() != 7 {
		t.Errorf("the launcher: %v", status)
	}
	if behind {
		text, _ := io.ReadAll(followed)
		if err := follow.Wait(); err != nil || !strings.HasSuffix(string(text), "\n1000\nend\n") {
			t.Errorf("logs -f: %v, %q", err, text)
		}
	}
	if keeps {
		says(t, 0, "/"+other+" exited 7\n", "", "inspect", "-f", "{{.Name}} {{.State.Status}} {{.State.ExitCode}}", other)
		says(t, 0, other+"\n", "", "start", other)
		says(t, 0, "", "", "rename", other, renamed)
		says(t, 0, renamed+"\n", "", "stop", renamed)
		says(t, 0, renamed+"\n", "", "rm", renamed)
	}
	says(t, 0, "running\n", "", "inspect", "-f", "{{.State.Status}}", name)
	says(t, 0, name+"\n", "", "rm", "-f", name)
	wantNothingOf(t, name) // and so nothing of the others, which start with it
}

// The launcher of a container that has got another name is killed.
func TestRenameKilledLauncher(t *testing.T) {
	for kind, flags := range map[string][]string{"goes": {"--rm"}, "stays": {"-d"}} {
		t.Run(kind, func(t *testing.T) {
			name := containerName(t)
			renamed := name + "-renamed"
			t.Cleanup(func() { _ = minirun(t, "rm", "-f", name, renamed).Run() })
			cmd := minirun(t, append(append([]string{"--name", name}, flags...), "debian", "sleep", "1000")...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
			eventually(t, "it runs", func() bool { return minirun(t, "exec", name, "true").Run() == nil })
			says(t, 0, "", "", "rename", name, renamed)
			init := strings.TrimSpace(says(t, 0, "\n", "", "inspect", "-f", "{{.State.Pid}}", renamed))
			_, rest, _ := strings.Cut(readFile(t, filepath.Join("/proc", init, "status")), "\nPPid:\t")
			pid, _, _ := strings.Cut(rest, "\n")
			launcher, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(launcher, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			says(t, 0, "137\n", "its launcher was killed", "wait", renamed)
			if kind == "stays" {
				says(t, 0, "exited 137\n", "", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", renamed)
				says(t, 0, renamed+"\n", "", "rm", renamed)
			}
			says(t, 0, "", "", "--name", renamed, "debian", "true")
			wantNothingOf(t, name)
		})
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
