package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp/analyze"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// remedyFlags is a change of a run that is neither of its capabilities nor of the profile.
const remedyFlags analyze.RemedyKind = "flags"

// kernelErrnos returns the errnos with which the kernel itself refuses a call.
func kernelErrnos() []unix.Errno { return []unix.Errno{unix.EPERM, unix.EACCES, unix.EROFS} }

// overLimit reports whether a call was refused for a limit that a capability would lift:
// what mlock(2) and fork(2) return then says nothing of it.
func overLimit(refused launcher.Refused) bool {
	const lifts = 1<<unix.CAP_IPC_LOCK | 1<<unix.CAP_SYS_RESOURCE
	return (refused.Errno == unix.ENOMEM || refused.Errno == unix.EAGAIN) && refused.Asked&lifts != 0
}

// isNoRefusal reports whether an errno of a call says something else than that it is not
// permitted, and no privilege would change it: that a file cannot be polled (Go tries for each that it
// opens), that a process has not registered itself, that a mutex is another's, that a process leads
// a session already, or that a group is of another session. timeout(1) and shells try to make a
// group of PID 1, which leads a session.
func isNoRefusal(refused launcher.Refused) bool {
	name, arch := callName(refused.Notification)
	switch name {
	case "epoll_ctl", "membarrier", "futex", "setsid":
		return refused.Errno == unix.EPERM
	case "setpgid":
		return refused.Errno != unix.EROFS
	case "ioctl":
		return refused.Errno == unix.EPERM && syscalls.FormatArgument(arch, name, 1, refused.Args[1]) == "TIOCSPGRP"
	}
	return false
}

// watch has the kernel's own refusals reported, too: what a filter lets through.
func (r *liveReports) watch(o *launcher.Options) {
	r.refusals = map[launcher.Sighting]*liveReport{}
	o.Watch = &launcher.Watch{
		Errnos:   kernelErrnos(),
		Texts:    textCalls,
		Executes: executes,
		Warn: func(err error) {
			r.app.ui.warn("--explain: what the kernel refuses is not all reported: %v", err)
		},
		WhenRefused: r.whenRefused,
		AtEnd:       r.whenWatched,
	}
}

// textCalls calls yield with the calls that take texts, of the architectures that run on amd64.
func textCalls(yield func(arch, nr uint32, texts uint8)) {
	for name, mask := range syscalls.WithTexts {
		for _, arch := range [...]syscalls.Arch{syscalls.AMD64, syscalls.X32, syscalls.X86} {
			if nr, ok := syscalls.Number(arch, name); ok {
				yield(arch.Audit(), nr, mask)
			}
		}
	}
}

// watchDenied has the watch see what the filter denies, too, so that the filter need not ask
// us: a denied call then takes a tenth of a microsecond more, and not some ten. It reports
// false if the filter has errnos by which its calls cannot be told from others at once.
func (r *liveReports) watchDenied(w *launcher.Watch) bool {
	const enough = 8
	errnos := w.Errnos
	for _, i := range r.program.Instructions {
		if v := bpf.Verdict(i.K); i.Code == unix.BPF_RET|unix.BPF_K && fails(v) && !slices.Contains(errnos, unix.Errno(v.Effect().Data())) {
			errnos = append(errnos, unix.Errno(v.Effect().Data()))
		}
	}
	if slices.Contains(errnos, 0) || len(errnos) > enough {
		return false
	}
	w.Errnos = errnos
	return true
}

// whenRefused reports a call that the kernel refused, by the filter or otherwise.
func (r *liveReports) whenRefused(refused *launcher.Refused) {
	verdict, err := r.watchedVerdict(refused.Notification)
	if err != nil {
		return // it is reported as one that the filter denies
	}
	killed := refused.Errno == 0
	byFilter := !killed && !r.complain && !verdict.Passes()
	var one *liveReport
	if !byFilter && (killed || slices.Contains(kernelErrnos(), refused.Errno) && !isNoRefusal(*refused) || overLimit(*refused)) {
		refused.LookUp()
		one = r.describeRefused(*refused, verdict) // it looks at files of the container: callers do not wait for that
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !byFilter, r.asked: // what we are asked about is reported when we are
	case isDetour(verdict, refused.Notification):
		r.detour(refused.Notification)
	case fails(verdict):
		one = r.describe(refused.Denied)
		one.lookUp = func() {
			refused.LookUp()
			one.PID, one.Exe, one.Library = refused.Caller.PID, refused.Caller.Exe, libraryOf(refused.Caller)
		}
	}
	same := &r.ignored
	if one != nil {
		same = r.add(one)
	}
	if len(r.refusals) >= maxRefusals {
		clear(r.refusals)
	}
	r.refusals[refused.Sighting] = same
}

