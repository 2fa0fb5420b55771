package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// agentChild is a seccomp agent: MODE SOCKET in the environment. It prints "ready" once it
// listens, and "gone" when no process has the filter any more. Its answers are those of
// runc's tests/cmd/seccompagent: mkdir appends "-METADATA" to the name, chmod fails with
// ENOMEDIUM, all else goes on.
func agentChild() error {
	mode, path, _ := strings.Cut(os.Getenv("AGENT"), " ")
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_ = os.Remove(path) // of an agent that was stopped
	if err := errors.Join(unix.Bind(socket, &unix.SockaddrUnix{Name: path}), unix.Listen(socket, 0)); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		connection, _, err := unix.Accept4(socket, unix.SOCK_CLOEXEC)
		if err != nil {
			return err
		}
		switch mode {
		case "closes":
			unix.Close(connection)
			continue
		case "silent":
			continue
		case "garbage":
			if _, err := unix.Write(connection, bytes.Repeat([]byte("\xff\x00{"), 1000)); err != nil {
				return err
			}
		}
		message, listener, err := receive(connection)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path+".json", message, 0o644); err != nil {
			return err
		}
		if mode == "dies" {
			return nil
		}
		if err := serve(listener, mode, message); err != nil {
			return err
		}
		unix.Close(listener)
		fmt.Println("gone")
	}
}

// receive receives the message, to its end, and the descriptor that comes with it.
func receive(connection int) (message []byte, listener int, err error) {
	stream := os.NewFile(uintptr(connection), "connection")
	defer stream.Close()
	buf, oob := make([]byte, 1<<20), make([]byte, unix.CmsgSpace(8))
	n, oobn, _, _, err := unix.Recvmsg(connection, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, 0, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, 0, fmt.Errorf("%d control messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, 0, fmt.Errorf("descriptors %v, %w", fds, err)
	}
	rest, err := io.ReadAll(stream)
	if errors.Is(err, unix.ECONNRESET) { // minirun has not read the garbage
		err = nil
	}
	return append(buf[:n], rest...), fds[0], err
}

const (
	notifRecv    = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	notifSend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	notifIDValid = 0x40082102 // SECCOMP_IOCTL_NOTIF_ID_VALID
)

// serve answers until no process has the filter.
func serve(listener int, mode string, message []byte) error {
	for {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err == unix.EINTR {
			continue
		} else if err != nil || fds[0].Revents&unix.POLLIN == 0 {
			return err
		}
		var n notification
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifRecv, uintptr(unsafe.Pointer(&n)))
		if errno == unix.ENOENT || errno == unix.EINTR {
			continue
		} else if errno != 0 {
			return fmt.Errorf("receive: %w", errno)
		}
		r := decide(listener, n, mode, message)
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifSend, uintptr(unsafe.Pointer(&r)))
		if errno != 0 && errno != unix.ENOENT {
			return fmt.Errorf("answer: %w", errno)
		}
	}
}

// decide answers one call.
func decide(listener int, n notification, mode string, message []byte) response {
	r := response{id: n.id}
	switch n.nr {
	case unix.SYS_MKDIR, unix.SYS_MKDIRAT:
		at := n.args[0]
		if n.nr == unix.SYS_MKDIRAT {
			at = n.args[1]
		}
		if err := makeBeside(int(n.pid), at, message); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			r.error = -int32(unix.EIO)
		}
	case unix.SYS_CHMOD, unix.SYS_FCHMOD, unix.SYS_FCHMODAT:
		r.error = -int32(unix.ENOMEDIUM)
	case unix.SYS_EXECVE:
		switch mode {
		case "lies": // the call seems to have succeeded
		case "denies":
			r.error = -int32(unix.EPERM)
		default:
			r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
		}
	case unix.SYS_ACCT:
		return held(listener, n)
	default:
		r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	return r
}

// held sends the caller a signal, and answers with success unless that ended the call.
func held(listener int, n notification) response {
	if err := unix.Kill(int(n.pid), unix.SIGUSR1); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
	}
	for begin := time.Now(); time.Since(begin) < 200*time.Millisecond; {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifIDValid, uintptr(unsafe.Pointer(&n.id))); errno != 0 {
			break
		}
	}
	return response{id: n.id}
}

