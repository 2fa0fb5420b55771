package cli

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// typed are command lines, and what a TAB at their end turns them into.
var typed = [...]struct{ line, want string }{
	{"minirun --cap-add CAP_SYS_AD", "minirun --cap-add CAP_SYS_ADMIN"},
	{"minirun --cap-add SYS_AD", "minirun --cap-add SYS_ADMIN"},
	{"minirun --cap-drop=sys_ad", "minirun --cap-drop=sys_admin"},
	{"minirun --ulimit nofi", "minirun --ulimit nofile="},
	{"minirun --user roo", "minirun --user root"},
	{"minirun --user root:roo", "minirun --user root:root"},
	{"minirun --platform linux/amd", "minirun --platform linux/amd64"},
	{"minirun --mount type=b", "minirun --mount type=bind"},
	{"minirun --mount type=bind,source=./prof", "minirun --mount type=bind,source=./profile.json"},
	{"minirun --mount=type=bind,reado", "minirun --mount=type=bind,readonly"},
	{"minirun -v ./root:./prof", "minirun -v ./root:./profile.json"},
	{"minirun -v ./root:/mnt:rsl", "minirun -v ./root:/mnt:rslave"},
	{"minirun --seccomp ./prof", "minirun --seccomp ./profile.json"},
	{"minirun --security-opt seccomp=./prof", "minirun --security-opt seccomp=./profile.json"},
	{"minirun --seccomp-deny=ptrace,@mou", "minirun --seccomp-deny=ptrace,@mount"},
	{"minirun seccomp edit --gate CAP_AUDIT_CONTROL=@chow", "minirun seccomp edit --gate CAP_AUDIT_CONTROL=@chown"},
	{"minirun seccomp diff --all-c", "minirun seccomp diff --all-caps"},
	{"minirun bootstrap debian:tr", "minirun bootstrap debian:trixie"},
	{"minirun oc", "minirun oci"}, // oci: and oci-archive:
	{"minirun dir:./ro", "minirun dir:./root/"},
	{`minirun dir:./a\ b`, `minirun dir:./a\ blank/`},
	{`minirun -v ./a\ b`, `minirun -v ./a\ blank/`},
	{`minirun dir:./a\ blank onlyh`, `minirun dir:./a\ blank onlyhere`},
	{"minirun help seccomp expl", "minirun help seccomp explain"},
	{"minirun dir:./root onlyh", "minirun dir:./root onlyhere"},
	{"minirun --restart no dir:./root /opt/on", "minirun --restart no dir:./root /opt/one/"},
	{"minirun dir:./root ls opt/one/tw", "minirun dir:./root ls opt/one/two"},
}

// The completion scripts work in real shells at a terminal.
func TestShells(t *testing.T) {
	for shell, rc := range map[string]string{
		"bash": `PS1=
source <(minirun completion bash)
report() { printf '%s\n' "$READLINE_LINE" >>"$OUT"; READLINE_LINE=; }
bind -x '"\C-t": report'
`,
		"zsh": `PS1= PROMPT_EOL_MARK=
autoload -Uz compinit && compinit -u -D
source <(minirun completion zsh)
report() { print -r -- "$BUFFER" >>"$OUT"; BUFFER=; }
zle -N report
bindkey '^T' report
bindkey '^I' complete-word
`,
		"fish": `function fish_prompt; end
function fish_greeting; end
minirun completion fish | source
bind \ct 'commandline >>$OUT; commandline ""'
`,
	} {
		t.Run(shell, func(t *testing.T) {
			program := testenv.Program(t, shell)
			dir := shellDir(t, rc)
			var keys strings.Builder
			for _, test := range typed {
				keys.WriteString(test.line + "\t\x14") // ^T
			}
			keys.WriteString("exit\r")
			args := map[string][]string{"bash": {"--noprofile", "--rcfile", "rc", "-i"}, "zsh": {"-i"}, "fish": {"-i"}}[shell]
			command := exec.Command(program, args...)
			command.Dir = dir
			command.Env = append(os.Environ(), "OUT="+dir+"/out", "HOME="+dir, "ZDOTDIR="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "TERM=xterm", "MINIRUN_ROOT="+dir+"/store")
			screen := atTerminal(t, command, keys.String())
			out, err := os.ReadFile(filepath.Join(dir, "out"))
			if err != nil {
				t.Fatalf("%v\n%q", err, screen)
			}
			got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			if len(got) != len(typed) {
				t.Fatalf("%d lines for %d: %q\n%q", len(got), len(typed), got, screen)
			}
			for i, test := range typed {
				if strings.TrimSuffix(got[i], " ") != test.want {
					t.Errorf("%q becomes %q, want %q", test.line, got[i], test.want)
				}
			}
		})
	}
}

// shellDir is a home directory with files to complete, and with rc where each
// shell looks for it.
func shellDir(t *testing.T, rc string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"rc": rc, ".zshrc": rc, "fish/config.fish": rc, "profile.json": "{}",
		"a blank/usr/bin/onlyhere": "", "root/usr/bin/onlyhere": "", "root/opt/one/two": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// atTerminal runs a command at a new terminal, types keys, waits for its end and returns what
// it has printed.
func atTerminal(t *testing.T, command *exec.Cmd, keys string) string {
	t.Helper()
	master, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Resize(console.WinSize{Height: 50, Width: 300}); err != nil {
		t.Fatal(err)
	}
	command.Stdin, command.Stdout, command.Stderr = slave, slave, slave
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var screen bytes.Buffer
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(&screen, master) // ends with EIO once nobody holds the terminal
		close(read)
	}()
	if _, err := io.WriteString(master, keys); err != nil {
		t.Error(err)
	}
	err = command.Wait()
	<-read
	master.Close()
	if err != nil {
		t.Fatalf("%v\n%q", err, screen.String())
	}
	return screen.String()
}
