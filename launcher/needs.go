package launcher

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/trace"
)

// Need is a capability that a run needed: the kernel asked a process of the container for it,
// in the container's user namespace, and the process had it.
type Need struct {
	Cap  int          // as capabilities(7) numbers it
	Call RecordedCall // that the kernel asked in, without a value; or else
	File string       // the executable that cannot be executed without it, as its caller named it

	// The call's arguments and the real IDs of the caller, in the first user namespace, for
	// CAP_FSETID, CAP_SETUID and CAP_SETGID, which the kernel also asks for where they do not
	// matter; else 0.
	Args     [3]uint64
	UID, GID uint32
}

// needs finds out what capabilities a run needs.
//
// The kernel asks with other credentials than the caller's own, too: overlayfs works on the
// layers with those of its mounter. A check counts only for the process's own credentials.
type needs struct {
	asked    *trace.Map // key → 1
	executed *trace.Map // names of executables → 1
	links    []*trace.Link
	root     *os.File // the container's, with O_PATH
	mounts   *os.File // its mount namespace, which keeps volumes in the root
	cwd      string   // what relative names of executables begin at

	credentials
	filename int32 // offset in linux_binprm
}

// attachNeeds attaches the programs for the container of a parked init. begun holds the
// container's user namespace from its command's execve on.
func attachNeeds(s *trace.Scope, begun *trace.Map, init int, cwd string) (*needs, error) {
	n := &needs{cwd: cwd}
	if err := n.prepare(s, begun, init); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

// credentials are the offsets that lead to a process's user namespace, in task_struct and cred.
type credentials struct{ realCred, userNS int32 }

// members returns where the offset of each member goes.
func (c *credentials) members() map[string]*int32 {
	return map[string]*int32{"task_struct.real_cred": &c.realCred, "cred.user_ns": &c.userNS}
}

// setOffsets looks the offsets of members up in the kernel's type information. It returns the numbers
// of functions, too.
func setOffsets(members map[string]*int32, functions ...string) (trace.Types, error) {
	types, err := trace.KernelTypes(append(slices.Collect(maps.Keys(members)), functions...)...)
	if err != nil {
		return nil, err
	}
	for member, at := range members {
		if *at, err = types.Offset(member); err != nil {
			return nil, err
		}
	}
	return types, nil
}

// checkedIn is the function that checks a capability, and a tracepoint in it (Linux 6.14).
const checkedIn = "cap_capable"

func (n *needs) prepare(s *trace.Scope, begun *trace.Map, init int) error {
	members := n.members()
	members["linux_binprm.filename"] = &n.filename
	types, err := setOffsets(members, checkedIn)
	if err != nil {
		return err
	}
	if n.asked, err = trace.NewMap(trace.MapOptions{Name: "minirun_needs", Kind: unix.BPF_MAP_TYPE_HASH, Key: needSize, Value: 8, Entries: maxNeeds}); err != nil {
		return err
	}
	if n.executed, err = trace.NewMap(trace.MapOptions{Name: "minirun_execs", Kind: unix.BPF_MAP_TYPE_HASH, Key: maxExecutable, Value: 8, Entries: maxNeeds}); err != nil {
		return err
	}
	if err := n.open(init); err != nil {
		return err
	}
	return n.attach(types, s, begun)
}

// open opens what is needed to look at executables when the container has ended.
func (n *needs) open(init int) error {
	proc := "/proc/" + strconv.Itoa(init)
	root, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's root: %w", err)
	}
	n.root = os.NewFile(uintptr(root), "root")
	n.mounts, err = os.Open(proc + "/ns/mnt")
	return err
}

// attach attaches the programs. That for checks goes to the function, which knows what is
// not audited, or else to its tracepoint.
func (n *needs) attach(types trace.Types, s *trace.Scope, begun *trace.Map) error {
	link, err := types.FunctionExit(checkedIn, n.askedProgram(s, begun, true))
	if err != nil {
		var err2 error
		if link, err2 = trace.RawTracepoint(checkedIn, n.askedProgram(s, begun, false)); err2 != nil {
			return errors.Join(err, err2)
		}
	}
	n.links = append(n.links, link)
	if link, err = trace.RawTracepoint("sched_process_exec", n.executedProgram(s, begun)); err != nil {
		return err
	}
	n.links = append(n.links, link)
	return nil
}

