package launcher

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/trace"
)

// Recorder counts the calls of a container that its filter lets through, from the command's
// execve(2) to the end of the last process. After the end it has all of them.
//
// The kernel counts them by BPF, without a stop for the callers. [Recorder.Made] counts for
// a machine that has no BPF.
type Recorder struct {
	Arguments map[RecordedCall]RecordedArgument // of these calls values are counted, too

	filtered bool // count only the calls of processes that have a filter

	mu     sync.Mutex
	counts map[RecordedCall]uint64
	full   bool

	scope        *trace.Scope
	calls        *trace.Map // one value: the count of each place, for each CPU
	values       *trace.Map // place and value → 1
	begun        *trace.Map // one value, see below
	links        []*trace.Link
	needs        *needs // nil where they cannot be found out
	needed       []Need
	needsErr     error
	missesNested bool
}

// The value of begun.
const (
	begunUsers = 0  // since the command's execve its user namespace, or 1 where there is no need to know it
	begunFull  = 8  // not 0: a value of an argument found no room
	begunLost  = 16 // not 0: what was needed found no room
	begunSize  = 24
)

// RecordedCall is a call, and the value of the argument that is counted.
type RecordedCall struct {
	Arch     uint32 // AUDIT_ARCH_*
	Nr       uint32 // with x32's bit
	HasValue bool
	Value    uint64
}

// RecordedArgument is an argument whose values are counted.
type RecordedArgument struct {
	Index int
	Mask  uint64 // of its bits
}

// CanRecord returns nil if this process can count calls by BPF, else why not.
func CanRecord() error { return trace.Supported() }

// Calls returns what was counted.
func (r *Recorder) Calls() map[RecordedCall]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}

// Full reports whether there was no room for more values of arguments.
func (r *Recorder) Full() bool { return r.full }

// Needs returns the capabilities that the run needed. The error says why they are not known.
func (r *Recorder) Needs() ([]Need, error) {
	if r.needed == nil && r.needsErr == nil {
		return nil, errors.New("it takes BPF to see them")
	}
	return r.needed, r.needsErr
}

// MissesNested reports whether calls in PID namespaces inside of the container's were not
// counted: the container had no cgroup v2 of its own.
func (r *Recorder) MissesNested() bool { return r.missesNested }

// Made counts a call of which an [Observation] was notified.
func (r *Recorder) Made(n Notification) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := RecordedCall{Arch: n.Arch, Nr: n.Nr}
	if _, ok := recordedPlace(c); !ok && runtime.GOARCH == "amd64" {
		return // the kernel has no such call, and BPF does not count it either
	}
	r.count(c, 1)
	if argument, ok := r.Arguments[c]; ok {
		c.HasValue, c.Value = true, n.Args[argument.Index]&argument.Mask
		r.count(c, 1)
	}
}

// count adds to a count. A command that tries all values finds no room for them at some time.
func (r *Recorder) count(c RecordedCall, n uint64) {
	if r.counts == nil {
		r.counts = map[RecordedCall]uint64{}
	}
	if c.HasValue && r.counts[c] == 0 && len(r.counts) >= recordedPlaces+maxValues {
		r.full = true
		return
	}
	r.counts[c] += n
}

// Calls are counted in three ranges: amd64's, x32's without their bit, and i386's.
const (
	recordedNumbers = 1024
	recordedX32     = recordedNumbers
	recordedCompat  = 2 * recordedNumbers
	recordedPlaces  = 3 * recordedNumbers
)

// recordedCall returns the call of a place in the counts.
func recordedCall(place uint32) RecordedCall {
	switch nr := place % recordedNumbers; {
	case place >= recordedCompat:
		return RecordedCall{Arch: unix.AUDIT_ARCH_I386, Nr: nr}
	case place >= recordedX32:
		return RecordedCall{Arch: unix.AUDIT_ARCH_X86_64, Nr: nr | x32Bit}
	default:
		return RecordedCall{Arch: unix.AUDIT_ARCH_X86_64, Nr: nr}
	}
}

