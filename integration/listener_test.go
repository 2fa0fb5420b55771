package integration

import (
	"strings"
	"testing"

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

// notifying is a program that notifies of one call and allows all others.
func notifying(nr uint32) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
}

// A filter with a listener that nobody is to answer is no start.
func TestListenerUnused(t *testing.T) {
	u := underProgram{
		Program: notifying(unix.SYS_SYMLINKAT), Flags: unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		Volume: t.TempDir() + ":/made", Args: []string{"true"},
	}
	out, err := u.launch(t)
	if want := "arm the seccomp filter: nobody answers the filter's notifications"; err == nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: %q has no %q", err, out, want)
	}
	wantNothingOf(t, u.Name)
}
