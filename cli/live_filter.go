package cli

import (
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// fails reports whether a call returns an errno.
func fails(v bpf.Verdict) bool { return v.Effect().Action() == unix.SECCOMP_RET_ERRNO }

// asks selects what is notified: what returns an errno, and with --complain what ends
// the caller or sends it SIGSYS, too. No answer to a notification has these effects.
func (r *liveReports) asks(v bpf.Verdict) bool {
	if fails(v) {
		return true
	}
	switch v.Effect().Action() {
	case unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_TRAP:
		return r.complain
	}
	return false
}

// verdict is the original program's.
func (r *liveReports) verdict(n launcher.Notification) (bpf.Verdict, error) {
	if r.emulator == nil {
		var err error
		if r.emulator, err = r.program.Emulator(); err != nil {
			return 0, err
		}
	}
	return r.emulator.Run(bpf.Call{Nr: n.Nr, Arch: n.Arch, IP: n.IP, Args: n.Args})
}

const noSuchCall = bpf.Verdict(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))

// isDetour reports whether a verdict makes programs fall back to older calls. They take
// the calls of Linux 3.2 for granted: glibc is built for that kernel and later ones, and a filter
// that knows few calls returns ENOSYS for openat(2), too.
func isDetour(v bpf.Verdict, n launcher.Notification) bool {
	if v != noSuchCall {
		return false
	}
	name, _ := callName(n)
	for _, last := range [...]struct {
		arch syscalls.Arch
		call uint32 // process_vm_writev(2)
	}{{syscalls.AMD64, 311}, {syscalls.X86, 348}} {
		if number, ok := syscalls.Number(last.arch, name); ok && number <= last.call {
			return false
		}
	}
	return true
}

func (r *liveReports) judge(n launcher.Notification) launcher.Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, err := r.verdict(n)
	if err != nil { // the compiler's programs all run
		return launcher.Answer{Errno: unix.EPERM}
	}
	r.asked = true
	if r.places == nil {
		r.places = map[place]*sightings{}
	}
	answer := launcher.Answer{Continue: r.complain, Errno: unix.Errno(v.Effect().Data())}
	switch {
	case isDetour(v, n): // with --complain too: the run would be another program's
		r.detour(n)
		return launcher.Answer{Errno: unix.ENOSYS}
	case !r.asks(v):
		answer = launcher.Answer{Errno: unix.EBUSY} // it asks for a listener; see bpf.Program.Observed
	}
	if answer.Report = r.look(n); answer.Report {
		answer.Texts = texts(n)
	}
	return answer
}

// look reports whether a caller is to be looked at, and counts the call if not.
func (r *liveReports) look(n launcher.Notification) bool {
	at := place{n.TID, n.Arch, n.Nr, n.IP}
	s := r.places[at]
	if s == nil {
		if len(r.places) >= maxPlaces {
			clear(r.places)
		}
		s = &sightings{}
		r.places[at] = s
	}
	s.n++
	switch {
	case s.n <= maxLooks:
		return true
	case s.report != nil:
		s.report.Count++
	default:
		r.more++
	}
	return false
}
