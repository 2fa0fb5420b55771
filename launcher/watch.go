package launcher

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/trace"
)

// Watch reports the calls of a container that the kernel refuses, by whatever part of it,
// the filter included; and those for which a filter sends SIGSYS.
// Of a thread's calls from one place three are reported and the others counted. Both
// functions are called by one goroutine of the launcher's, while callers go on.
type Watch struct {
	Errnos      []unix.Errno                                   // that count as refused; not 0. ENOMEM and EAGAIN do where CAP_IPC_LOCK or CAP_SYS_RESOURCE was asked for
	Texts       func(yield func(arch, nr uint32, texts uint8)) // the calls with arguments that point to texts, a bit each
	Executes    func(Notification) bool                        // whether a call executes a file, or asks whether it can
	WhenRefused func(*Refused)
	Warn        func(error)                    // called once if nothing, or not all, can be watched
	AtEnd       func(more []More, lost uint64) // lost is how many reports found no room

	filtered bool // look only at processes that have a filter
}

var errNested = errors.New("the container has no cgroup v2 of its own: its processes in other PID namespaces are not watched")

// Refused is a call that the kernel refused. Texts are what arguments point to where that
// is in memory, three at most.
type Refused struct {
	Denied
	Sighting
	Errno      unix.Errno // 0: a filter sent SIGSYS; then there are no arguments
	User       uint32     // the caller's effective user, in the container's user namespace
	Outside    bool       // the kernel asked for capabilities outside of the caller's user namespace only; known where the container has one of its own
	OwnUsers   bool       // the caller is in a user namespace inside of the container's
	NoNewPrivs bool       // prctl(2), PR_SET_NO_NEW_PRIVS
	AppArmor   string     // the profile that confines the container, or ""
	Answered   bool       // by a message that the call's process received later: the call itself succeeded (netlink(7))

	// LookUp adds what /proc says of the caller, unless it has ended: the executable and the library,
	// OwnUsers and NoNewPrivs, and the PID of a caller in a PID namespace inside of the container's. It
	// takes longer than all else, and is for [Watch.WhenRefused] only.
	LookUp func()

	// FindObstacle looks for what else stood in the way, which takes a while. It is for
	// [Watch.WhenRefused] only, and nil if there is nothing to look at.
	FindObstacle func() Obstacle
}

// Sighting is what one report stands for: calls of a thread from one place. Asked has a
// bit for each capability that the kernel asked for and the caller did not hold, by its
// number in capabilities(7).
type Sighting struct {
	TID   int
	Nr    uint32
	IP    uint64
	Asked uint64
}

// More is how many calls there were beside the reported ones.
type More struct {
	Sighting
	Count uint64
}

// watcher runs a watch.
type watcher struct {
	Watch
	spec   *specs.Spec
	init   int
	cgroup string         // the directory of its cgroup v2, or "" if that is not known
	root   *os.File       // of the container, with O_PATH
	mounts *os.File       // its mount namespace, which keeps what is mounted in root
	users  string         // its user namespace, or ""
	ids    configs.Config // the mappings of its users
	reader callerReader
	texts  [textCalls]uint8 // of each call the arguments that point to texts
	maps   watchMaps
	scope  *trace.Scope
	links  []*trace.Link
	ready  chan struct{} // closed when the programs are attached, or err says why not
	stopFD *os.File      // nil until the watch has begun
	done   chan struct{}
	err    error
}

// startWatch attaches the programs for an init that may still set up its container, which
// they do not look at before [watcher.begin].
// cgroup is the directory of its cgroup v2, or "" if that is not known.
func startWatch(init int, cgroup string, spec *specs.Spec, w Watch) *watcher {
	l := &watcher{Watch: w, spec: spec, init: init, cgroup: cgroup, ready: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.ready)
		l.err = l.prepare()
	}()
	return l
}

func (l *watcher) prepare() (err error) {
	if l.maps, err = newWatchMaps(); err != nil {
		return err
	}
	if err := l.setTexts(); err != nil {
		return err
	}
	if l.scope, err = trace.EmptyScope(l.filtered); err != nil {
		return err
	}
	return l.attach()
}

func (l *watcher) attach() error {
	pids, err := trace.PIDNamespace(strconv.Itoa(l.init))
	if err != nil {
		return err
	}
	l.links, err = attachWatch(l.scope, l.maps, pids, usersOf(l.spec), l.Errnos)
	return err
}

