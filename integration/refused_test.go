package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// Each call that the kernel refuses is reported with the capability that it asked for, and
// none is reported twice, by the filter and by the kernel.
func TestExplainKernel(t *testing.T) {
	needTracing(t)
	lines, stderr, status := reported(t, withDenials(t, "--seccomp", "unconfined")...)
	if status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
	for _, want := range ofKernel() {
		if !slices.ContainsFunc(lines, func(r reportLine) bool {
			capabilities := strings.Join(r.Capabilities, " ")
			older := want.call == "syslog" && capabilities == "CAP_SYS_ADMIN CAP_SYSLOG" // Linux 6.1 asks for either
			return r.By == "kernel" && refusal{r.Call, r.Comm, r.Errno, want.capabilities} == want && (capabilities == want.capabilities || older)
		}) {
			t.Errorf("%+v is not reported", want)
		}
	}
	for _, r := range lines {
		if r.Comm == "ls" || r.Call == "unshare" {
			t.Errorf("%s was not refused", r)
		}
		nested := r.Call == "umount2"
		if nested && !strings.Contains(r.Because, "in a user namespace of its own") {
			t.Errorf("%s: %s", r, r.Because)
		}
		if !nested && len(r.Changes) == 0 {
			t.Errorf("%s: nothing is said to help: %s", r, r.Because)
		}
		if nested && len(r.Changes) > 0 {
			t.Errorf("%s: no flag helps, but %q", r, r.Changes)
		}
	}
	wantOnce(t, lines)
	if i := slices.IndexFunc(lines, func(r reportLine) bool { return r.Call == "sendto" }); slices.ContainsFunc(lines[i+1:], func(r reportLine) bool { return r.Call == "sendto" }) {
		t.Error("a request that the kernel did is reported")
	}

	lines, _, _ = reported(t, withDenials(t)...)
	wantOnce(t, lines)
	for _, r := range lines {
		denied := slices.Contains([]string{"mount", "unshare", "sethostname", "clock_settime", "syslog"}, r.Call)
		if by := map[bool]string{true: "filter", false: "kernel"}[denied]; r.By != by {
			t.Errorf("%s: by %s, want %s", r, r.By, by)
		}
	}

	file := filepath.Join(t.TempDir(), "lines")
	l := launch(t, []string{"--explain-to", file}, "perl", "-e", `syscall(163, 0); $| = 1; print "ready"; sleep 600`)
	defer func() { _ = unix.Kill(l.pid1, unix.SIGKILL); _ = l.Wait() }()
	eventually(t, "where a process that goes on called from", func() bool {
		data, _ := os.ReadFile(file)
		return bytes.Contains(data, []byte(`"call":"acct"`)) && bytes.Contains(data, []byte(`/libc.so.6","by":"filter"`)) && bytes.Contains(data, []byte(`"exe":"/usr/bin/perl"`))
	})
}

// A report comes after the program's own message, which it may write in pieces.
func TestExplainAfterMessage(t *testing.T) {
	needTracing(t)
	const script = `syswrite STDERR, "cannot "; chown 1, 1, "/tmp"; select undef, undef, undef, 0.02; syswrite STDERR, "chown: "; syswrite STDERR, "denied\n"; sleep 1`
	out, err := minirun(t, "--explain", "--cap-drop", "ALL", "debian", "perl", "-e", script).CombinedOutput()
	const message = "cannot chown: denied\nminirun: denied: "
	if err != nil || !strings.HasPrefix(string(out), message) {
		t.Errorf("%v, %q, want %q first", err, out, message)
	}
}

