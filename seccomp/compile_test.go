package seccomp

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// judge says what a flat list means, call by call, without making a program: as
// Docker's runtime and libseccomp(3) have it, with what minirun adds.
type judge struct {
	list    *specs.LinuxSeccomp
	native  syscalls.Arch
	arches  []syscalls.Arch // native first
	byCall  map[string][]clause
	numbers map[syscalls.Arch]map[uint32][]string // the names that a number of an architecture has in the list
	largest map[syscalls.Arch]uint32
}

// clause is one rule for one call, as it is given to libseccomp: all its
// conditions hold, or it has none.
type clause struct {
	action     specs.LinuxSeccompAction
	errnoRet   *uint
	conditions []specs.LinuxSeccompArg
}

func newJudge(list *specs.LinuxSeccomp, native syscalls.Arch) *judge {
	j := &judge{list: list, native: native, arches: []syscalls.Arch{native}, byCall: map[string][]clause{}}
	for _, oci := range list.Architectures {
		if a, _ := syscalls.ParseArch(string(oci)); !slices.Contains(j.arches, a) {
			j.arches = append(j.arches, a)
		}
	}
	for _, s := range list.Syscalls {
		if verdictOf(s.Action, s.ErrnoRet) == verdictOf(list.DefaultAction, list.DefaultErrnoRet) {
			continue
		}
		for _, name := range s.Names {
			for _, conditions := range split(s.Args) {
				j.byCall[name] = append(j.byCall[name], clause{s.Action, s.ErrnoRet, conditions})
			}
		}
	}
	j.number()
	return j
}