// begin has the container of the init, which is parked now, watched.
func (l *watcher) begin() (err error) {
	if <-l.ready; l.err != nil {
		return l.err
	}
	root, err := unix.Open("/proc/"+strconv.Itoa(l.init)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's root: %w", err)
	}
	l.root = os.NewFile(uintptr(root), "root")
	if l.mounts, err = os.Open("/proc/" + strconv.Itoa(l.init) + "/ns/mnt"); err != nil {
		return err
	}
	l.users, _ = os.Readlink("/proc/" + strconv.Itoa(l.init) + "/ns/user")
	if err := readMappings(&l.ids, "/proc/"+strconv.Itoa(l.init)); err != nil {
		return err
	}
	if l.reader.level, err = pidLevel(l.init); err != nil {
		return err
	}
	if l.scope.Fill(l.init, l.cgroup) != nil {
		if err := l.watchNamespace(); err != nil {
			return err
		}
		l.Warn(errNested)
	}
	stopped, stop, err := os.Pipe()
	if err != nil {
		return err
	}
	l.stopFD = stop
	go func() {
		defer close(l.done)
		defer stopped.Close()
		l.err = l.maps.ring.Run(stopped, l.event)
	}()
	return nil
}

// watchNamespace attaches the programs again, for a container without a cgroup v2.
func (l *watcher) watchNamespace() (err error) {
	err = errors.Join(closeLinks(l.links), l.scope.Close())
	l.links, l.scope = nil, nil
	if err != nil {
		return err
	}
	if l.scope, err = trace.NewScope(l.init, "", l.filtered); err != nil {
		return err
	}
	return l.attach()
}

// setTexts tells the programs which arguments point to texts.
func (l *watcher) setTexts() error {
	value := make([]byte, 4*textCalls)
	l.Texts(func(arch, nr uint32, texts uint8) {
		at := textsAt(arch, nr)
		if l.texts[at] == 0 || nr&x32Bit == 0 { // x32 has numbers of its own from 512 on, and else those of amd64
			l.texts[at] = texts
			binary.NativeEndian.PutUint32(value[4*at:], textRegisters(texts, arch == unix.AUDIT_ARCH_I386))
		}
	})
	return l.maps.texts.Update(make([]byte, 4), value)
}

const x32Bit = 0x40000000 // __X32_SYSCALL_BIT

// textsAt is the index of a call among those that have texts.
func textsAt(arch, nr uint32) uint32 {
	at := nr & (textNumbers - 1)
	if arch == unix.AUDIT_ARCH_I386 {
		at += textNumbers
	}
	return at
}

func (l *watcher) close() error {
	err := errors.Join(closeLinks(l.links), l.maps.close())
	l.links, l.maps = nil, watchMaps{}
	for _, f := range []*os.File{l.root, l.mounts} {
		if f != nil {
			f.Close()
		}
	}
	if l.scope != nil {
		err = errors.Join(err, l.scope.Close())
		l.scope = nil
	}
	return err
}

// stop detaches the programs, reports what is left and returns what went wrong. It may be
// called again.
func (l *watcher) stop() error {
	if l == nil {
		return nil
	}
	<-l.ready
	if l.stopFD == nil {
		return l.close()
	}
	err := closeLinks(l.links)
	l.links = nil
	l.stopFD.Close()
	l.stopFD = nil
	<-l.done
	more, err2 := l.more()
	lost, err3 := l.maps.lost.Count(make([]byte, 4))
	l.AtEnd(more, lost)
	return errors.Join(err, l.err, err2, err3, l.close())
}

// more returns what was seen more often than it was sent.
func (l *watcher) more() (all []More, err error) {
	keys, err := l.maps.seen.Keys()
	for _, key := range keys {
		n, err := l.maps.seen.Count(key)
		if err != nil {
			return all, err
		}
		if n > seenMost {
			order := binary.NativeEndian
			s := Sighting{int(order.Uint32(key)), order.Uint32(key[4:]), order.Uint64(key[8:]), withoutWhere(order.Uint64(key[16:]))}
			all = append(all, More{s, n - seenMost})
		}
	}
	return all, err
}