// recordedPlace returns the place of a call in the counts, if it has one.
func recordedPlace(c RecordedCall) (place uint32, ok bool) {
	switch nr := c.Nr &^ x32Bit; {
	case nr >= recordedNumbers:
		return 0, false
	case c.Arch == unix.AUDIT_ARCH_I386:
		return recordedCompat + nr, nr == c.Nr
	case nr != c.Nr:
		return recordedX32 + nr, c.Arch == unix.AUDIT_ARCH_X86_64
	default:
		return nr, c.Arch == unix.AUDIT_ARCH_X86_64
	}
}

// attach starts counting the calls of the container of a parked init. cgroup is the directory
// of its cgroup v2, or "" if that is not known. cwd is what relative names begin at.
func (r *Recorder) attach(init int, cgroup, cwd string) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.scope, err = trace.NewScope(init, cgroup, r.filtered); err != nil {
		return err
	}
	r.missesNested = !r.scope.Complete()
	if r.calls, err = trace.NewMap(trace.MapOptions{Name: "minirun_calls", Kind: unix.BPF_MAP_TYPE_PERCPU_ARRAY, Key: 4, Value: 8 * recordedPlaces, Entries: 1}); err != nil {
		return err
	}
	if r.values, err = trace.NewMap(trace.MapOptions{Name: "minirun_values", Kind: unix.BPF_MAP_TYPE_HASH, Key: valueKeySize, Value: 8, Entries: maxValues}); err != nil {
		return err
	}
	if r.begun, err = trace.NewMap(trace.MapOptions{Name: "minirun_begun", Kind: unix.BPF_MAP_TYPE_ARRAY, Key: 4, Value: begunSize, Entries: 1}); err != nil {
		return err
	}
	r.needs, r.needsErr = attachNeeds(r.scope, r.begun, init, cwd)
	link, err := trace.RawTracepoint("sys_enter", r.program())
	if err != nil {
		return err
	}
	r.links = append(r.links, link)
	return nil
}

const (
	valueKeySize = 16 // of a key of values: the place of the call, 4 bytes of 0, and the value
	maxValues    = 4096
)

// Where the program has its variables on the stack, below what [trace.Scope.Enter] uses.
const (
	recordZero = -16 // the key of calls and begun
	recordKey  = -32
	recordOne  = -40
)

// program runs when a call begins that the filter has let through. The values of the
// tracepoint are the caller's registers and the number. Before execve there are calls of
// init's, which waits.
func (r *Recorder) program() asm.Instructions {
	code := append(r.scope.Enter("out"),
		asm.LoadMem(asm.R8, asm.R6, 0, asm.DWord),
		asm.LoadMem(asm.R7, asm.R6, 8, asm.DWord),
		asm.StoreImm(asm.RFP, recordZero, 0, asm.Word),
	)
	code = append(code, call(asm.FnMapLookupElem, r.begun, recordZero, 0)...)
	code = append(code,
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R1, asm.R0, begunUsers, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "begun"),
		asm.JNE.Imm(asm.R7, unix.SYS_EXECVE, "out"),
		asm.StoreImm(asm.R0, begunUsers, 1, asm.DWord),
	)
	if r.needs != nil {
		code = append(code, asm.Mov.Reg(asm.R9, asm.R0))
		code = append(code, r.needs.userNamespace(recordOne)...)
		code = append(code, asm.StoreMem(asm.R9, begunUsers, asm.R1, asm.DWord))
	}
	code = append(code, asm.Mov.Imm(asm.R1, 0).WithSymbol("begun"))
	code = append(code, trace.LoadCompat(recordOne)...)
	code = append(code,
		asm.JNE.Imm(asm.R0, 0, "i386"),
		asm.JLT.Imm(asm.R7, recordedNumbers, "place"),
		asm.LoadImm(asm.R1, x32Bit, asm.DWord),
		asm.Sub.Reg(asm.R7, asm.R1),
		asm.JGE.Imm(asm.R7, recordedNumbers, "out"),
		asm.Add.Imm(asm.R7, recordedX32),
		asm.Ja.Label("place"),
		asm.JGE.Imm(asm.R7, recordedNumbers, "out").WithSymbol("i386"),
		asm.Add.Imm(asm.R7, recordedCompat),
		asm.Mov.Imm(asm.R1, 0).WithSymbol("place"),
	)
	code = append(code, call(asm.FnMapLookupElem, r.calls, recordZero, 0)...)
	code = append(code,
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Reg(asm.R1, asm.R7),
		asm.LSh.Imm(asm.R1, 3),
		asm.Add.Reg(asm.R0, asm.R1),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
	)
	places := map[uint32]RecordedArgument{}
	for c, argument := range r.Arguments {
		if place, ok := recordedPlace(c); ok {
			places[place] = argument
		}
	}
	load := asm.Instructions{asm.Ja.Label("out")}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		code = append(code, asm.JEq.Imm(asm.R7, int32(place), fmt.Sprint("argument", place)))
		load = append(load, loadArgument(place, places[place])...)
	}
	return append(append(code, load...), r.countValue()...)
}

