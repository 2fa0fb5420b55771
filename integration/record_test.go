package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/seccomp"
)

// job makes calls of many kinds: by bash, its children, and theirs.
const job = `set -e; cd /usr/share; ls -l | sort | head -n 3; find . -name '*.txt' | wc -l
tar cf - /etc/debian_version 2>/dev/null | tar tf -; x=$(perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) and print "socket"')
echo "$x" > /tmp/x; ln /tmp/x /tmp/y; chown 1:1 /tmp/y; (sleep 0.01; cat /tmp/y) & wait; rm /tmp/x`

// recorded records a command and returns the names that the profile lets through.
func recorded(t *testing.T, file string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	needTracing(t)
	return explained(t, append([]string{"--record", file}, args...)...)
}

func readProfile(t *testing.T, file string) *seccomp.Profile {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := seccomp.Parse(file, data)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// allowedNames are those of rules that let calls through, sorted.
func allowedNames(t *testing.T, file string) []string {
	t.Helper()
	var names []string
	for _, rule := range readProfile(t, file).Rules {
		for _, name := range rule.Names {
			if rule.Action == "SCMP_ACT_ALLOW" {
				names = append(names, name.Value)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A job runs as before under its own recording, a second run changes nothing, and the
// names are those that strace(1) counts, with what a stop would make of sleep(1)'s, what processes that
// wait for each other call, and what is made of a clock that cannot be read in user mode.
func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	want, _, _ := explained(t, "debian", "bash", "-c", job)
	stdout, stderr, status := recorded(t, file, "debian", "bash", "-c", job)
	if status != 0 || stdout != want || !regexp.MustCompile(`^minirun: \S+/p\.json: \d+ calls\nminirun: capabilities that the run needed: --cap-drop ALL --cap-add CAP_CHOWN\n  CAP_CHOWN  fchownat\nhint: 'minirun seccomp diff default \S+' shows what it takes away\n$`).MatchString(stderr) {
		t.Errorf("status %d, %s, want %s\n%s", status, stdout, want, stderr)
	}
	first := readProfile(t, file).Source
	if stdout, stderr, status := explained(t, "--seccomp", file, "debian", "bash", "-c", job); status != 0 || stdout != want || stderr != "" {
		t.Errorf("under its recording: status %d, %s, want %s\n%s", status, stdout, want, stderr)
	}
	if _, _, status := recorded(t, file, "debian", "bash", "-c", job); status != 0 || !bytes.Equal(readProfile(t, file).Source, first) {
		t.Errorf("a second run has changed the profile: %s", readProfile(t, file).Source)
	}
	got := allowedNames(t, file)
	traced := append(straced(t, job), "restart_syscall", "futex", "clock_getres", "clock_gettime", "getcpu", "gettimeofday", "time")
	slices.Sort(traced)
	if traced = slices.Compact(traced); !slices.Equal(got, traced) {
		t.Errorf("recorded %v\nstrace   %v", got, traced)
	}
}

// straced are the calls that strace counts of a job in the same image, and execve.
func straced(t *testing.T, job string) []string {
	t.Helper()
	testenv.Program(t, "strace")
	out := t.TempDir()
	_, stderr, status := explained(t, "--seccomp", "unconfined", "--cap-add", "SYS_PTRACE", "-v", "/:/host:ro", "-v", out+":/out", "debian",
		"/host/lib64/ld-linux-x86-64.so.2", "--library-path", "/host/lib/x86_64-linux-gnu:/host/usr/lib/x86_64-linux-gnu", "/host/usr/bin/strace", "-f", "-c", "-o", "/out/counts", "bash", "-c", job)
	if status != 0 {
		t.Fatal(stderr)
	}
	counts, err := os.ReadFile(filepath.Join(out, "counts"))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"execve"}
	for line := range strings.Lines(string(counts)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[len(f)-1] == "total" || f[len(f)-1] == "syscall" || strings.HasPrefix(f[0], "-") {
			continue
		}
		names = append(names, f[len(f)-1])
	}
	names = append(names, "exit_group") // strace counts returns
	slices.Sort(names)
	return slices.Compact(names)
}

// The first call and the last are there, those of a process in a PID namespace inside of
// the container's, and only the family of sockets that was used.
func TestRecordWhatHappened(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	_, _, status := recorded(t, file, "--cap-add", "SYS_ADMIN", "debian", "unshare", "-pf", "sh", "-c", "mkfifo /tmp/x; sync")
	names := allowedNames(t, file)
	for _, name := range []string{"execve", "exit_group", "unshare", "sync"} {
		if status != 0 || !slices.Contains(names, name) {
			t.Errorf("status %d: no %s in %v", status, name, names)
		}
	}
	last := filepath.Join(t.TempDir(), "p.json")
	_, _, status = recorded(t, last, "debian", "perl", "-MSocket", "-e", `socket(S, AF_INET6, SOCK_DGRAM, 0) or die; socket(S, 38, SOCK_SEQPACKET, 0); syscall(162)`)
	if names := allowedNames(t, last); status != 0 || !slices.Contains(names, "sync") {
		t.Errorf("status %d: %v", status, names)
	}
	_, stderr, status := explained(t, "--seccomp", last, "debian", "perl", "-MSocket", "-e", `socket(S, AF_INET6, SOCK_DGRAM, 0) or die "$!"; socket(S, AF_INET, SOCK_DGRAM, 0) and die "AF_INET"; $!{EPERM} or die; socket(S, 38, SOCK_SEQPACKET, 0) and die "AF_ALG"; exit($!{EPERM} ? 0 : 1)`)
	if status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// Threads are made under a recording with and without clone3, which falls back by ENOSYS. They wait
// for each other under it, though none had to while it was made.
func TestRecordThreads(t *testing.T) {
	dir := testProgram(t, "thread")
	for _, profile := range []string{"default", "unconfined"} {
		file := filepath.Join(t.TempDir(), "p.json")
		if stdout, stderr, status := recorded(t, file, "--seccomp", profile, "-v", dir+":/p:ro", "debian", "/p/thread"); status != 0 || stdout != "Success\n" {
			t.Errorf("recording under %s: status %d, %s%s", profile, status, stdout, stderr)
		}
		if names := allowedNames(t, file); !slices.Contains(names, "exit") {
			t.Errorf("recorded under %s without the thread's end: %v", profile, names)
		}
		if stdout, stderr, status := explained(t, "--seccomp", file, "-v", dir+":/p:ro", "debian", "/p/thread", "meet"); status != 0 || stdout != "Success\n" {
			t.Errorf("recorded under %s: status %d, %s%s", profile, status, stdout, stderr)
		}
	}
}

// What is denied is named, not allowed; with --complain it is let through, and allowed.
func TestRecordDenied(t *testing.T) {
	for _, test := range []struct {
		flags, named []string
		allowed      bool
	}{
		{nil, []string{"minirun: denied, and so not in it: sethostname\n"}, false},
		{[]string{"--explain"}, []string{"minirun: denied: sethostname(", "minirun: denied, and so not in it: sethostname\n"}, false},
		{[]string{"--complain"}, []string{"minirun: would be denied: sethostname("}, true},
	} {
		file := filepath.Join(t.TempDir(), "p.json")
		_, stderr, _ := recorded(t, file, append(test.flags, "debian", "hostname", "web")...)
		for _, text := range test.named {
			if !strings.Contains(stderr, text) {
				t.Errorf("%q: no %q in %s", test.flags, text, stderr)
			}
		}
		if names := allowedNames(t, file); slices.Contains(names, "sethostname") != test.allowed {
			t.Errorf("%q: %v", test.flags, names)
		}
	}
}

// --complain reports exactly the calls that a recording without a filter has and the profile
// denies.
func TestComplainAsRecord(t *testing.T) {
	command := []string{"debian", "sh", "-c", "hostname x; unshare -U true; perl -e 'syscall(163, 0); syscall(321); syscall(250, 0, -3)'; mount -t tmpfs none /mnt; ls /"}
	file, lines := filepath.Join(t.TempDir(), "p.json"), filepath.Join(t.TempDir(), "lines")
	_, _, _ = recorded(t, file, append([]string{"--seccomp", "unconfined"}, command...)...)
	var want []string
	for _, name := range allowedNames(t, file) {
		out, err := minirun(t, "seccomp", "explain", "--format", "json", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out, []byte(`"verdict": "ERRNO(EPERM)"`)) {
			want = append(want, name)
		}
	}
	if _, stderr, _ := explained(t, append([]string{"--complain", "--explain-to", lines}, command...)...); !strings.Contains(stderr, "would be denied") {
		t.Error(stderr)
	}
	data, err := os.ReadFile(lines)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, found := range regexp.MustCompile(`"call":"(\w+)".*"passed":true`).FindAllSubmatch(data, -1) {
		got = append(got, string(found[1]))
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) || len(got) < 5 {
		t.Errorf("--complain reports %q, a recording has %q", got, want)
	}
}

// A program that waits, and is stopped and continued under its recording, goes on waiting: the kernel
// continues a poll(2) by a restart_syscall(2), which the recorded run had no need of. It waits for a
// byte, not for a time, which would be over on a slow machine before it is stopped.
func TestRecordStopped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	const script = `my ($stop, $state, $continue) = @ARGV;
pipe R, W;
unless ($p = fork) { my $fd = pack "iss", fileno R, 1, 0; exit(syscall(7, $fd, 1, 1 << 30) != 1) }
sub reach { do { open F, "/proc/$p/stat"; } until (split " ", <F>)[2] =~ /[$_[0]Z]/ }
reach "S"; kill $stop, $p; reach $state; kill $continue, $p;
syswrite W, "."; wait; print "waited\n" if !$?`
	if stdout, stderr, status := recorded(t, file, "debian", "perl", "-e", script, "0", "S", "0"); stdout != "waited\n" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	if stdout, stderr, status := explained(t, "--seccomp", file, "debian", "perl", "-e", script, "STOP", "T", "CONT"); stdout != "waited\n" {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// A run that does more than there is room for is not recorded as if that were all: a call with too
// many values is allowed with all of them.
func TestRecordFull(t *testing.T) {
	const sockets, all = `syscall(41, $_, 1, 0) for 1 .. 5000`, "socket is allowed with all values of argument 0: there were too many"
	for command, want := range map[string][]string{
		sockets: {all},
		`(fork // die) || exit for 1 .. 2; ` + sockets: {all, "the run had too many values of arguments; some of clone may be missing"},
		`syscall(117, -1, -1, $_) for 1 .. 5000`:       {"which capabilities the run needed is not known: they were needed in too many ways"}, // setresuid
	} {
		file := filepath.Join(t.TempDir(), "p.json")
		_, stderr, status := recorded(t, file, "--seccomp", "unconfined", "debian", "perl", "-e", command)
		for _, line := range want {
			if status != 0 || !strings.Contains(stderr, "minirun: warning: --record: "+line+"\n") {
				t.Errorf("%s: status %d, %s", command, status, stderr)
			}
		}
		if strings.Count(stderr, "warning") != len(want) {
			t.Error(stderr)
		}
		if _, stderr, status := explained(t, "--seccomp", file, "debian", "perl", "-e", command+`; exit($!{EPERM})`); status != 0 {
			t.Errorf("%s under its recording: status %d, %s", command, status, stderr)
		}
	}
}

// The file is written when the command fails or is killed, and not when nothing ran.
func TestRecordEnds(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.json")
	if _, stderr, status := recorded(t, file, "debian", "nosuch"); status != 127 || exists(file) {
		t.Errorf("nothing ran: status %d, %s", status, stderr)
	}
	if _, stderr, status := recorded(t, file, "--init", "debian", "sh", "-c", "kill -9 $$"); status != 137 || !slices.Contains(allowedNames(t, file), "kill") {
		t.Errorf("status %d, %s", status, stderr)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside it: %v, %v", entries, err)
	}
}

// A file that cannot be replaced is refused before anything runs, with what to do about it.
func TestRecordFile(t *testing.T) {
	needTracing(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("mounted"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(at("mounted"), at("mounted"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at("mounted"), unix.MNT_DETACH) })
	full, readOnly := testenv.Disk(t, "size=4k"), testenv.Disk(t, "")
	if err := os.WriteFile(filepath.Join(full, "other"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", readOnly, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for target, link := range map[string]string{"new.json": "link", "none/new.json": "lost", "round": "round"} {
		if err := os.Symlink(target, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ file, why, hint string }{
		{at("mounted"), "it is a mount point, and cannot be replaced", "mount its directory instead, or name another file"},
		{readOnly + "/p.json", "read-only file system", "name a file on a file system that can be written to"},
		{at("lost"), "no such file or directory", "check the path " + at("lost")},
		{at("round"), "too many levels of symbolic links", "check the path"},
	} {
		stdout, stderr, status := explained(t, "--record", test.file, "debian", "echo", "ran")
		if status != 125 || stdout != "" || !strings.Contains(stderr, test.why+"\nhint: "+test.hint) {
			t.Errorf("%s: status %d, %s%s", test.file, status, stdout, stderr)
		}
	}
	if stdout, stderr, status := explained(t, "--record", full+"/p.json", "debian", "echo", "ran"); status != 125 || stdout != "ran\n" || stderr != "minirun: --record "+full+"/p.json: no space left on device\nhint: free some space there, or name a file on another file system\n" {
		t.Errorf("full: status %d, %s%s", status, stdout, stderr)
	}
	if entries, err := os.ReadDir(full); err != nil || len(entries) != 1 {
		t.Errorf("left on the full disk: %v, %v", entries, err)
	}
	if _, stderr, status := explained(t, "--record", at("link"), "debian", "true"); status != 0 || len(allowedNames(t, at("new.json"))) == 0 {
		t.Errorf("a link to a new file: status %d, %s", status, stderr)
	}
	if target, err := os.Readlink(at("link")); err != nil || target != "new.json" {
		t.Errorf("the link has become %q, %v", target, err)
	}
}

// programs are the numbers of all loaded BPF programs for sys_enter.
func programs(t *testing.T) (ids []uint32) {
	t.Helper()
	const getNextID, getFD, getInfo = 11, 13, 15 // BPF_PROG_GET_NEXT_ID, BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD
	for id := uint32(0); ; {
		next := [3]uint32{id}
		if _, _, errno := unix.Syscall(unix.SYS_BPF, getNextID, uintptr(unsafe.Pointer(&next)), unsafe.Sizeof(next)); errno != 0 {
			return ids
		}
		id = next[1]
		fd, _, errno := unix.Syscall(unix.SYS_BPF, getFD, uintptr(unsafe.Pointer(&[3]uint32{id})), 12)
		if errno != 0 {
			continue // it has gone
		}
		var info [256]byte
		attr := struct {
			fd, size uint32
			info     unsafe.Pointer
		}{uint32(fd), uint32(len(info)), unsafe.Pointer(&info)}
		_, _, errno = unix.Syscall(unix.SYS_BPF, getInfo, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		unix.Close(int(fd))
		if name, _, _ := bytes.Cut(info[64:80], []byte{0}); errno == 0 && string(name) == "sys_enter" { // struct bpf_prog_info
			ids = append(ids, id)
		}
	}
}

// Nothing stays attached, also when minirun is killed.
func TestRecordDetaches(t *testing.T) {
	needTracing(t)
	before := programs(t)
	l := launch(t, []string{"--record", filepath.Join(t.TempDir(), "p.json")}, "sh", "-c", "echo ready; exec sleep 600")
	ours := slices.DeleteFunc(programs(t), func(id uint32) bool { return slices.Contains(before, id) })
	if len(ours) == 0 {
		t.Fatal("no program is attached while the container runs")
	}
	_ = l.Process.Kill()
	_ = l.Wait()
	eventually(t, "the end of the programs", func() bool {
		return !slices.ContainsFunc(programs(t), func(id uint32) bool { return slices.Contains(ours, id) })
	})
	eventually(t, "the end of the container", func() bool { return gone(l.pid1) })
	if _, stderr, status := explained(t, "debian", "true"); status != 0 { // it removes what is left
		t.Error(stderr)
	}
}

// Without BPF the same is recorded, and the user hears that it is slow.
func TestRecordWithoutBPF(t *testing.T) {
	for _, profile := range []string{"default", "unconfined"} {
		file, slow := filepath.Join(t.TempDir(), "p.json"), filepath.Join(t.TempDir(), "p.json")
		command := []string{"--seccomp", profile, "debian", "perl", "-MSocket", "-e", `socket(S, AF_INET6, SOCK_DGRAM, 0); fork // die; syscall(165, 0, 0, 0)`}
		_, _, status := recorded(t, file, command...)
		cmd := blind(t, append([]string{"--record", slow}, command...)...)
		out, err := cmd.CombinedOutput()
		if err != nil || status != 0 || !strings.Contains(string(out), "minirun: warning: --record: BPF cannot be used, so each call is slow: ") {
			t.Errorf("%s: %v, status %d: %s", profile, err, status, out)
		}
		if diff := cmp.Diff(string(readProfile(t, file).Source), string(readProfile(t, slow).Source)); diff != "" {
			t.Errorf("%s (-BPF +slow): %s", profile, diff)
		}
	}
}

// A recording for Docker's runtime starts with it, with no_new_privs and without; another
// does not.
func TestRecordForRunc(t *testing.T) {
	testenv.Program(t, "runc")
	dir := testProgram(t, "thread")
	for _, test := range []struct {
		flags  []string
		starts bool
	}{{nil, false}, {[]string{"--record-for", "docker"}, true}} {
		file := filepath.Join(t.TempDir(), "p.json")
		if _, stderr, status := recorded(t, file, append(test.flags, "-v", dir+":/p:ro", "debian", "/p/thread")...); status != 0 {
			t.Fatal(stderr)
		}
		for _, noNewPrivileges := range []bool{false, true} {
			out, err := runcUnder(t, readProfile(t, file), dir, noNewPrivileges)
			if started := err == nil && string(out) == "Success\n"; started != test.starts {
				t.Errorf("%q, no_new_privs %v: %v, %s", test.flags, noNewPrivileges, err, out)
			}
		}
	}
}

// The command's user can open the standard streams that the runtime gives it, under runc and under
// Podman's crun, as without a filter.
func TestRecordForUser(t *testing.T) {
	command := []string{"sh", "-c", "echo Success >/dev/stdout"}
	file := filepath.Join(t.TempDir(), "p.json")
	if stdout, stderr, status := recorded(t, file, append([]string{"--record-for", "docker", "--user", "1000", "debian"}, command...)...); status != 0 || stdout != "Success\n" {
		t.Fatal(status, stderr)
	}
	t.Run("runc", func(t *testing.T) {
		testenv.Program(t, "runc")
		policy, err := readProfile(t, file).Resolve(hostTarget(t))
		if err != nil {
			t.Fatal(err)
		}
		b := newBundle(t, debianLayer(t), func(s *specs.Spec) {
			s.Root.Readonly, s.Process.User.UID, s.Process.NoNewPrivileges = true, 1000, false
			s.Process.Args, s.Linux.Seccomp = command, policy.Seccomp
		})
		if stdout, stderr, status := b.run("runc", "run", "minirun-record-user"); status != 0 || stdout != "Success\n" {
			t.Errorf("status %d, %s%s", status, stdout, stderr)
		}
	})
	t.Run("podman", func(t *testing.T) {
		e := startPodman(t, "cgroupfs", nil)
		for _, flags := range []string{"", "--user 1000", "--security-opt no-new-privileges"} {
			script := "run " + flags + " --security-opt seccomp=" + file + " debian sh -c 'echo Success'"
			if out := e.session(t, "crun", script); out != "Success\n[0]\n" {
				t.Errorf("%s: %s", flags, out)
			}
		}
	})
}

// A recording with --init is for an engine's init, which is not minirun's.
func TestRecordForInit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	command := []string{"echo", "Success"} // no calls of a shell
	if stdout, stderr, status := recorded(t, file, append([]string{"--init", "--record-for", "docker", "debian"}, command...)...); status != 0 || stdout != "Success\n" {
		t.Fatal(status, stderr)
	}
	t.Run("docker", func(t *testing.T) {
		host := startDockerd(t)
		for _, flags := range [][]string{nil, {"-t"}, {"--security-opt", "no-new-privileges"}} {
			args := slices.Concat([]string{"-H", host, "run", "--rm", "--init", "--network", "none", "--security-opt", "seccomp=" + file}, flags, []string{"debian"}, command)
			out, err := exec.Command("docker", args...).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "Success" {
				t.Errorf("%q: %v, %s", flags, err, out)
			}
		}
	})
	t.Run("podman", func(t *testing.T) {
		e := startPodman(t, "cgroupfs", nil)
		if out := e.session(t, "crun", "run --init --security-opt seccomp="+file+" debian echo Success"); out != "Success\n[0]\n" {
			t.Error(out)
		}
	})
}

func hostTarget(t *testing.T) seccomp.Target {
	t.Helper()
	target, err := seccomp.HostTarget(nil)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// runcUnder runs the program thread of a directory by runc, under a profile.
func runcUnder(t *testing.T, p *seccomp.Profile, dir string, noNewPrivileges bool) ([]byte, error) {
	t.Helper()
	policy, err := p.Resolve(hostTarget(t))
	if err != nil {
		t.Fatal(err)
	}
	bundle := t.TempDir()
	writeJSON(t, filepath.Join(bundle, "config.json"), specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: dir},
		Process: &specs.Process{Args: []string{"/thread"}, Cwd: "/", NoNewPrivileges: noNewPrivileges},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"}, // where t.TempDir is nodev, no device could be opened
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}}, Seccomp: policy.Seccomp,
		},
	})
	return exec.Command("runc", "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, "minirun-record-"+strconv.Itoa(os.Getpid())).CombinedOutput()
}