// all returns what was needed, sorted and each once.
func (n *needs) all() ([]Need, error) {
	keys, err1 := n.asked.Keys()
	names, err2 := n.executed.Keys()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	found := []Need{}
	probes := probesOf(keys)
	for _, key := range keys {
		if !isProbe(key, probes) {
			found = append(found, readNeed(key))
		}
	}
	for _, name := range names {
		file := unix.ByteSliceToString(name)
		capabilities := n.fileCapabilities(file)
		for c := range 64 {
			if capabilities>>c&1 != 0 {
				found = append(found, Need{Cap: c, File: file})
			}
		}
	}
	slices.SortFunc(found, func(a, b Need) int {
		return cmp.Or(a.Cap-b.Cap, cmp.Compare(a.File, b.File), cmp.Compare(a.Call.Arch, b.Call.Arch), cmp.Compare(a.Call.Nr, b.Call.Nr),
			slices.Compare(a.Args[:], b.Args[:]), cmp.Compare(a.UID, b.UID), cmp.Compare(a.GID, b.GID))
	})
	return slices.Compact(found), nil
}

func readNeed(key []byte) Need {
	order := binary.NativeEndian
	n := Need{Cap: int(order.Uint32(key[needCap:])), UID: order.Uint32(key[needUser:]), GID: order.Uint32(key[needUser+4:])}
	n.Call = RecordedCall{Arch: unix.AUDIT_ARCH_X86_64, Nr: order.Uint32(key[needNr:])}
	if order.Uint32(key[needCompat:]) != 0 {
		n.Call.Arch = unix.AUDIT_ARCH_I386
	}
	for i := range n.Args {
		n.Args[i] = order.Uint64(key[needArgs+8*i:])
	}
	return n
}

// probesOf returns the functions of the kernel that ask for a capability and go on without,
// if there is a key that says who asked.
func probesOf(keys [][]byte) []trace.Range {
	if !slices.ContainsFunc(keys, func(key []byte) bool { return binary.NativeEndian.Uint64(key[needFrames:]) != 0 }) {
		return nil
	}
	// The first asks whether memory that is kept for root may be used, by
	// cap_vm_enough_memory; the others are told not to audit.
	probes, err := trace.Functions("security_vm_enough_memory_mm", "ns_capable_noaudit", "has_ns_capability_noaudit", "has_capability_noaudit", "capable_noaudit")
	if err != nil {
		return nil // all count then
	}
	return probes
}

// isProbe reports whether one of the functions asked.
func isProbe(key []byte, probes []trace.Range) bool {
	for at := needFrames; at < needSize; at += 8 {
		address := binary.NativeEndian.Uint64(key[at:])
		if slices.ContainsFunc(probes, func(r trace.Range) bool { return r.Has(address) }) {
			return true
		}
	}
	return false
}

// fileCapabilities returns the capabilities without which a file of the container cannot be
// executed: its own, if it has them effective (capabilities(7)). It is 0 for a file that
// is not found, such as one with a relative name and a caller that had changed its directory.
func (n *needs) fileCapabilities(name string) uint64 {
	if !path.IsAbs(name) {
		name = path.Join(n.cwd, name)
	}
	fd, err := unix.Openat2(int(n.root.Fd()), name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	return capabilitiesOf(fd)
}

// capabilitiesOf is fileCapabilities of a file that is open, be it with O_PATH.
func capabilitiesOf(fd int) uint64 {
	var mount unix.Statfs_t
	if err := unix.Fstatfs(fd, &mount); err != nil || mount.Flags&unix.ST_NOSUID != 0 {
		return 0 // they do not count there (mount(2), MS_NOSUID)
	}
	data := make([]byte, 24) // struct vfs_ns_cap_data, linux/capability.h
	size, err := unix.Getxattr("/proc/self/fd/"+strconv.Itoa(fd), "security.capability", data)
	if err != nil {
		return 0
	}
	return effective(data[:size])
}

// effective returns the permitted capabilities of an executable if they are effective.
func effective(data []byte) uint64 {
	const flagEffective, oneWord, twoWords = 1, 12, 20
	order := binary.LittleEndian
	switch {
	case len(data) < oneWord || order.Uint32(data)&flagEffective == 0:
		return 0
	case len(data) < twoWords:
		return uint64(order.Uint32(data[4:]))
	}
	return uint64(order.Uint32(data[4:])) | uint64(order.Uint32(data[12:]))<<32
}

func (n *needs) close() (err error) {
	if n == nil {
		return nil
	}
	for _, link := range n.links {
		err = errors.Join(err, link.Close())
	}
	for _, m := range []*trace.Map{n.asked, n.executed} {
		if m != nil {
			err = errors.Join(err, m.Close())
		}
	}
	for _, f := range []*os.File{n.root, n.mounts} {
		if f != nil {
			f.Close()
		}
	}
	return err
}
