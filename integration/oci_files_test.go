package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ociLeakedDescriptors: a descriptor of the runtime's cannot be a way out of the root (CVE-2024-21626), for
// PID 1 nor for exec.
func ociLeakedDescriptors(t *testing.T, root string) {
	for fd := 3; fd < 20; fd++ {
		cwd := "/proc/self/fd/" + strconv.Itoa(fd)
		b := newBundle(t, root, func(s *specs.Spec) {
			shell("ls -d ../../../../../../../..$PWD; cat ../../../../../../../../proc/sys/kernel/osrelease")(s)
			s.Process.Cwd = cwd
		})
		if out, _, status := b.run("minirun", "run", "leak"); status == 0 {
			t.Errorf("%s: %s", cwd, out)
		}
	}
	b := newBundle(t, root, shell("sleep 1000"))
	b.create("leak")
	b.must("start", "leak")
	for fd := 3; fd < 20; fd++ {
		if out, _, status := b.run("minirun", "exec", "--cwd", "/proc/self/fd/"+strconv.Itoa(fd), "leak", "pwd"); status == 0 {
			t.Errorf("exec: %d: %s", fd, out)
		}
	}
	if out := b.must("exec", "leak", "sh", "-c", "ls /proc/self/fd | wc -l"); out != "4\n" { // and that of the directory
		t.Errorf("descriptors: %s", out)
	}
}

// ociOverwrite: the runtime's binary is not what init runs from, so that a container cannot write to
// it (CVE-2019-5736).
func ociOverwrite(t *testing.T, root string) {
	before, err := os.ReadFile(testBed.minirun)
	if err != nil {
		t.Fatal(err)
	}
	b := newBundle(t, root, func(s *specs.Spec) {
		s.Process.Args = []string{"/proc/self/exe", "version"}
	})
	_, _, _ = b.run("minirun", "run", "self")
	b = newBundle(t, root, shell(`while :; do for exe in /proc/[0-9]*/exe; do echo x >>$exe; done; done 2>/dev/null`))
	b.create("overwrite")
	b.must("start", "overwrite")
	for range 5 {
		_, _, _ = b.run("minirun", "exec", "overwrite", "/bin/true")
	}
	after, err := os.ReadFile(testBed.minirun)
	if err != nil || sha256.Sum256(before) != sha256.Sum256(after) {
		t.Errorf("the binary was changed: %v", err)
	}
}

// ociFiles: preserved files come first, also though init's own pass by there.
func ociFiles(t *testing.T, root string) {
	b := newBundle(t, root, shell("cat <&3; cat <&4; ls /proc/self/fd | wc -l"))
	for _, verb := range []string{"run", "exec"} {
		args := []string{"run", "--preserve-fds", "2", "files"}
		if verb == "exec" {
			c := newBundle(t, root, shell("sleep 1000"))
			c.create("files")
			c.must("start", "files")
			b, args = c, []string{"exec", "--preserve-fds", "2", "files", "sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd | wc -l"}
		}
		cmd := b.command("minirun", args...)
		for _, text := range []string{"three\n", "four\n"} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fmt.Fprint(w, text)
			w.Close()
			cmd.ExtraFiles = append(cmd.ExtraFiles, r)
		}
		if out := outputOf(t, cmd); out != "three\nfour\n6\n" {
			t.Errorf("%s: %q", verb, out)
		}
	}
}

// ociConsole: the terminal's master goes to the engine's socket.
func ociConsole(t *testing.T, root string) {
	b := newBundle(t, root, func(s *specs.Spec) {
		shell("tty; test -t 0 && echo terminal; stty size")(s)
		s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Width: 70, Height: 30}
	})
	socket := filepath.Join(b.dir, "console")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	b.refused(1, "needs --console-socket", "create", "console")
	master := make(chan *os.File, 1)
	go func() { master <- receiveFile(t, listener) }()
	b.create("console", "--console-socket", socket)
	b.must("start", "console")
	m := <-master
	defer m.Close()
	var text []byte
	for buffer := make([]byte, 1024); !bytes.HasSuffix(text, []byte("30 70\r\n")); {
		n, err := m.Read(buffer)
		text = append(text, buffer[:n]...)
		if err != nil {
			break
		}
	}
	if got := strings.ReplaceAll(string(text), "\r", ""); got != "/dev/pts/0\nterminal\n30 70\n" {
		t.Errorf("%q", got)
	}
}

// ociPidfd: a pidfd of the process goes to the engine's socket.
func ociPidfd(t *testing.T, root string) {
	b := newBundle(t, root, shell("sleep 1000"))
	socket := filepath.Join(b.dir, "pidfd")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	received := make(chan *os.File, 1)
	go func() { received <- receiveFile(t, listener) }()
	b.create("pidfd", "--pidfd-socket", socket)
	f := <-received
	defer f.Close()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
	if err != nil || !strings.Contains(string(info), fmt.Sprintf("\nPid:\t%d\n", b.state("pidfd").Pid)) {
		t.Errorf("%v: %s", err, info)
	}
}

// receiveFile takes one file from the first caller.
func receiveFile(t *testing.T, listener *net.UnixListener) *os.File {
	conn, err := listener.AcceptUnix()
	if err != nil {
		t.Error(err)
		return nil
	}
	defer conn.Close()
	data, rights := make([]byte, 65536), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(data, rights)
	if err != nil {
		t.Error(err)
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		t.Errorf("%v %v", messages, err)
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Error(err)
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "received")
}

// ociListener: the filter's listener goes to listenerPath, before the command runs.
func ociListener(t *testing.T, root string) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "agent")
	b := newBundle(t, root, func(s *specs.Spec) {
		shell("mkdir /x")(s)
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: socket, Syscalls: []specs.LinuxSyscall{{
			Names: []string{"mkdir", "mkdirat"}, Action: specs.ActNotify,
		}}}
	})
	b.refused(1, "listenerPath", "run", "notify")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go answer(t, listener, unix.ENOTUNIQ)
	_, errs, status := b.run("minirun", "run", "notify")
	if status != 1 || !strings.Contains(errs, "Name not unique on network") {
		t.Errorf("%d %s", status, errs)
	}
}

// answer answers one notification with an errno (seccomp_unotify(2)).
func answer(t *testing.T, listener *net.UnixListener, errno unix.Errno) {
	f := receiveFile(t, listener)
	if f == nil {
		return
	}
	defer f.Close()
	var n struct {
		id         uint64
		pid, flags uint32
		data       [64]byte
	}
	const receive, send = 0xc0502100, 0xc0182101 // SECCOMP_IOCTL_NOTIF_RECV and _SEND
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), receive, uintptr(unsafe.Pointer(&n))); e != 0 {
		t.Errorf("receive: %v", e)
	}
	reply := struct {
		id    uint64
		val   int64
		error int32
		flags uint32
	}{id: n.id, error: -int32(errno)}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), send, uintptr(unsafe.Pointer(&reply))); e != 0 {
		t.Errorf("send: %v", e)
	}
}
