package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
	"github.com/minirun/minirun/rootfs"
)

// underProgram is a launch without the checks of the command line: any program
// reaches the arming thread.
type underProgram struct {
	Name    string // launch sets it, Root and RunRoot
	Program []unix.SockFilter
	Flags   uint32 // SECCOMP_FILTER_FLAG_*
	Root    string // of the store
	RunRoot string
	Volume  string
	Args    []string
	Kill    bool // whoever makes a call that is notified, by killCallers
}

// launchChild reads an underProgram from standard input and launches it.
func launchChild() error {
	var u underProgram
	if err := json.NewDecoder(os.Stdin).Decode(&u); err != nil {
		return err
	}
	store, err := rootfs.OpenStore(u.Root)
	if err != nil {
		return err
	}
	image, err := store.Resolve(context.Background(), "debian", rootfs.ResolveOptions{Pull: rootfs.PullNever})
	if err != nil {
		return err
	}
	defer image.Close()
	flags, err := config.Parse(config.Flags{"volume": {u.Volume}})
	if err != nil {
		return err
	}
	flags.Args = u.Args
	host, _, err := launcher.Inspect(flags)
	if err != nil {
		return err
	}
	flags, err = spec.Merge(*flags, spec.Image(image.Config))
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the mounts go with the thread
	if err := launcher.PrivateMounts(); err != nil {
		return err
	}
	c, err := launcher.New(launcher.Dirs{Root: u.Root, RunRoot: u.RunRoot}, u.Name, launcher.OwnerLauncher, func(err error) { fmt.Fprintln(os.Stderr, "warning:", err) })
	if err != nil {
		return err
	}
	defer func() {
		if err := c.Delete(); err != nil {
			fmt.Fprintln(os.Stderr, "warning:", err)
		}
	}()
	overlay := rootfs.Overlay{Layers: image.Layers, Dir: c.Dir()}
	root, err := overlay.Mount()
	if err != nil {
		return err
	}
	described, err := c.Spec(flags, host, root)
	if err != nil {
		return errors.Join(err, overlay.Unmount())
	}
	o := launcher.Options{Spec: described, Filter: u.Program, FilterFlags: u.Flags, Stdout: os.Stdout, Stderr: os.Stderr}
	if u.Kill {
		o.Observe = killCallers()
	}
	relay, err := launcher.NewRelay()
	if err != nil {
		return errors.Join(err, overlay.Unmount())
	}
	defer relay.Stop()
	status, err := c.Run(o, relay)
	if err == nil && status != 0 {
		err = fmt.Errorf("status %d", status)
	}
	return errors.Join(err, overlay.Unmount())
}

// launch has a child launch u, and returns the child's output and how it ended.
func (u underProgram) launch(t *testing.T) (out []byte, err error) {
	t.Helper()
	u.Name, u.Root, u.RunRoot = containerName(t), testBed.root, filepath.Join(t.TempDir(), "run")
	input, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	cmd := child(t, "launch")
	cmd.Stdin = bytes.NewReader(input)
	return cmd.CombinedOutput()
}

// runUnder has a child launch `touch` under a program. The launch must fail with one
// of the messages, and the command must not run.
func runUnder(t *testing.T, program []unix.SockFilter, want ...string) {
	t.Helper()
	volume := t.TempDir()
	out, err := underProgram{Program: program, Volume: volume + ":/made", Args: []string{"touch", "/made/ran"}}.launch(t)
	text := strings.TrimSuffix(strings.TrimPrefix(string(out), "integration: "), "\n")
	if err == nil || !slices.Contains(want, text) {
		t.Errorf("%v: %q, want one of %q", err, text, want)
	}
	if _, err := os.Stat(filepath.Join(volume, "ran")); !os.IsNotExist(err) {
		t.Errorf("the command ran: %v", err)
	}
	wantNothingOf(t, containerName(t))
}

// If the kernel refuses a program, the command does not start, and nothing is left.
func TestArmingFails(t *testing.T) {
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	for name, program := range map[string][]unix.SockFilter{
		"empty":                 {},
		"no end":                {{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}},
		"load beyond the data":  {{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 64}, allow},
		"load of a byte":        {{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS}, allow},
		"jump beyond the end":   {{Code: unix.BPF_JMP | unix.BPF_JA, K: 7}, allow},
		"unknown instruction":   {{Code: 0xffff}, allow},
		"memory before a store": {{Code: unix.BPF_LD | unix.BPF_MEM, K: 3}, allow},
	} {
		t.Run(name, func(t *testing.T) { runUnder(t, program, "arm the seccomp filter: invalid argument") })
	}
}

// Under a program that kills on every call the first call is the command's execve: the
// launch ends like a command that its filter kills, and nothing hangs.
func TestArmingKills(t *testing.T) {
	for range 10 {
		runUnder(t, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_KILL_PROCESS}}, "status 159")
	}
}

