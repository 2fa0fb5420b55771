package seccomptest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Judge returns the verdicts of a flat list, call by call, without making a program. They are
// those of Docker's runtime and libseccomp(3), with minirun's additions.
type Judge struct {
	list    *specs.LinuxSeccomp
	Native  syscalls.Arch
	Arches  []syscalls.Arch // Native first
	byCall  map[string][]clause
	numbers map[syscalls.Arch]map[uint32][]string // the names that a number of an architecture has in the list
	Largest map[syscalls.Arch]uint32              // the largest number that the list names and libseccomp knows
}

// clause is one rule for one call, as libseccomp gets it: all its conditions must hold.
type clause struct {
	action     specs.LinuxSeccompAction
	errnoRet   *uint
	conditions []specs.LinuxSeccompArg
}

// NewJudge returns a judge of a list on a machine of an architecture.
func NewJudge(list *specs.LinuxSeccomp, native syscalls.Arch) *Judge {
	j := &Judge{list: list, Native: native, Arches: []syscalls.Arch{native}, byCall: map[string][]clause{}}
	for _, oci := range list.Architectures {
		if a, _ := syscalls.ParseArch(string(oci)); !slices.Contains(j.Arches, a) {
			j.Arches = append(j.Arches, a)
		}
	}
	for _, s := range list.Syscalls {
		if VerdictOf(s.Action, s.ErrnoRet) == VerdictOf(list.DefaultAction, list.DefaultErrnoRet) {
			continue
		}
		for _, name := range s.Names {
			for _, conditions := range Split(s.Args) {
				j.byCall[name] = append(j.byCall[name], clause{s.Action, s.ErrnoRet, conditions})
			}
		}
	}
	j.number()
	return j
}

// Split divides the conditions of a rule: if an index occurs twice, each condition is a
// separate rule.
func Split(args []specs.LinuxSeccompArg) [][]specs.LinuxSeccompArg {
	count := map[uint]int{}
	for _, a := range args {
		count[a.Index]++
	}
	for _, n := range count {
		if n > 1 {
			var each [][]specs.LinuxSeccompArg
			for _, a := range args {
				each = append(each, []specs.LinuxSeccompArg{a})
			}
			return each
		}
	}
	return [][]specs.LinuxSeccompArg{args}
}

// number sets the numbers of all names, and the largest that libseccomp knows.
func (j *Judge) number() {
	j.numbers, j.Largest = map[syscalls.Arch]map[uint32][]string{}, map[syscalls.Arch]uint32{}
	for _, a := range j.Arches {
		j.numbers[a] = map[uint32][]string{}
		token, _ := libseccomp.GetArchFromString(strings.Replace(a.String(), "loongarch64", "loong64", 1))
		for _, s := range j.list.Syscalls {
			for _, name := range s.Names {
				known, err := libseccomp.GetSyscallFromNameByArch(name, token)
				if err == nil && known > 0 {
					j.Largest[a] = max(j.Largest[a], uint32(known))
				}
				nr, ok := syscalls.Number(a, name)
				switch {
				case err == nil && known >= 0:
					nr, ok = uint32(known), true
				case a == j.Native:
				case err != nil || !multiplexed(a) || !slices.Contains(append(SocketCalls[:], IPCCalls[:]...), name):
					ok = false // a call that goes through a multiplexer has a number below 0 there
				}
				if ok && !slices.Contains(j.numbers[a][nr], name) {
					j.numbers[a][nr] = append(j.numbers[a][nr], name)
				}
			}
		}
	}
}

// Verdict returns the verdict on a call.
func (j *Judge) Verdict(t *testing.T, c bpf.Call) bpf.Verdict {
	t.Helper()
	arch, ok := syscalls.FromAudit(c.Arch, c.Nr)
	if !ok || !slices.Contains(j.Arches, arch) {
		return unix.SECCOMP_RET_KILL_THREAD // libseccomp's answer to an architecture that the filter is not for
	}
	var clauses []clause
	recent := false
	for _, name := range j.numbers[arch][c.Nr] {
		clauses = append(clauses, j.byCall[name]...)
		_, err := libseccomp.GetSyscallFromName(name)
		recent = recent || err != nil
	}
	if arch == j.Native {
		if v, ok := j.tooWide(clauses, j.numbers[arch][c.Nr], c); ok {
			return v
		}
	}
	if !recent && j.beyond(arch, c.Nr) {
		return unix.SECCOMP_RET_ERRNO | bpf.Verdict(unix.ENOSYS)
	}
	if multiplexed(arch) {
		clauses = append(clauses, j.multiplexer(arch, c.Nr)...)
	}
	return j.decide(t, arch, clauses, c)
}