// With what a report says would allow a call, it is not reported again.
func TestExplainKernelRemedies(t *testing.T) {
	needTracing(t)
	lines, _, _ := reported(t, withDenials(t, "--seccomp", "unconfined")...)
	tried := map[string]bool{}
	for _, r := range lines {
		for _, change := range r.Changes {
			var flags []string
			for flag, value := range map[string]string{"--cap-add": `--cap-add (\w+)`, "--security-opt": `--security-opt (\S+)`, "--device-cgroup-rule": `--device-cgroup-rule '(.*)'`} {
				if found := regexp.MustCompile(value).FindStringSubmatch(change.How); found != nil {
					flags = append(flags, flag, found[1])
				}
			}
			key := fmt.Sprint(r.Call, r.Comm, flags)
			if len(flags) == 0 || tried[key] || strings.Contains(change.How, "run it as root") {
				continue
			}
			if slices.Contains(flags, "CAP_SYS_TIME") {
				continue // it would set this machine's clock
			}
			tried[key] = true
			again, stderr, _ := reported(t, withDenials(t, append(flags, "--seccomp", "unconfined")...)...)
			if strings.Contains(stderr, "cannot be given") {
				continue
			}
			for _, a := range again {
				if a.Call == r.Call && a.Comm == r.Comm && slices.Equal(a.Args, r.Args) {
					t.Errorf("with %q: %s is refused again: %s", flags, a, a.Because)
				}
			}
		}
	}
	if len(tried) < 4 {
		t.Errorf("tried only %v", tried)
	}
}

// What a report says word for word: the container lacks the capability, or only the
// process does, or it is no matter of capabilities.
func TestExplainKernelWords(t *testing.T) {
	needTracing(t)
	for name, test := range map[string]struct {
		args []string
		want string // with /- for the start of a line
		not  string
	}{
		"the container lacks it": {
			[]string{"--cap-drop", "ALL", "debian", "chown", "nobody", "/tmp"},
			`minirun: denied: fchownat(AT_FDCWD, "/tmp", 65534, -1, 0) by chown (PID 1): EPERM
  the filter allows it; the kernel asked for CAP_CHOWN, which the container does not have
  to allow it  --cap-add CAP_CHOWN
`, "",
		},
		"the process lacks it": {
			[]string{"--user", "nobody", "debian", "chown", "nobody", "/etc/passwd"},
			`minirun: denied: fchownat(AT_FDCWD, "/etc/passwd", 65534, -1, 0) by chown (PID 1): EPERM
  the filter allows it; the kernel asked for CAP_CHOWN, which the container has but this process (user 65534) does not
  to allow it  run it as root
`, "--cap-add",
		},
		"read-only root": {
			[]string{"--read-only", "debian", "touch", "/x"},
			"  the filter allows it; the root is read-only\n  to allow it  leave out --read-only\n", "CAP_",
		},
		"read-only path": {
			[]string{"debian", "sh", "-c", "echo 1 >/proc/sys/kernel/panic"},
			"  the filter allows it; /proc/sys is read-only in the container\n  to allow it  --security-opt systempaths=unconfined\n", "CAP_",
		},
		"read-only volume": {
			[]string{"-v", "/usr/share:/host:ro", "debian", "touch", "/host/x"},
			"  the filter allows it; the mount on /host is read-only\n  to allow it  mount /host without ro\n", "CAP_",
		},
		"masked path": {
			[]string{"debian", "touch", "/sys/firmware/x"},
			"  the filter allows it; /sys/firmware is masked in the container\n  to allow it  --security-opt systempaths=unconfined\n", "CAP_",
		},
		"device": {
			[]string{"debian", "sh", "-c", "mknod /tmp/z b 8 0; cat /tmp/z"},
			"  the filter allows it; /tmp/z is a device, which the container's device cgroup does not allow\n  to allow it  --device-cgroup-rule 'b 8:0 rwm'\n", "CAP_",
		},
		"device of a container that has ended": {
			[]string{"debian", "sh", "-c", "mknod /dev/z b 8 0; exec cat /dev/z"},
			"  the filter allows it; /dev/z is a device, which the container's device cgroup does not allow\n  to allow it  --device-cgroup-rule 'b 8:0 rwm'\n", "CAP_",
		},
		"device with a hostile name": {
			[]string{"debian", "sh", "-c", `x=$(printf '/tmp/\033]0;x\007'); mknod "$x" b 8 0; cat "$x"`},
			`  the filter allows it; /tmp/\x1b]0;x\a is a device, which`, "\x1b",
		},
		"noexec": {
			[]string{"--tmpfs", "/t", "debian", "sh", "-c", "cp /bin/true /t; /t/true"},
			"  the filter allows it; the file system of /t/true is mounted noexec\n  to allow it  mount /t with exec\n", "CAP_",
		},
		"limit": {
			[]string{"--ulimit", "nofile=99:99", "debian", "perl", "-e", `my $p = pack("QQ", 100, 100); syscall(160, 7, $p); exit 1`},
			`: EPERM
  the filter allows it; the kernel asked for CAP_SYS_RESOURCE, which the container does not have
  to allow it  --ulimit nofile=N, with N as large as it asks for
               --cap-add CAP_SYS_RESOURCE
`, "",
		},
		"no_new_privs": {
			[]string{"--user", "nobody", "--security-opt", "no-new-privileges", "debian", "cat", "/etc/shadow"},
			"; no_new_privs is set, so that set-user-ID programs gain nothing\n", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, status := explained(t, append([]string{"--explain"}, test.args...)...)
			if !strings.Contains(stderr, test.want) || test.not != "" && strings.Contains(stderr, test.not) || status == 0 {
				t.Errorf("status %d: %s\nwant %s", status, stderr, test.want)
			}
		})
	}
	if _, stderr, status := explained(t, "--explain", "--cap-drop", "ALL", "--cap-add", "CAP_CHOWN", "debian", "chown", "nobody", "/tmp"); status != 0 || stderr != "" {
		t.Errorf("with what the report says: status %d: %s", status, stderr)
	}
	// An errno that says something else is none: that a file cannot be polled.
	const poll = `my $e = syscall(291, 0); open(my $f, "<", "/etc/passwd"); my $event = pack("LQ", 1, 0); syscall(233, $e, 1, fileno($f), $event) < 0 && $!{EPERM} or die "$!"`
	if _, stderr, status := explained(t, "--explain", "debian", "perl", "-e", poll); status != 0 || stderr != "" {
		t.Errorf("epoll_ctl: status %d: %s", status, stderr)
	}
	// The first line of a call that the kernel allows is said by none, whatever it asks for.
	if _, stderr, status := explained(t, "--explain", "debian", "sh", "-c", "find / -xdev >/dev/null; apt-get -s upgrade >/dev/null; perl -e 1"); status != 0 || strings.Contains(stderr, "kernel asked") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// The root of a container with users of its own is reported as root. What the kernel asks for outside of