// event reports what a program sent.
func (l *watcher) event(data []byte) {
	if len(data) < eventTexts {
		return
	}
	order := binary.NativeEndian
	word := func(at int) uint32 { return order.Uint32(data[at:]) }
	long := func(at int) uint64 { return order.Uint64(data[at:]) }
	call := trace.ReadCall(data[eventRegs:eventSizes], word(eventCompat) != 0)
	r := &Refused{User: insideID(l.ids.UIDMappings, word(eventUser)), Answered: word(eventKind) == eventAnswered}
	r.Notification = Notification{TID: int(word(eventPID)), Nr: call.Nr, Arch: unix.AUDIT_ARCH_X86_64, IP: call.IP}
	comm, _, _ := bytes.Cut(data[eventComm:eventComm+commSize], []byte{0})
	r.Caller = Caller{Comm: string(comm), Host: int(word(eventPID + 4)), PID: int(word(eventInside + 4))}
	if word(eventKind) == eventSignal {
		r.Arch = uint32(long(eventResult))
	} else {
		if call.Compat {
			r.Arch = unix.AUDIT_ARCH_I386
		}
		r.Args, r.Errno, r.Asked = call.Args, unix.Errno(-int64(long(eventResult))), withoutWhere(long(eventAsked))
		r.Outside = long(eventAsked)>>askedInside == 1<<(askedOutside-askedInside)
		r.Texts = l.eventTexts(data, r.Notification)
	}
	r.Sighting = Sighting{r.Denied.TID, call.Nr, call.IP, r.Asked}
	r.NoNewPrivs, r.AppArmor = l.spec.Process.NoNewPrivileges, l.spec.Process.ApparmorProfile
	r.LookUp = func() { l.lookUp(r) }
	r.FindObstacle = func() Obstacle { return l.obstacle(r) }
	l.WhenRefused(r)
}

// withoutWhere returns the capabilities of what was asked for.
func withoutWhere(asked uint64) uint64 { return asked &^ (1<<askedInside | 1<<askedOutside) }

// usersOf returns what the programs need to see of which user namespace a capability was asked for. It
// is nil for a container that has none of its own, since it takes milliseconds, and where the kernel has no
// type information.
func usersOf(s *specs.Spec) *credentials {
	if !slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace }) {
		return nil
	}
	users := &credentials{}
	if _, err := setOffsets(users.members()); err != nil {
		return nil
	}
	return users
}

// insideID returns a user as a user namespace has it.
func insideID(mappings []configs.IDMap, id uint32) uint32 {
	for _, m := range mappings {
		if at := int64(id) - m.HostID; at >= 0 && at < m.Size {
			return uint32(m.ContainerID + at)
		}
	}
	return 65534 // as the kernel shows users that a namespace does not have (user_namespaces(7))
}

// eventTexts returns the texts that were read, each at the index of its argument.
func (l *watcher) eventTexts(data []byte, n Notification) (texts [6]*CallerText) {
	mask, slot := l.texts[textsAt(n.Arch, n.Nr)], 0
	for i := range texts {
		at := eventTexts + slot*maxCallerText
		if mask>>i&1 == 0 || at+maxCallerText > len(data) {
			continue
		}
		size := int64(binary.NativeEndian.Uint64(data[eventSizes+8*slot:]))
		if size > 0 && size <= maxCallerText {
			texts[i] = &CallerText{Text: string(data[at : at+int(size)-1]), Cut: size == maxCallerText}
		}
		slot++
	}
	return texts
}

// lookUp adds what /proc says of a caller, unless it has ended meanwhile.
func (l *watcher) lookUp(r *Refused) {
	proc := "/proc/" + strconv.Itoa(r.Denied.TID)
	status, err := os.ReadFile(proc + "/status")
	if err != nil || statusLine(status, "Tgid") != strconv.Itoa(r.Caller.Host) {
		return
	}
	if pids := strings.Fields(statusLine(status, "NStgid")); r.Caller.PID == 0 && len(pids) > 0 {
		r.Caller.PID, _ = strconv.Atoi(pids[min(l.reader.level, len(pids)-1)])
	}
	r.NoNewPrivs = r.NoNewPrivs || statusLine(status, "NoNewPrivs") == "1"
	r.Caller.Exe, _ = os.Readlink(proc + "/exe")
	r.Caller.Lib = libraryAt(proc, r.Denied.IP)
	users, err := os.Readlink(proc + "/ns/user")
	r.OwnUsers = err == nil && l.users != "" && users != l.users
}