// beyond reports whether the number is above all that the list names, or is s390's 0.
func (j *Judge) beyond(arch syscalls.Arch, nr uint32) bool {
	largest, ok := j.Largest[arch]
	s390 := arch == syscalls.S390 || arch == syscalls.S390X
	return ok && !permissive(j.list.DefaultAction) && j.list.DefaultAction != specs.ActNotify && (nr > largest || s390 && nr == 0)
}

func permissive(a specs.LinuxSeccompAction) bool {
	return a == specs.ActAllow || a == specs.ActLog || a == specs.ActTrace
}

// tooWide returns the verdict on a call with upper bits set in a compared argument of which the
// kernel ignores them. If the default lets calls through, it is that of the first clause that
// does not.
func (j *Judge) tooWide(clauses []clause, names []string, c bpf.Call) (bpf.Verdict, bool) {
	if unconditional(clauses) != nil {
		return 0, false // nothing depends on arguments
	}
	byIndex := map[uint][]clause{}
	var indices []uint
	for _, cl := range clauses {
		for _, a := range cl.conditions {
			if syscalls.Int32Args(names[0])&(1<<a.Index) != 0 {
				byIndex[a.Index] = append(byIndex[a.Index], cl)
				indices = append(indices, a.Index)
			}
		}
	}
	for _, index := range indices {
		if c.Args[index]>>32 == 0 {
			continue
		}
		if !permissive(j.list.DefaultAction) {
			return VerdictOf(j.list.DefaultAction, j.list.DefaultErrnoRet), true
		}
		of := byIndex[index][0]
		for _, cl := range byIndex[index] {
			if !permissive(cl.action) {
				of = cl
				break
			}
		}
		return VerdictOf(of.action, of.errnoRet), true
	}
	return 0, false
}

func unconditional(clauses []clause) *clause {
	for i := range clauses {
		if len(clauses[i].conditions) == 0 {
			return &clauses[i]
		}
	}
	return nil
}

// decide returns the verdict of the first unconditional clause, else of the one whose
// conditions hold, else the default. If several with different verdicts hold, libseccomp does
// not define the meaning of the list, and the test's fixture is wrong.
func (j *Judge) decide(t *testing.T, arch syscalls.Arch, clauses []clause, c bpf.Call) bpf.Verdict {
	t.Helper()
	if cl := unconditional(clauses); cl != nil {
		return VerdictOf(cl.action, cl.errnoRet)
	}
	verdict, decided := VerdictOf(j.list.DefaultAction, j.list.DefaultErrnoRet), false
	for _, cl := range clauses {
		if slices.ContainsFunc(cl.conditions, func(a specs.LinuxSeccompArg) bool { return !Satisfied(arch, a, c.Args[a.Index]) }) {
			continue
		}
		v := VerdictOf(cl.action, cl.errnoRet)
		if decided && v != verdict {
			t.Fatalf("two clauses for %+v", c)
		}
		verdict, decided = v, true
	}
	return verdict
}

// narrow reports whether an architecture passes 32-bit arguments.
func narrow(a syscalls.Arch) bool {
	return a == syscalls.X86 || a == syscalls.X32 || a == syscalls.ARM || a == syscalls.S390
}

// Satisfied reports whether an argument meets a condition on an architecture.
func Satisfied(arch syscalls.Arch, a specs.LinuxSeccompArg, arg uint64) bool {
	value, two := a.Value, a.ValueTwo
	if narrow(arch) {
		arg, value, two = uint64(uint32(arg)), uint64(uint32(value)), uint64(uint32(two))
	}
	switch a.Op {
	case specs.OpEqualTo:
		return arg == value
	case specs.OpNotEqual:
		return arg != value
	case specs.OpLessThan:
		return arg < value
	case specs.OpLessEqual:
		return arg <= value
	case specs.OpGreaterThan:
		return arg > value
	case specs.OpGreaterEqual:
		return arg >= value
	}
	return arg&value == two&value // libseccomp masks both
}