// the container's user namespace it cannot have; what it asks for inside, --cap-add gives.
func TestExplainKernelUsers(t *testing.T) {
	needTracing(t)
	const script = "hostname x; dmesg"
	const dmesg = ` by dmesg (PID 3): EPERM
  the kernel asked for CAP_SYSLOG outside of the process's user namespace, where it has no capabilities
`
	run := func(flags ...string) string {
		_, stderr, _ := explained(t, append(flags, "--userns", "auto", "--explain", "--seccomp", "unconfined", "debian", "sh", "-c", script)...)
		stderr = strings.ReplaceAll(stderr, "CAP_SYS_ADMIN or CAP_SYSLOG", "CAP_SYSLOG") // Linux 6.1 asks for either
		if !strings.Contains(stderr, dmesg) || strings.Contains(stderr, "as root") || strings.Contains(stderr, "--cap-add CAP_SYSLOG") {
			t.Errorf("%q: %s", flags, stderr)
		}
		return stderr
	}
	const hostname = `minirun: denied: sethostname("x", 1) by hostname (PID 2): EPERM
  the kernel asked for CAP_SYS_ADMIN, which the container does not have
  to allow it  --cap-add CAP_SYS_ADMIN
`
	if stderr := run(); !strings.Contains(stderr, hostname) {
		t.Error(stderr)
	}
	if stderr := run("--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SYSLOG"); strings.Contains(stderr, "sethostname") {
		t.Error(stderr)
	}
	_, stderr, _ := explained(t, "--userns", "auto", "--user", "nobody", "--explain", "debian", "chown", "nobody", "/etc/passwd")
	if !strings.Contains(stderr, "which the container has but this process (user 65534) does not\n  to allow it  run it as root\n") {
		t.Error(stderr)
	}
}

