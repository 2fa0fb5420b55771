package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A command that the kernel does not run, which shows only at its execve under the
// filter, ends with one line, a hint from its file, and the status that a shell gives.
func TestExecFails(t *testing.T) {
	foreign := bytes.Clone(exitProgram)
	binary.LittleEndian.PutUint16(foreign[18:], 0xfff) // e_machine: no such
	loaderless, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	loaderless = bytes.Replace(loaderless, []byte("/ld-linux-"), []byte("/ld-muslx-"), 1)
	dir := t.TempDir()
	tests := map[string]struct {
		content string
		mode    os.FileMode
		status  int
		want    string // after the start of the line
	}{
		"crlf":        {"#!/bin/sh\r\necho hi\r\n", 0o755, 127, "no such file or directory\nhint: the interpreter /bin/sh^M does not exist: the file has CRLF line ends\n"},
		"gone":        {"#!/no/such -x\n", 0o755, 127, "no such file or directory\nhint: the interpreter /no/such does not exist in the container\n"},
		"relative":    {"#! sh\n", 0o755, 127, "no such file or directory\nhint: its interpreter sh is not an absolute path\n"},
		"nameless":    {"#!\n", 0o755, 126, "exec format error\nhint: its first line, #!, names no interpreter\n"},
		"directory":   {"#!/etc\n", 0o755, 126, "permission denied\nhint: the interpreter /etc may not be executed\n"},
		"text":        {"echo hi\n", 0o755, 126, "exec format error\nhint: a script begins with a line that names its interpreter, such as #!/bin/sh; or run it as: sh FILE\n"},
		"empty":       {"", 0o755, 126, "exec format error\nhint: the file is empty\n"},
		"zeroes":      {"\x00\x00\x00\x00", 0o755, 126, "exec format error\nhint: the file is neither a program of this machine nor a script\n"},
		"foreign":     {string(foreign), 0o755, 126, "exec format error\nhint: it is a program for ELF machine 4095, and this machine is amd64\n"},
		"for-foreign": {"#!/x/foreign\n", 0o755, 126, "exec format error\nhint: of its interpreter /x/foreign: it is a program for ELF machine 4095, and this machine is amd64\n"},
		"itself":      {"#!/x/itself\n", 0o755, 126, "too many levels of symbolic links\n"},
		"loaderless":  {string(loaderless), 0o755, 127, "no such file or directory\nhint: its loader /lib64/ld-muslx-x86-64.so.2 does not exist in the container: it was built for another C library, or for another machine\n"},
		"forbidden":   {"#!/bin/sh\n", 0o644, 126, "permission denied\n"},
	}
	for name, test := range tests {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(test.content), test.mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			requires(t, amd64)
			for _, command := range []string{"/x/" + name, "./" + name} {
				cmd := minirun(t, "-v", dir+":/x", "-w", "/x", "debian", command)
				out, _ := cmd.CombinedOutput()
				if status, want := cmd.ProcessState.ExitCode(), "minirun: run "+command+": "+test.want; status != test.status || string(out) != want {
					t.Errorf("status %d, %q\nwant %d, %q", status, out, test.status, want)
				}
			}
		})
	}
}

// The hint does not wait for a file that is not regular, and does not follow a link out
// of the container.
func TestExecFailsHostile(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"fifo": "#!/x/pipe\n", "link": "#!/x/out\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := exec.Command("mkfifo", "-m", "755", filepath.Join(dir, "pipe")).Run(); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("#!/secret\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"fifo": "minirun: run /x/fifo: permission denied\nhint: the interpreter /x/pipe may not be executed\n",
		"link": "minirun: run /x/link: no such file or directory\nhint: the interpreter /x/out does not exist in the container\n",
	} {
		begin := time.Now()
		out, _ := minirun(t, "-v", dir+":/x", "debian", "/x/"+name).CombinedOutput()
		if string(out) != want || time.Since(begin) > 10*time.Second {
			t.Errorf("%q after %v, want %q", out, time.Since(begin), want)
		}
	}
}

// cleanScript prints what a command has been given, by the shell alone: it would have descriptors
// of a pipe or a redirection.
const cleanScript = `n=0; while [ $n -lt 256 ]; do [ -L /proc/$$/fd/$n ] && printf "$n "; n=$((n+1)); done; grep -E "^Sig(Pnd|Blk|Ign)" /proc/self/status`

// wantClean runs minirun, for a command that is cleanScript, by a caller that ignores and blocks signals.
// The test fails unless the command has the three standard files only, and ignores and blocks none.
func wantClean(t *testing.T, what string, cmd *exec.Cmd) {
	t.Helper()
	const want = "0 1 2 " +
		"SigPnd:\t0000000000000000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
	cmd.Path, cmd.Args = "/usr/bin/env", append([]string{"env", "--ignore-signal=HUP,USR1,PIPE,RTMIN+3", "--block-signal=USR2,TERM,RTMAX"}, cmd.Args...)
	out, err := cmd.CombinedOutput()
	if got := strings.ReplaceAll(string(out), "\r", ""); err != nil || got != want {
		t.Errorf("%s: %v: %q, want %q", what, err, got, want)
	}
}

// A command gets no descriptor of the host, and no signal that minirun's caller ignores
// or blocks. Nor does that of a launch that is kept, and that of exec.
func TestExecClean(t *testing.T) {
	for _, flags := range []string{"", "-i", "-t", "--init", "--user nobody", "--init-by libcontainer", "--explain", "--userns auto"} {
		wantClean(t, flags, minirun(t, append(strings.Fields(flags), "debian", "sh", "-c", cleanScript)...))
	}
	name := containerName(t)
	detach(t, name, "debian", "sleep", "1000")
	for _, flags := range []string{"", "-i", "-t", "--user nobody", "--privileged"} {
		wantClean(t, "exec "+flags, minirun(t, slices.Concat([]string{"exec"}, strings.Fields(flags), []string{name, "sh", "-c", cleanScript})...))
	}
	says(t, 0, name, "", "rm", "-f", name)
	kept := newKept(t, "sh", "-c", cleanScript)
	for _, flags := range []string{"--network none", "--network none -i", "--dns 192.0.2.8"} {
		kept.flags = strings.Fields(flags)
		kept.keep(0)
		wantClean(t, "kept "+flags, kept.cmd()) // which prints what Go initializes, if that is started
	}
}

// A working directory through a descriptor of init is not one of the host
// (CVE-2024-21626).
func TestExecDirectory(t *testing.T) {
	for fd := 3; fd < 16; fd++ {
		dir := fmt.Sprintf("/proc/self/fd/%d", fd)
		cmd := minirun(t, "-w", dir, "debian", "ls", "-la", ".")
		if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != 125 {
			t.Errorf("%s: %v: %s", dir, err, out)
		}
	}
}