// loadArgument loads the value of a call into R9, and goes on to "value".
func loadArgument(place uint32, argument RecordedArgument) asm.Instructions {
	offsets := trace.RegsArg64()
	if place >= recordedCompat {
		offsets = trace.RegsArg32()
	}
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.RFP).WithSymbol(fmt.Sprint("argument", place)),
		asm.Add.Imm(asm.R1, recordOne),
		asm.Mov.Imm(asm.R2, 8),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.Add.Imm(asm.R3, int32(offsets[argument.Index])),
		asm.FnProbeReadKernel.Call(),
		asm.LoadMem(asm.R9, asm.RFP, recordOne, asm.DWord),
		asm.LoadImm(asm.R1, int64(argument.Mask), asm.DWord),
		asm.And.Reg(asm.R9, asm.R1),
		asm.Ja.Label("value"),
	}
}

// countValue counts the value in R9 of the call in R7.
func (r *Recorder) countValue() asm.Instructions {
	return watchProgram(asm.Instructions{
		asm.StoreMem(asm.RFP, recordKey, asm.R7, asm.Word).WithSymbol("value"),
		asm.StoreImm(asm.RFP, recordKey+4, 0, asm.Word),
		asm.StoreMem(asm.RFP, recordKey+8, asm.R9, asm.DWord),
	}, addKey(r.values, recordKey, r.begun, begunFull, recordOne))
}

// addKey adds a key to a map, unless it is there. If it finds no room a word of the value of
// begun says so. It uses 8 bytes of the stack at one, and may go out.
func addKey(m *trace.Map, key int16, begun *trace.Map, word, one int16) asm.Instructions {
	code := append(call(asm.FnMapLookupElem, m, key, 0),
		asm.JNE.Imm(asm.R0, 0, "out"), // that it was there is what counts
		asm.StoreImm(asm.RFP, one, 1, asm.DWord))
	code = append(append(code, call(asm.FnMapUpdateElem, m, key, int32(one))...),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.StoreImm(asm.RFP, one, 0, asm.DWord))
	return append(append(code, call(asm.FnMapLookupElem, begun, one, 0)...),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.StoreImm(asm.R0, word, 1, asm.DWord))
}

// stop reads what was counted, and detaches. It does nothing the second time.
func (r *Recorder) stop() error {
	if r == nil || r.links == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	counts, err1 := r.calls.Counts(make([]byte, 4))
	for place, n := range counts {
		if n > 0 {
			r.count(recordedCall(uint32(place)), n)
		}
	}
	begun, err2 := r.begun.Lookup(make([]byte, 4))
	keys, err3 := r.values.Keys()
	r.full = slices.Max(begun[begunFull:begunLost]) != 0
	for _, key := range keys {
		c := recordedCall(binary.NativeEndian.Uint32(key))
		c.HasValue, c.Value = true, binary.NativeEndian.Uint64(key[8:])
		r.count(c, 1)
	}
	if r.needs != nil && slices.Max(begun[begunLost:begunSize]) != 0 {
		r.needsErr = errors.New("they were needed in too many ways")
	} else if r.needs != nil {
		r.needed, r.needsErr = r.needs.all()
	}
	return errors.Join(err1, err2, err3, r.close())
}

func (r *Recorder) close() (err error) {
	err, r.needs = r.needs.close(), nil
	for _, link := range r.links {
		err = errors.Join(err, link.Close())
	}
	r.links = nil
	for _, m := range []*trace.Map{r.calls, r.values, r.begun} {
		if m != nil {
			err = errors.Join(err, m.Close())
		}
	}
	r.calls, r.values, r.begun = nil, nil, nil
	if r.scope != nil {
		err = errors.Join(err, r.scope.Close())
		r.scope = nil
	}
	return err
}