// A file with capabilities that the container does not have is not executed. Before its execve the
// command is minirun's init.
func TestExplainFileCapabilities(t *testing.T) {
	needTracing(t)
	dir, err := os.MkdirTemp(testBed.root, "") //nolint:usetesting // /tmp may be mounted nosuid, where file capabilities do not count
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "thread")
	capability := []byte{0: 1, 3: 2, 6: 1 << (unix.CAP_SYS_ADMIN - 16), 19: 0} // effective, version 2
	data, err := os.ReadFile(filepath.Join(testProgram(t, "thread"), "thread"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(program, "security.capability", capability, 0); err != nil {
		t.Fatal(err)
	}
	const words = ` by minirun-init (PID 1): EPERM
  the filter allows it; /p/thread has file capabilities (capabilities(7)) that the container does not have: CAP_SYS_ADMIN
  to allow it  --cap-add CAP_SYS_ADMIN
`
	if _, stderr, status := explained(t, "--explain", "-v", dir+":/p", "debian", "/p/thread"); status != 126 || !strings.Contains(stderr, words) {
		t.Errorf("file capabilities: status %d: %s", status, stderr)
	}
}

// A call of i386 by a 64-bit process is one of i386.
func TestExplainKernelCompat(t *testing.T) {
	needTracing(t)
	requires(t, i386Calls)
	dir := testProgram(t, "calls")
	if err := os.WriteFile(filepath.Join(dir, "numbers"), []byte("x86 74\nx32 1073741994\namd64 170\n"), 0o644); err != nil { // sethostname
		t.Fatal(err)
	}
	_, stderr, status := explained(t, "--explain", "--seccomp", "unconfined", "-v", dir+"/calls:/calls:ro", "-v", dir+"/numbers:/numbers:ro", "debian", "/calls", "/numbers")
	for _, want := range []string{"sethostname(NULL, 0) (x86) by", "sethostname(NULL, 0) by"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("status %d: no %q in %s", status, want, stderr)
		}
	}
}