// exitProgram is a static program that calls exit(2) and nothing else: an ELF
// header, one program header, and `mov $60, %eax; xor %edi, %edi; syscall`.
var exitProgram = []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x02\x00\x3e\x00\x01\x00\x00\x00\x78\x00\x40\x00\x00\x00\x00\x00" + // ET_EXEC, EM_X86_64, entry 0x400078
	"\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x00\x00\x00\x40\x00\x38\x00\x01\x00\x00\x00\x00\x00\x00\x00" +
	"\x01\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + // PT_LOAD, readable and executable
	"\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00" +
	"\x81\x00\x00\x00\x00\x00\x00\x00\x81\x00\x00\x00\x00\x00\x00\x00" +
	"\x00\x10\x00\x00\x00\x00\x00\x00" +
	"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05")

// startedUnder launches a program that makes no call except exit, under a profile that
// allows exit and execve, and takes the action for every other call. It names
// futex_waitv so that newer calls do not get ENOSYS instead.
func startedUnder(t *testing.T, action string, errno int, flags ...string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "exit")
	if err := os.WriteFile(program, exitProgram, 0o755); err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(dir, "profile.json")
	text := fmt.Sprintf(`{"defaultAction": %q, "defaultErrnoRet": %d, "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": ["execve", "exit", "futex_waitv"]}]}`, action, errno)
	if errno == 0 {
		text = strings.Replace(text, `"defaultErrnoRet": 0, `, "", 1)
	}
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--seccomp", profile, "-v", program + ":/exit"}, flags...)
	cmd := minirun(t, append(args, "debian", "/exit")...)
	// A soft limit that the Go runtime raises, and must not set again at the end.
	cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `ulimit -Sn 256 && exec "$@"`, "sh"}, cmd.Args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s, errno %d: %v: %s", action, errno, err, out)
	}
}

// After the filter is installed a start makes no call except execve, whatever its flags.
func TestOnlyExecve(t *testing.T) {
	requires(t, amd64)
	for _, flags := range [][]string{
		{},
		{"-t"},
		{"-i"},
		{"--user", "nobody"},
		{"--user", "1000:1000", "--cap-drop", "ALL"},
		{"--security-opt", "no-new-privileges"},
		{"--read-only", "--network", "host", "--ulimit", "nofile=100:100"},
		{"--cpus", "0.1", "--memory", "64m"},
		{"--privileged"},
		{"--pid", "host"},
		{"-v", "/proc:/proc"},
	} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			for range 5 { // threads behave differently from start to start
				startedUnder(t, "SCMP_ACT_KILL_PROCESS", 0, flags...)
			}
		})
	}
}

// No verdict on any other call stops a start.
func TestEveryVerdict(t *testing.T) {
	requires(t, amd64)
	startedUnder(t, "SCMP_ACT_ERRNO", int(unix.EPERM))
	startedUnder(t, "SCMP_ACT_ERRNO", int(unix.ENOSYS))
	startedUnder(t, "SCMP_ACT_ERRNO", int(unix.EINTR))
	startedUnder(t, "SCMP_ACT_ERRNO", int(unix.EAGAIN))
	startedUnder(t, "SCMP_ACT_KILL_THREAD", 0)
	startedUnder(t, "SCMP_ACT_TRAP", 0)
	startedUnder(t, "SCMP_ACT_TRACE", 0)
	startedUnder(t, "SCMP_ACT_LOG", 0)
}

// A kernel without one of the calls that end a start changes nothing.
func TestOldKernel(t *testing.T) {
	for name, call := range map[string]int{"close_range": unix.SYS_CLOSE_RANGE, "userfaultfd": unix.SYS_USERFAULTFD} {
		t.Run(name, func(t *testing.T) {
			out, err := confined(t, call, "debian", "sh", "-c", "ls /proc/1/fd").CombinedOutput()
			if want := "0\n1\n2\n"; err != nil || string(out) != want {
				t.Errorf("%v: %q, want %q", err, out, want)
			}
		})
	}
}

// confined is a minirun for which the kernel lacks a system call.
func confined(t *testing.T, call int, args ...string) *exec.Cmd {
	t.Helper()
	cmd := minirun(t, args...)
	cmd.Env = append(cmd.Env, childVariable+"=confined", "PROGRAM="+cmd.Path, "CALL="+strconv.Itoa(call))
	cmd.Path = "/proc/self/exe"
	return cmd
}

// confinedChild becomes PROGRAM, under a filter that CALL meets with ENOSYS.
func confinedChild() error {
	runtime.LockOSThread()
	call, err := strconv.Atoi(os.Getenv("CALL"))
	if err != nil {
		return err
	}
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(call), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := filterThread(program); err != nil {
		return err
	}
	return unix.Exec(os.Getenv("PROGRAM"), os.Args, os.Environ())
}

// A kernel without seccomp filters starts nothing, and the error says why.
func TestNoSeccomp(t *testing.T) {
	name := containerName(t)
	cmd := confined(t, unix.SYS_SECCOMP, "--name", name, "debian", "true")
	out, _ := cmd.CombinedOutput()
	const want = "minirun: seccomp: filters cannot be installed: function not implemented\nhint: run a kernel built with CONFIG_SECCOMP=y"
	if status := cmd.ProcessState.ExitCode(); status != 125 || !strings.HasPrefix(string(out), want) {
		t.Errorf("status %d: %q, want %q", status, out, want)
	}
	wantNothingOf(t, name)
}