// makeBeside makes the directory that a caller asked for under another name.
func makeBeside(pid int, address uint64, message []byte) error {
	text := make([]byte, 64)
	local, remote := []unix.Iovec{{Base: &text[0], Len: uint64(len(text))}}, []unix.RemoteIovec{{Base: uintptr(address), Len: len(text)}}
	if _, err := unix.ProcessVMReadv(pid, local, remote, 0); err != nil {
		return err
	}
	name, _, _ := bytes.Cut(text, []byte{0})
	_, metadata, _ := bytes.Cut(message, []byte(`"metadata":"`))
	metadata, _, _ = bytes.Cut(metadata, []byte(`"`))
	return os.Mkdir(filepath.Join("/proc", fmt.Sprint(pid), "root", string(name)+"-"+string(metadata)), 0o755)
}

// agent is a running agent.
type agent struct {
	*exec.Cmd
	says *bufio.Reader
}

func startAgent(mode, socket string) (*agent, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"=agent", "AGENT="+mode+" "+socket)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	a := &agent{cmd, bufio.NewReader(out)}
	return a, a.said("ready")
}

// said waits for a line of the agent's.
func (a *agent) said(want string) error {
	line, err := a.says.ReadString('\n')
	if line != want+"\n" {
		return fmt.Errorf("the agent says %q, want %q (%w)", line, want, err)
	}
	return nil
}

func (a *agent) stop() {
	_ = a.Process.Kill()
	_ = a.Wait()
}

// agentCommand is the scripts' `agent MODE SOCKET`, in place of the one before, and `agent
// stop`. It ends with the script.
func agentCommand(ts *testscript.TestScript, neg bool, args []string) {
	running := ts.Value(runningAgent{}).(**agent)
	if neg || len(args) != 2 && (len(args) != 1 || args[0] != "stop") {
		ts.Fatalf("usage: agent MODE SOCKET, or agent stop")
	}
	if *running != nil {
		(*running).stop()
		*running = nil
	}
	if args[0] != "stop" {
		var err error
		*running, err = startAgent(args[0], ts.MkAbs(args[1]))
		ts.Check(err)
	}
}

type runningAgent struct{}

// forAgents prepares a script for agentCommand.
func forAgents(env *testscript.Env) {
	running := new(*agent)
	env.Values[runningAgent{}] = running
	env.Defer(func() {
		if *running != nil {
			(*running).stop()
		}
	})
}

// The message is that of runc for the same profile, container and annotations.
func TestAgentMessage(t *testing.T) {
	testenv.Program(t, "runc")
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent.sock")
	a, err := startAgent("plain", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer a.stop()
	list := &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow, ListenerPath: socket, ListenerMetadata: "some \"metadata\" <&>\u2028",
		Syscalls: []specs.LinuxSyscall{{Names: []string{"acct"}, Action: specs.ActNotify}},
	}
	spec := specs.Spec{
		Version: "1.0.2", Root: &specs.Root{Path: "rootfs"}, Annotations: map[string]string{"z": "last", "a.b/c": "\"first\""},
		Process: &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"}, // where t.TempDir is nodev, no device could be opened
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}}, Seccomp: list,
		},
	}
	writeJSON(t, filepath.Join(dir, "config.json"), spec)
	writeJSON(t, filepath.Join(dir, "p.json"), list)
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "rootfs", "bin"), 0o755), os.WriteFile(filepath.Join(dir, "rootfs", "bin", "true"), nil, 0o755)); err != nil { //nolint:gosec // a command
		t.Fatal(err)
	}
	id := "minirun-agent-" + strconv.Itoa(os.Getpid())
	state := filepath.Join(dir, "state")
	if err := exec.Command("runc", "--root", state, "--log", filepath.Join(dir, "log"), "create", "--bundle", dir, id).Run(); err != nil { // a pipe for its output would stay open
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Fatalf("runc: %v: %s", err, log)
	}
	if out, err := exec.Command("runc", "--root", state, "delete", "--force", id).CombinedOutput(); err != nil {
		t.Errorf("runc: %v: %s", err, out)
	}
	want := messageOf(t, socket)
	if err := a.said("gone"); err != nil {
		t.Fatal(err)
	}
	if out, err := minirun(t, "--seccomp", filepath.Join(dir, "p.json"), "--annotation", "z=last", "--annotation", `a.b/c="first"`, "debian", "true").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := messageOf(t, socket); got != want {
		t.Errorf("minirun: %s\nrunc:    %s", got, want)
	}
}

// messageOf is the last message of an agent, without what differs from run to run: versions,
// PIDs, the container's ID and directory.
func messageOf(t *testing.T, socket string) string {
	t.Helper()
	text, err := os.ReadFile(socket + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(socket + ".json"); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`"(ociVersion|id|bundle)":"[^"]+"|"pid":[0-9]+`).ReplaceAllStringFunc(string(text), func(m string) string {
		name, _, _ := strings.Cut(m, ":")
		return name + ":*"
	})
}

func writeJSON(t *testing.T, file string, value any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
