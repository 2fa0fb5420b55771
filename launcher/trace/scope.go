package trace

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Scope is whose calls programs look at: those of the processes of a container.
type Scope struct {
	// Filtered leaves out processes without a seccomp filter. In a container that has one,
	// these are on their way into it, and not its command yet.
	Filtered bool

	cgroup *Map // of one cgroup, or nil
	pids   Namespace
}

// Namespace is a namespace as bpf_get_ns_current_pid_tgid takes it.
type Namespace struct{ Dev, Ino uint64 }

// PIDNamespace returns the PID namespace of a process.
func PIDNamespace(pid string) (Namespace, error) {
	var s unix.Stat_t
	if err := unix.Stat("/proc/"+pid+"/ns/pid", &s); err != nil {
		return Namespace{}, fmt.Errorf("find the PID namespace of process %s: %w", pid, err)
	}
	dev := uint64(unix.Major(s.Dev))<<20 | uint64(unix.Minor(s.Dev)) // dev_t inside of the kernel
	return Namespace{dev, s.Ino}, nil
}

// NewScope returns the scope of the container of a process: its cgroup v2, which all its
// descendants are in, also those in PID namespaces of their own. On a machine without
// cgroup v2, or where the container has no cgroup of its own there, it is the PID namespace
// of the process, and [Scope.Complete] reports false. dir is as for [Scope.Fill].
func NewScope(pid int, dir string, filtered bool) (*Scope, error) {
	s, err := EmptyScope(filtered)
	if err != nil {
		return nil, err
	}
	if err = s.Fill(pid, dir); err == nil {
		return s, nil
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	own, err1 := PIDNamespace("self")
	its, err2 := PIDNamespace(strconv.Itoa(pid))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if own == its {
		return nil, fmt.Errorf("neither a cgroup nor a PID namespace tells the container from other processes: %w", err)
	}
	return &Scope{Filtered: filtered, pids: its}, nil
}

// EmptyScope returns a scope without processes, so that programs can be attached before
// there are any. [Scope.Fill] selects them.
func EmptyScope(filtered bool) (*Scope, error) {
	m, err := NewMap(MapOptions{"minirun_cgroup", unix.BPF_MAP_TYPE_CGROUP_ARRAY, 4, 4, 1})
	if err != nil {
		return nil, err
	}
	return &Scope{Filtered: filtered, cgroup: m}, nil
}

// Fill selects the processes of the cgroup v2 of a process for an empty scope. dir is the
// cgroup's directory, known to be the container's own, or "", and then it is looked up. The error
// says why the container has none: use [NewScope] then.
func (s *Scope) Fill(pid int, dir string) (err error) {
	if dir == "" {
		if dir, err = cgroupDir(pid); err != nil {
			return err
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := s.cgroup.Update(u32(0), u32(uint32(d.Fd()))); err != nil {
		return fmt.Errorf("put %s into a BPF map: %w", dir, err)
	}
	return nil
}

// Complete reports whether no process of the container is missed. The others are those
// that are in a PID namespace inside of the container's.
func (s *Scope) Complete() bool { return s.cgroup != nil }

// Close gives up the scope. Programs that use it keep it.
func (s *Scope) Close() error {
	if s.cgroup == nil {
		return nil
	}
	return s.cgroup.Close()
}

// Enter returns the instructions that a program starts with: the context is in R6
// afterwards, and other processes than the scope's have gone to the label outside. It uses
// the stack up to 8 bytes from its top, and changes R0 to R5.
func (s *Scope) Enter(outside string) asm.Instructions {
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadImm(asm.R1, int64(s.pids.Dev), asm.DWord),
		asm.LoadImm(asm.R2, int64(s.pids.Ino), asm.DWord),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, -8), // struct bpf_pidns_info
		asm.Mov.Imm(asm.R4, 8),
		asm.FnGetNsCurrentPidTgid.Call(),
		asm.JNE.Imm(asm.R0, 0, outside),
	}
	if s.cgroup != nil {
		code = asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadMapPtr(asm.R1, s.cgroup.FD()),
			asm.Mov.Imm(asm.R2, 0),
			asm.FnCurrentTaskUnderCgroup.Call(),
			asm.JNE.Imm(asm.R0, 1, outside),
		}
	}
	if s.Filtered {
		code = append(code, loadWork(-8)...)
		code = append(code, asm.JEq.Imm(asm.R0, 0, outside))
	}
	return code
}

// cgroupDir returns the directory of the cgroup v2 of a process, unless this process is
// in it, too.
func cgroupDir(pid int) (string, error) {
	its, err := cgroupPath(strconv.Itoa(pid))
	if err != nil {
		return "", err
	}
	own, err := cgroupPath("self")
	if err != nil {
		return "", err
	}
	if its == "/" || strings.HasPrefix(own+"/", its+"/") {
		return "", errors.New("the container has no cgroup v2 of its own")
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		below, err := filepath.Rel(m.Root, its)
		if err != nil || strings.HasPrefix(below, "..") {
			continue
		}
		dir := filepath.Join(m.Mountpoint, below)
		if _, err := os.Stat(dir); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted")
}

// cgroupPath returns the cgroup v2 of a process (cgroups(7)), from the root of the cgroup
// namespace of this one.
func cgroupPath(pid string) (string, error) {
	data, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(data) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", errors.New("this machine has no cgroup v2")
}
