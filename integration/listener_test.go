package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The structs of linux/seccomp.h.
type (
	notification struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	response struct {
		id    uint64
		val   int64
		error int32
		flags uint32
	}
)

// answerOne answers one notification with EDQUOT, and leaves others without a listener.
func answerOne(listener *os.File) {
	const recv, send = 0xc0502100, 0xc0182101 // SECCOMP_IOCTL_NOTIF_RECV and SEND
	go func() {
		defer listener.Close()
		var n notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, listener.Fd(), recv, uintptr(unsafe.Pointer(&n))); errno != 0 {
			fmt.Fprintln(os.Stderr, "receive:", errno)
			return
		}
		fmt.Fprintln(os.Stderr, "notified of", n.nr)
		r := response{id: n.id, error: -int32(unix.EDQUOT)}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, listener.Fd(), send, uintptr(unsafe.Pointer(&r))); errno != 0 {
			fmt.Fprintln(os.Stderr, "answer:", errno)
		}
	}()
}

// notifying is a program that notifies of one call and allows all others.
func notifying(nr uint32) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
}

// The launcher gets the listener of a filter while init is parked, and answers the
// command's calls by it. What is not answered fails, also when the listener is gone.
func TestListener(t *testing.T) {
	for name, test := range map[string]struct {
		nr     uint32
		answer bool
		want   []string // on standard error
	}{
		"answered": {unix.SYS_SYMLINKAT, true, []string{
			fmt.Sprintf("notified of %d\n", unix.SYS_SYMLINKAT), "first: Disk quota exceeded", "second: Function not implemented",
		}},
		"nobody answers": {unix.SYS_SYMLINKAT, false, []string{"arm the seccomp filter: nobody answers the filter's notifications"}},
	} {
		t.Run(name, func(t *testing.T) {
			u := underProgram{
				Name: containerName(t), Program: notifying(test.nr), Flags: unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
				Root: testBed.root, RunRoot: filepath.Join(t.TempDir(), "run"), Volume: t.TempDir() + ":/made", Answer: test.answer,
				Args: []string{"perl", "-e", fmt.Sprintf(`my ($to, $at) = ("a", "/b"); for my $n ("first", "second") { syscall(%d, $to, -100, $at) < 0 and print STDERR "$n: $!\n" }`, test.nr)},
			}
			input, err := json.Marshal(u)
			if err != nil {
				t.Fatal(err)
			}
			cmd := child(t, "launch")
			var stderr bytes.Buffer
			cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
			if err := cmd.Run(); (err == nil) != test.answer {
				t.Errorf("%v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("%q has no %q", &stderr, want)
				}
			}
			wantNothingOf(t, u.Name)
		})
	}
}