// What a filter does beside returning an errno is reported, too.
func TestExplainFatal(t *testing.T) {
	needTracing(t)
	for _, action := range []string{"KILL_PROCESS", "KILL_THREAD", "TRAP"} {
		profile := filepath.Join(t.TempDir(), "p.json")
		text := fmt.Sprintf(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["acct"],"action":"SCMP_ACT_%s"}]}`, action)
		if err := os.WriteFile(profile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, stderr, status := explained(t, "--explain", "--seccomp", profile, "debian", "perl", "-e", fmt.Sprintf("syscall(%d, 0)", unix.SYS_ACCT))
		want := fmt.Sprintf("minirun: denied: acct(...) by perl (PID 1): %s\n  the rule decides  (%s:1:47)\n", action, profile)
		if status != 128+int(unix.SIGSYS) || !strings.Contains(stderr, want) {
			t.Errorf("%s: status %d: %s", action, status, stderr)
		}
	}
}

// 100000 equal refusals are one report with one count, beside the filter's.
func TestExplainKernelRepeated(t *testing.T) {
	needTracing(t)
	_, stderr, status := explained(t, "--explain", "--seccomp", "unconfined", "debian", "perl", "-e", fmt.Sprintf("syscall(%d, 0) for 1 .. 100000", unix.SYS_ACCT))
	if status != 0 || len(stderr) > 1024 || strings.Count(stderr, "minirun: denied:") != 1 || !strings.Contains(stderr, "minirun: 100000 times in all: acct by perl\n") {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// What a caller names itself and its files is printed as text, and nobody waits for its
// memory.
func TestExplainKernelHostile(t *testing.T) {
	needTracing(t)
	for _, program := range []string{"names", "hang"} {
		dir := testProgram(t, program)
		begin := time.Now()
		_, stderr, _ := explained(t, "--explain", "--seccomp", "unconfined", "--cap-add", "CAP_SYS_PTRACE", "-v", dir+":/p:ro", "debian", "/p/"+program)
		if regexp.MustCompile(`[^ -~\n]`).MatchString(stderr) || !strings.Contains(stderr, "minirun: denied: acct(") || time.Since(begin) > 10*time.Second {
			t.Errorf("%s, %v: %q", program, time.Since(begin), stderr)
		}
		if program == "names" && !strings.Contains(stderr, `acct("last") by \x1b]0;x\a`) {
			t.Errorf("%s", stderr)
		}
	}
}

// Nothing stays attached when minirun is killed.
func TestExplainKilledTracer(t *testing.T) {
	needTracing(t)
	l := launch(t, []string{"--explain"}, "sh", "-c", "printf ready; exec sleep 1000")
	links := attachedBy(l.Process.Pid)
	if len(links) != 3 || !linkExists(links[0]) {
		t.Fatalf("programs that are attached: %v", links)
	}
	_ = l.Process.Kill()
	_ = l.Wait()
	eventually(t, "programs to be detached", func() bool { return !slices.ContainsFunc(links, linkExists) })
	eventually(t, "the end of the container", func() bool { return gone(l.pid1) })
	if _, stderr, status := explained(t, "debian", "true"); status != 0 { // it removes what is left
		t.Error(stderr)
	}
}

// attachedBy returns the numbers of the BPF links that a process holds.
func attachedBy(pid int) (ids []uint32) {
	infos, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, info := range infos {
		data, _ := os.ReadFile(info)
		if found := regexp.MustCompile(`(?m)^link_id:\s*(\d+)$`).FindSubmatch(data); found != nil {
			id, _ := strconv.ParseUint(string(found[1]), 10, 32)
			ids = append(ids, uint32(id))
		}
	}
	return ids
}

func linkExists(id uint32) bool {
	const getFD = 30 // BPF_LINK_GET_FD_BY_ID
	attr := [3]uint32{id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, getFD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno == 0 {
		unix.Close(int(fd))
	}
	return errno != unix.ENOENT
}

// Processes in a PID namespace of their own are watched by the container's cgroup. Where it
// has none of cgroup v2, they are not, and a warning says so.
func TestExplainKernelScope(t *testing.T) {
	needTracing(t)
	command := []string{"--explain", "--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN", "debian", "sh", "-c", "chown --quiet nobody /tmp; unshare -pf chown --quiet nobody /etc"}
	_, stderr, _ := explained(t, command...)
	for _, want := range []string{`denied: fchownat(AT_FDCWD, "/tmp", 65534, -1, 0) by chown (PID `, `denied: fchownat(AT_FDCWD, "/etc", 65534, -1, 0)`} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %s in %s", want, stderr)
		}
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err != nil {
		return // cgroup v2 alone: a container cannot be without
	}
	cmd := minirun(t, command...)
	cmd.Args = append([]string{"unshare", "-m", "sh", "-c", `umount /sys/fs/cgroup/unified && exec "$@"`, "sh"}, append([]string{cmd.Path}, command...)...)
	cmd.Path = testenv.Program(t, "unshare")
	out, _ := cmd.CombinedOutput()
	if text := string(out); strings.Count(text, "minirun: warning: ") != 1 || !strings.Contains(text, "has no cgroup v2 of its own") ||
		!strings.Contains(text, `denied: fchownat(AT_FDCWD, "/tmp", `) || strings.Contains(text, `"/etc"`) {
		t.Errorf("%s", text)
	}
}