// split: an index that is there twice makes each condition a rule of its own.
func split(args []specs.LinuxSeccompArg) [][]specs.LinuxSeccompArg {
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

// number finds the numbers of all names, and the largest that libseccomp knows.
func (j *judge) number() {
	j.numbers, j.largest = map[syscalls.Arch]map[uint32][]string{}, map[syscalls.Arch]uint32{}
	for _, a := range j.arches {
		j.numbers[a] = map[uint32][]string{}
		token, _ := scmpArch(a.OCI())
		for _, s := range j.list.Syscalls {
			for _, name := range s.Names {
				known, err := libseccomp.GetSyscallFromNameByArch(name, token)
				if err == nil && known > 0 {
					j.largest[a] = max(j.largest[a], uint32(known))
				}
				nr, ok := syscalls.Number(a, name)
				switch {
				case err == nil && known >= 0:
					nr, ok = uint32(known), true
				case a == j.native:
				case err != nil || !multiplexed(a) || !slices.Contains(append(socketCalls[:], ipcCalls[:]...), name):
					ok = false // a call that goes through a multiplexer has a number below 0 there
				}
				if ok && !slices.Contains(j.numbers[a][nr], name) {
					j.numbers[a][nr] = append(j.numbers[a][nr], name)
				}
			}
		}
	}
}

// verdict is what the call gets.
func (j *judge) verdict(t *testing.T, c Call) Verdict {
	t.Helper()
	arch, ok := syscalls.FromAudit(c.Arch, c.Nr)
	if !ok || !slices.Contains(j.arches, arch) {
		return unix.SECCOMP_RET_KILL_THREAD // libseccomp's answer to an architecture that the filter is not for
	}
	var clauses []clause
	recent := false
	for _, name := range j.numbers[arch][c.Nr] {
		clauses = append(clauses, j.byCall[name]...)
		_, err := libseccomp.GetSyscallFromName(name)
		recent = recent || err != nil
	}
	if arch == j.native {
		if v, ok := j.tooWide(clauses, j.numbers[arch][c.Nr], c); ok {
			return v
		}
	}
	if !recent && j.beyond(arch, c.Nr) {
		return unix.SECCOMP_RET_ERRNO | Verdict(unix.ENOSYS)
	}
	if multiplexed(arch) {
		clauses = append(clauses, j.multiplexer(arch, c.Nr)...)
	}
	return j.decide(t, arch, clauses, c)
}

// beyond: the number is above all that the profile names, or is s390's 0.
func (j *judge) beyond(arch syscalls.Arch, nr uint32) bool {
	largest, ok := j.largest[arch]
	s390 := arch == syscalls.S390 || arch == syscalls.S390X
	return ok && !permissive(j.list.DefaultAction) && (nr > largest || s390 && nr == 0)
}

func permissive(a specs.LinuxSeccompAction) bool {
	return a == specs.ActAllow || a == specs.ActLog || a == specs.ActTrace
}

// tooWide: the upper bits of a compared argument are set and the kernel does not
// look at them. Where the default lets calls through, the first clause counts that
// does not.
func (j *judge) tooWide(clauses []clause, names []string, c Call) (Verdict, bool) {
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
			return verdictOf(j.list.DefaultAction, j.list.DefaultErrnoRet), true
		}
		of := byIndex[index][0]
		for _, cl := range byIndex[index] {
			if !permissive(cl.action) {
				of = cl
				break
			}
		}
		return verdictOf(of.action, of.errnoRet), true
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

// decide: the first unconditional clause, else the one whose conditions hold,
// else the default. Clauses that hold at once and disagree would be a fixture
// whose meaning libseccomp does not define.
func (j *judge) decide(t *testing.T, arch syscalls.Arch, clauses []clause, c Call) Verdict {
	t.Helper()
	if cl := unconditional(clauses); cl != nil {
		return verdictOf(cl.action, cl.errnoRet)
	}
	verdict, decided := verdictOf(j.list.DefaultAction, j.list.DefaultErrnoRet), false
	for _, cl := range clauses {
		if slices.ContainsFunc(cl.conditions, func(a specs.LinuxSeccompArg) bool { return !satisfied(arch, a, c.Args[a.Index]) }) {
			continue
		}
		v := verdictOf(cl.action, cl.errnoRet)
		if decided && v != verdict {
			t.Fatalf("two clauses for %+v", c)
		}
		verdict, decided = v, true
	}
	return verdict
}

// narrow architectures pass 32-bit arguments, of which x32 ignores the rest.
func narrow(a syscalls.Arch) bool {
	return a == syscalls.X86 || a == syscalls.X32 || a == syscalls.ARM || a == syscalls.S390
}

func satisfied(arch syscalls.Arch, a specs.LinuxSeccompArg, arg uint64) bool {
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

func verdictOf(a specs.LinuxSeccompAction, errnoRet *uint) Verdict {
	data := Verdict(unix.EPERM)
	if errnoRet != nil {
		data = Verdict(*errnoRet)
	}
	return map[specs.LinuxSeccompAction]Verdict{
		specs.ActKill: 0, specs.ActKillThread: 0, specs.ActKillProcess: 0x80000000, specs.ActTrap: 0x30000,
		specs.ActErrno: 0x50000 | data, specs.ActNotify: 0x7fc00000, specs.ActTrace: 0x7ff00000 | data,
		specs.ActLog: 0x7ffc0000, specs.ActAllow: 0x7fff0000,
	}[a]
}

func multiplexed(a syscalls.Arch) bool {
	return a == syscalls.X86 || a == syscalls.S390 || a == syscalls.S390X || a == syscalls.PPC64LE
}

// The calls that socketcall and ipc stand for, by their numbers in linux/net.h
// and linux/ipc.h.
var (
	socketCalls = [...]string{
		"", "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername", "socketpair", "send", "recv",
		"sendto", "recvfrom", "shutdown", "setsockopt", "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg",
	}
	ipcCalls = [...]string{
		1: "semop", 2: "semget", 3: "semctl", 4: "semtimedop", 11: "msgsnd", 12: "msgrcv", 13: "msgget", 14: "msgctl",
		21: "shmat", 22: "shmdt", 23: "shmget", 24: "shmctl",
	}
)

// multiplexer gives the clauses that rules of other calls make for socketcall
// and ipc: the first argument is then the number of the call, and takes the place
// of a condition on it.
func (j *judge) multiplexer(arch syscalls.Arch, nr uint32) []clause {
	var calls []string
	switch name, _ := syscalls.NameOf(arch, nr); name {
	case "socketcall":
		calls = socketCalls[:]
	case "ipc":
		calls = ipcCalls[:]
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

// calls are those worth a look on one architecture: every number up to beyond the
// last, and for what rules compare, the values around theirs in all combinations.
func (j *judge) calls(arch syscalls.Arch) []Call {
	var all []Call
	first := uint32(0)
	if arch == syscalls.X32 {
		first = x32Bit
	}
	for nr := first; nr < first+600; nr++ {
		around := map[uint][]uint64{}
		for _, name := range j.numbers[arch][nr] {
			for _, cl := range j.byCall[name] {
				for _, a := range cl.conditions {
					around[a.Index] = append(around[a.Index], boundaries(a)...)
				}
			}
		}
		if name, _ := syscalls.NameOf(arch, nr); name == "socketcall" || name == "ipc" {
			for i := range uint64(26) {
				around[0] = append(around[0], i)
			}
		}
		each := []Call{{Nr: nr, Arch: arch.Audit()}}
		for _, index := range slices.Sorted(maps.Keys(around)) {
			slices.Sort(around[index])
			var more []Call
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
	return append(all, Call{Nr: first + 4000, Arch: arch.Audit()}, Call{Nr: first | 0x3fffffff, Arch: arch.Audit()})
}

func boundaries(a specs.LinuxSeccompArg) []uint64 {
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

// The verdicts of compiled programs are those of the flat lists.
func TestCompiledVerdicts(t *testing.T) {
	for name, p := range parsed(t) {
		for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.S390X, syscalls.PPC64LE, syscalls.RISCV64} {
			if name == "old-format" && arch == syscalls.S390X {
				continue // its architectures are x86's, of the other byte order: see TestCompileErrors
			}
			t.Run(fmt.Sprintf("%s/%s", name, arch), func(t *testing.T) {
				for _, caps := range [][]string{dockerDefaults(), nil, capabilities()} {
					testVerdicts(t, p, Target{caps, arch, Kernel{6, 18}})
				}
			})
		}
	}
}

func testVerdicts(t *testing.T, p *Profile, target Target) {
	t.Helper()
	policy, err := p.Resolve(target)
	if err != nil {
		t.Fatal(err)
	}
	program, err := policy.Compile()
	if err != nil {
		t.Fatal(err)
	}
	j := newJudge(policy.Seccomp, target.Arch)
	var calls []Call
	for _, a := range append(slices.Clone(j.arches), syscalls.AMD64, syscalls.X86, syscalls.X32, syscalls.ARM64, syscalls.ARM) {
		calls = append(calls, j.calls(a)...)
	}
	differences := 0
	for _, c := range calls {
		want, got := j.verdict(t, c), interpret(t, program, c)
		if want == got {
			continue
		}
		arch, _ := syscalls.FromAudit(c.Arch, c.Nr)
		name, _ := syscalls.NameOf(arch, c.Nr)
		t.Errorf("%s %s(%#x) nr %d: the program gives %s, the list means %s", arch, name, c.Args, c.Nr, got, want)
		if differences++; differences == 8 {
			return
		}
	}
}

// The same for random conditions: for each call a rule of several on different
// arguments, or several values of the same. More at once would test libseccomp:
// where rules of one call compare sizes or different arguments, 2.5.4 sometimes
// takes the wrong branch, and Docker's runtime with it.
func TestCompiledVerdictsRandom(t *testing.T) {
	names := []string{"read", "socket", "personality", "mseal", "open_tree_attr", "mmap", "lseek", "semget", "futex"}
	values := []uint64{0, 1, 2, 3, 40, 0xff, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1 << 63, 1<<64 - 1}
	ops := []specs.LinuxSeccompOperator{
		specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual,
	}
	r := rand.New(rand.NewPCG(3, 6))
	arg := func(index int) Arg {
		return Arg{Index: uint(index), Op: ops[r.IntN(len(ops))], Value: values[r.IntN(len(values))], ValueTwo: values[r.IntN(len(values))]}
	}
	for round := range 100 {
		target := Target{nil, syscalls.AMD64, Kernel{6, 18}}
		p := &Profile{File: "random.json", DefaultAction: specs.ActErrno, Architectures: []Name{{Value: "SCMP_ARCH_X86"}, {Value: "SCMP_ARCH_X32"}}}
		if round%2 == 1 { // of the other byte order
			target.Arch, p.Architectures = syscalls.S390X, nil
		}
		for _, name := range names {
			count, index := 1+r.IntN(3), r.Perm(3)
			one := Rule{Names: []Name{{Value: name}}, Action: specs.ActAllow}
			several := r.IntN(2) == 0
			for i := range count {
				if several {
					each := one
					each.Args = []Arg{arg(index[0])}
					each.Args[0].Op = specs.OpEqualTo
					p.Rules = append(p.Rules, each)
				} else {
					one.Args = append(one.Args, arg(index[i]))
				}
			}
			if !several {
				p.Rules = append(p.Rules, one)
			}
		}
		testVerdicts(t, p, target)
		if t.Failed() {
			t.Fatalf("%+v", p.Rules)
		}
	}
}

// What the kernel demands of a filter (seccomp(2)), and what else a program carries.
func TestProgram(t *testing.T) {
	for name, p := range parsed(t) {
		policy, program := compiled(t, p, syscalls.AMD64)
		if n := len(program.Instructions); n == 0 || n > unix.BPF_MAXINSNS {
			t.Errorf("%s: %d instructions", name, n)
		}
		if _, err := program.Emulator(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		notify := slices.ContainsFunc(policy.Seccomp.Syscalls, func(s specs.LinuxSyscall) bool { return s.Action == specs.ActNotify })
		if program.Listener != notify {
			t.Errorf("%s: listener %v", name, program.Listener)
		}
		again, err := policy.Compile()
		if err != nil || !slices.Equal(again.Instructions, program.Instructions) {
			t.Errorf("%s: two compilations differ (%v)", name, err)
		}
		if pfc, err := policy.PFC(); err != nil || !bytes.Contains(pfc, []byte("pseudo filter code")) {
			t.Errorf("%s: pseudo code %.40q, %v", name, pfc, err)
		}
	}
}

func TestProgramFlags(t *testing.T) {
	for flags, want := range map[string]uint32{
		``:             unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
		`"flags": [],`: 0,
		`"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],`:                     unix.SECCOMP_FILTER_FLAG_LOG,
		`"flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],`: 4 | 32,
	} {
		p, err := Parse("p.json", []byte(`{`+flags+`"defaultAction": "SCMP_ACT_NOTIFY"}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, program := compiled(t, p, syscalls.AMD64); program.Flags != want || !program.Listener {
			t.Errorf("%s: flags %#x, want %#x; listener %v", flags, program.Flags, want, program.Listener)
		}
	}
}

// What libseccomp cannot do is said with the place of the rule.
func TestCompileErrors(t *testing.T) {
	for _, tt := range []struct {
		arch           syscalls.Arch
		source, reason string
	}{
		{syscalls.S390X, `{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]}`, "architecture SCMP_ARCH_X86_64 beside SCMP_ARCH_S390X"},
		{syscalls.AMD64, `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095}`, "errno 4095"},
		{syscalls.AMD64, rule(`{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4095}`), "p.json:2:1: read: errno 4095"},
		{syscalls.AMD64, rule(`{"names": ["mseal"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4095}`), "p.json:2:1: mseal: errno 4095"},
	} {
		p, err := Parse("p.json", []byte(tt.source))
		if err != nil {
			t.Fatal(err)
		}
		policy, err := p.Resolve(Target{nil, tt.arch, Kernel{6, 18}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Compile(); err == nil || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: %v, want %s", tt.source, err, tt.reason)
		}
	}
}
