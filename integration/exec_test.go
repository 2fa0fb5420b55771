package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// A command gets no descriptor of the host, and no signal that minirun's caller ignores
// or blocks.
func TestExecClean(t *testing.T) {
	// By the shell alone: as PID 1 it would have descriptors of a pipe or a redirection.
	const script = `n=0; while [ $n -lt 256 ]; do [ -L /proc/1/fd/$n ] && printf "$n "; n=$((n+1)); done; grep -E "^Sig(Pnd|Blk|Ign)" /proc/self/status`
	const want = "0 1 2 " +
		"SigPnd:\t0000000000000000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
	for _, flags := range [][]string{nil, {"-i"}, {"-t"}, {"--init"}, {"--user", "nobody"}} {
		cmd := minirun(t, append(flags, "debian", "sh", "-c", script)...)
		cmd.Path, cmd.Args = "/usr/bin/env", append([]string{"env", "--ignore-signal=HUP,USR1,PIPE,RTMIN+3", "--block-signal=USR2,TERM,RTMAX"}, cmd.Args...)
		out, err := cmd.CombinedOutput()
		if got := strings.ReplaceAll(string(out), "\r", ""); err != nil || got != want {
			t.Errorf("%v: %v: %q, want %q", flags, err, got, want)
		}
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