// VerdictOf returns the verdict of an action.
func VerdictOf(a specs.LinuxSeccompAction, errnoRet *uint) bpf.Verdict {
	data := bpf.Verdict(unix.EPERM)
	if errnoRet != nil {
		data = bpf.Verdict(*errnoRet)
	}
	return map[specs.LinuxSeccompAction]bpf.Verdict{
		specs.ActKill: 0, specs.ActKillThread: 0, specs.ActKillProcess: 0x80000000, specs.ActTrap: 0x30000,
		specs.ActErrno: 0x50000 | data, specs.ActNotify: 0x7fc00000, specs.ActTrace: 0x7ff00000 | data,
		specs.ActLog: 0x7ffc0000, specs.ActAllow: 0x7fff0000,
	}[a]
}

func multiplexed(a syscalls.Arch) bool {
	return a == syscalls.X86 || a == syscalls.S390 || a == syscalls.S390X || a == syscalls.PPC64LE
}

// The calls that socketcall and ipc multiplex, by their numbers in linux/net.h and
// linux/ipc.h.
var (
	SocketCalls = [...]string{
		"", "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv",
		"sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg",
	}
	IPCCalls = [...]string{
		1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop", 11: "msgsnd", 12: "msgrcv", 13: "msgget", 14: "msgctl",
		21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl",
	}
)

// multiplexer returns the clauses for socketcall and ipc that come from rules for the calls
// they multiplex. The first argument is then the number of the call, and replaces a condition
// on the call's own first argument.
func (j *Judge) multiplexer(arch syscalls.Arch, nr uint32) []clause {
	var calls []string
	switch name, _ := syscalls.NameOf(arch, nr); name {
	case "socketcall":
		calls = SocketCalls[:]
	case "ipc":
		calls = IPCCalls[:]
	}
	var clauses []clause
	for i, name := range calls {
		for _, cl := range j.byCall[name] {
			number := specs.LinuxSeccompArg{Index: 0, Value: uint64(i), Op: specs.OpEqualTo}
			rest := slices.DeleteFunc(slices.Clone(cl.conditions), func(a specs.LinuxSeccompArg) bool { return a.Index == 0 })
			clauses = append(clauses, clause{cl.action, cl.errnoRet, append(rest, number)})
		}
	}
	return clauses
}

// Calls returns the calls to try on an architecture: every number up to some beyond the last,
// and for compared arguments all combinations of the values around the compared ones.
func (j *Judge) Calls(arch syscalls.Arch) []bpf.Call {
	var all []bpf.Call
	first := uint32(0)
	if arch == syscalls.X32 {
		first = bpf.X32Bit
	}
	for nr := first; nr < first+600; nr++ {
		around := map[uint][]uint64{}
		for _, name := range j.numbers[arch][nr] {
			for _, cl := range j.byCall[name] {
				for _, a := range cl.conditions {
					around[a.Index] = append(around[a.Index], Boundaries(a)...)
				}
			}
		}
		if name, _ := syscalls.NameOf(arch, nr); name == "socketcall" || name == "ipc" {
			for i := range uint64(26) {
				around[0] = append(around[0], i)
			}
		}
		each := []bpf.Call{{Nr: nr, Arch: arch.Audit()}}
		for _, index := range slices.Sorted(maps.Keys(around)) {
			slices.Sort(around[index])
			var more []bpf.Call
			for _, v := range slices.Compact(around[index]) {
				for _, c := range each {
					c.Args[index] = v
					if narrow(arch) && arch != syscalls.X32 { // the kernel would pass no more
						c.Args[index] = uint64(uint32(v))
					}
					more = append(more, c)
				}
			}
			each = more
		}
		all = append(all, each...)
	}
	return append(all, bpf.Call{Nr: first + 4000, Arch: arch.Audit()}, bpf.Call{Nr: first | 0x3fffffff, Arch: arch.Audit()})
}

// Boundaries returns the values around those that a condition compares with.
func Boundaries(a specs.LinuxSeccompArg) []uint64 {
	var values []uint64
	of := []uint64{a.Value}
	if a.Op == specs.OpMaskedEqual {
		of = []uint64{a.ValueTwo, a.ValueTwo | ^a.Value, a.ValueTwo & a.Value, a.ValueTwo ^ a.Value&-a.Value}
	}
	for _, v := range of {
		values = append(values, v, v-1, v+1, v^1<<32, uint64(uint32(v)))
	}
	return append(values, 0, 1<<31, ^uint64(0))
}