// watchedVerdict is the filter's, if there is one.
func (r *liveReports) watchedVerdict(n launcher.Notification) (bpf.Verdict, error) {
	if r.program == nil {
		return bpf.Verdict(unix.SECCOMP_RET_ALLOW), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.verdict(n)
}

// detour counts a call that got ENOSYS.
func (r *liveReports) detour(n launcher.Notification) {
	if name, _ := callName(n); len(r.detours) < maxReports {
		r.detours[name] = true
	}
}

// describeRefused describes a call that the kernel refused, or for which the filter sent
// SIGSYS.
func (r *liveReports) describeRefused(refused launcher.Refused, verdict bpf.Verdict) *liveReport {
	name, arch := callName(refused.Notification)
	one := &liveReport{
		Time: time.Now().UTC(), Call: name, Args: []string{}, Arch: arch.String(), Number: refused.Denied.Nr,
		PID: refused.Caller.PID, HostPID: refused.Caller.Host, Comm: refused.Caller.Comm, Exe: refused.Caller.Exe,
		Library: libraryOf(refused.Caller), By: "kernel", arch: arch, values: refused.Args,
	}
	if refused.Errno == 0 {
		one.By, one.killed, one.Verdict = "filter", true, killVerdict(verdict)
		return one
	}
	one.Args, one.Errno = arguments(refused.Denied, name, arch), unix.ErrnoName(refused.Errno)
	if r.program != nil {
		one.Verdict = verdict.String()
	}
	r.blame(one, refused, verdict)
	return one
}

// killVerdict is the verdict for which a filter sent SIGSYS, if it is known: the
// arguments of the call are not.
func killVerdict(v bpf.Verdict) string {
	switch v.Action() {
	case unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_TRAP:
		return v.String()
	}
	return "SIGSYS"
}

// whenWatched counts the calls that were not looked at.
func (r *liveReports) whenWatched(more []launcher.More, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range more {
		if one := r.refusals[m.Sighting]; one != nil {
			one.Count += int(m.Count)
		} else {
			r.more += int(m.Count)
		}
	}
	r.lost += lost
}

// blame says why the kernel refused a call, as far as that is known, and what to do.
func (r *liveReports) blame(one *liveReport, refused launcher.Refused, verdict bpf.Verdict) {
	asked := askedNames(one.Call, refused.Asked)
	one.Capabilities = asked
	allows := "the filter allows it; "
	switch {
	case r.program == nil:
		allows = ""
	case !verdict.Passes():
		allows = "the filter would deny it, too; "
	}
	if len(asked) == 0 {
		var o launcher.Obstacle
		if refused.FindObstacle != nil {
			o = refused.FindObstacle()
		}
		one.Because = allows + withoutCapability(one.Call, refused, o)
		if how := obstacleChange(o); how != "" {
			one.Changes = []change{{Kind: remedyFlags, How: how}}
		}
		return
	}
	has := slices.ContainsFunc(asked, func(name string) bool { return slices.Contains(r.capabilities, name) })
	what := "the kernel asked for " + strings.Join(asked, " or ")
	switch {
	case refused.OwnUsers:
		what += "; the process is in a user namespace of its own, and has no capabilities outside of it"
	case refused.Outside:
		what += " outside of the process's user namespace, where it has no capabilities"
	case has:
		what += fmt.Sprintf(", which the container has but this process (user %d) does not", refused.User)
		if refused.User != 0 {
			one.Changes = []change{{Kind: remedyFlags, How: "run it as root"}}
		}
	default:
		what += ", which the container does not have"
		if limit := limitFlag(one, refused); limit != "" {
			one.Changes = []change{{Kind: remedyFlags, How: limit}}
		}
		if name := least(asked); slices.Contains(capname.All(), name) {
			how := "--cap-add " + name
			if refused.User != 0 {
				how += ", and run it as root"
			}
			one.Changes = append(one.Changes, change{Kind: analyze.RemedyCapability, How: how})
		}
	}
	if refused.Answered {
		what += "; its answer to the message says so (netlink(7))"
	}
	if refused.NoNewPrivs {
		what += "; no_new_privs is set, so that set-user-ID programs gain nothing"
	}
	one.Because = allows + what
}

// limitFlag is the flag for the limit of setrlimit(2) that a call would exceed, or "".
func limitFlag(one *liveReport, refused launcher.Refused) string {
	asked := func(capability int) bool { return refused.Asked>>capability&1 != 0 }
	switch {
	case one.Call == "setrlimit" && len(one.Args) > 0 && asked(unix.CAP_SYS_RESOURCE):
		return ulimitFlag(one.Args[0])
	case one.Call == "prlimit64" && len(one.Args) > 1 && asked(unix.CAP_SYS_RESOURCE):
		return ulimitFlag(one.Args[1])
	case overLimit(refused) && asked(unix.CAP_IPC_LOCK):
		return ulimitFlag("RLIMIT_MEMLOCK")
	case overLimit(refused) && slices.Contains([]string{"fork", "vfork", "clone", "clone3"}, one.Call):
		return ulimitFlag("RLIMIT_NPROC")
	}
	return ""
}

// ulimitFlag is the flag for a resource, as setrlimit(2) names it.
func ulimitFlag(resource string) string {
	name, ok := strings.CutPrefix(resource, "RLIMIT_")
	if !ok {
		return ""
	}
	return "--ulimit " + strings.ToLower(name) + "=N, with N as large as it asks for"
}

// executes reports whether a call executes a file, or asks whether it can.
func executes(n launcher.Notification) bool {
	switch name, _ := callName(n); name {
	case "execve", "execveat":
		return true
	case "access":
		return n.Args[1]&unix.X_OK != 0
	case "faccessat", "faccessat2":
		return n.Args[2]&unix.X_OK != 0
	}
	return false
}

// askedNames names the capabilities that a call asked for in vain.
func askedNames(call string, asked uint64) (names []string) {
	switch call {
	case "execve", "execveat", "mmap", "mmap2", "brk", "mremap", "mprotect":
		// The kernel asks whether memory that is kept for root may be used, and goes on
		// without (cap_vm_enough_memory of security/commoncap.c).
		asked &^= 1 << unix.CAP_SYS_ADMIN
	}
	return capabilityNames(asked)
}

// capabilityNames returns the names for the bits of a set.
func capabilityNames(set uint64) (names []string) {
	for number := range 64 {
		if set>>number&1 == 0 {
			continue
		}
		name := fmt.Sprintf("capability %d", number)
		if number < len(capname.All()) {
			name = capname.All()[number]
		}
		names = append(names, name)
	}
	return names
}

// least returns which of several capabilities, one of which is enough, allows the least.
func least(names []string) string {
	wide := []string{"CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"}
	return slices.MinFunc(names, func(a, b string) int { return slices.Index(wide, a) - slices.Index(wide, b) })
}

// withoutCapability says what is known of a call that was refused though the kernel
// asked for no capability. It does not say that a security module did it.
func withoutCapability(call string, refused launcher.Refused, o launcher.Obstacle) string {
	switch o.Kind {
	case launcher.MaskedPath:
		return o.Path + " is masked in the container"
	case launcher.ReadOnlyPath:
		return o.Path + " is read-only in the container"
	case launcher.ReadOnlyMount:
		return "the mount on " + o.Path + " is read-only"
	case launcher.ReadOnlyRoot:
		return "the root is read-only"
	case launcher.DeviceNode:
		return o.Path + " is a device, which the container's device cgroup does not allow"
	case launcher.NoDevices:
		return o.Path + " is a device, and its file system is mounted nodev"
	case launcher.NoExecutables:
		return "the file system of " + o.Path + " is mounted noexec"
	case launcher.NotExecutable:
		return o.Path + " has no execute bit"
	case launcher.Immutable:
		return o.Path + " is immutable or append-only (chattr(1))"
	case launcher.Unbounded:
		return o.Path + " has file capabilities (capabilities(7)) that the container does not have: " + strings.Join(capabilityNames(o.Lacks), " ")
	}
	if refused.Errno == unix.EROFS {
		return "the file system is mounted read-only"
	}
	switch call {
	case "mknod", "mknodat":
		return "the kernel asked for no capability that the process lacks; the device cgroup forbids to make devices that are not listed"
	case "setrlimit", "prlimit64":
		return "no limit of open files is above the kernel's (sysctl fs.nr_open); no capability helps"
	}
	known := []string{"the kernel asked for no capability that the process lacks"}
	if refused.NoNewPrivs {
		known = append(known, "no_new_privs is set")
	}
	if refused.AppArmor != "" {
		known = append(known, "AppArmor confines the container by "+refused.AppArmor)
	}
	return strings.Join(known, "; ")
}

// obstacleChange is the flag that removes an obstacle, or "".
func obstacleChange(o launcher.Obstacle) string {
	switch o.Kind {
	case launcher.MaskedPath, launcher.ReadOnlyPath:
		return "--security-opt systempaths=unconfined"
	case launcher.ReadOnlyRoot:
		return "leave out --read-only"
	case launcher.ReadOnlyMount:
		if o.Volume {
			return "mount " + o.Path + " without ro"
		}
	case launcher.DeviceNode:
		return "--device-cgroup-rule '" + o.Device + " rwm'"
	case launcher.NotExecutable:
		return "chmod +x " + shellWord(o.Path)
	case launcher.Unbounded:
		return "--cap-add " + strings.Join(capabilityNames(o.Lacks), " --cap-add ")
	case launcher.NoExecutables:
		if o.Mount != "" {
			return "mount " + o.Mount + " with exec"
		}
	}
	return ""
}
