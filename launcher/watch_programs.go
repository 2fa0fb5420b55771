package launcher

import (
	"errors"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/trace"
)

// What programs send: the registers of a caller and what is known of it, and the texts that
// up to three arguments point to. An event has no more room for texts than the call has.
const (
	eventKind   = 0  // 32 bits: eventRefused and its like
	eventCompat = 4  // 32 bits: not 0 for a call of i386
	eventPID    = 8  // thread and process, 32 bits each
	eventResult = 16 // of the call; of a signal the architecture, AUDIT_ARCH_*
	eventUser   = 24 // user and group, 32 bits each, in the first user namespace
	eventInside = 32 // thread and process in the container's PID namespace, or 0
	eventComm   = 40
	eventAsked  = 56 // a bit for each capability that was asked for and not held
	eventRegs   = 64
	eventSizes  = eventRegs + trace.RegsSize // of the texts with their NUL bytes, 64 bits each; negative without one
	eventTexts  = eventSizes + maxEventTexts*8
	eventSize   = eventTexts + maxEventTexts*maxCallerText

	eventRefused  = 0
	eventSignal   = 1
	eventAnswered = 2 // refused by a message that the caller has received; else as eventRefused

	maxEventTexts = 3
	commSize      = 16 // TASK_COMM_LEN

	seenSize = 24 // of a key: thread, number, ip, capabilities
	seenMost = 3  // events of a key are sent; later ones are counted
)

// watchMaps are what the programs of a watch share.
type watchMaps struct {
	asked *trace.Map // thread → capabilities that its current call asked for in vain
	sent  *trace.Map // process → a message that asked for capabilities in vain, and was sent
	count *trace.Map // how many threads asked has; and until when, in ns, answers are awaited
	texts *trace.Map // one value: of each call which registers point to texts
	event *trace.Map // where a program makes an event: that of calls, and that of signals
	seen  *trace.Map // key → number of events
	lost  *trace.Map // number of events that found no room
	ring  *trace.Ring
}

func newWatchMaps() (m watchMaps, err error) {
	for _, one := range []struct {
		at      **trace.Map
		options trace.MapOptions
	}{
		{&m.asked, trace.MapOptions{Name: "minirun_asked", Kind: unix.BPF_MAP_TYPE_LRU_HASH, Key: 4, Value: 8, Entries: 1 << 11}},
		{&m.sent, trace.MapOptions{Name: "minirun_sent", Kind: unix.BPF_MAP_TYPE_LRU_HASH, Key: 4, Value: sentSize, Entries: 1 << 8}},
		{&m.count, trace.MapOptions{Name: "minirun_count", Kind: unix.BPF_MAP_TYPE_ARRAY, Key: 4, Value: 16, Entries: 1}},
		{&m.texts, trace.MapOptions{Name: "minirun_texts", Kind: unix.BPF_MAP_TYPE_ARRAY, Key: 4, Value: 4 * textCalls, Entries: 1}},
		{&m.event, trace.MapOptions{Name: "minirun_event", Kind: unix.BPF_MAP_TYPE_PERCPU_ARRAY, Key: 4, Value: eventSize, Entries: 2}},
		{&m.seen, trace.MapOptions{Name: "minirun_seen", Kind: unix.BPF_MAP_TYPE_LRU_HASH, Key: seenSize, Value: 8, Entries: 1 << 12}},
		{&m.lost, trace.MapOptions{Name: "minirun_lost", Kind: unix.BPF_MAP_TYPE_ARRAY, Key: 4, Value: 8, Entries: 1}},
	} {
		if *one.at, err = trace.NewMap(one.options); err != nil {
			return watchMaps{}, errors.Join(err, m.close())
		}
	}
	if m.ring, err = trace.NewRing("minirun_events", 1<<20); err != nil {
		return watchMaps{}, errors.Join(err, m.close())
	}
	return m, nil
}

func (m watchMaps) close() (err error) {
	for _, one := range []*trace.Map{m.asked, m.sent, m.count, m.texts, m.event, m.seen, m.lost} {
		if one != nil {
			err = errors.Join(err, one.Close())
		}
	}
	if m.ring != nil {
		err = errors.Join(err, m.ring.Close())
	}
	return err
}

// The texts map has the calls of amd64 with x32, and after them those of i386.
const (
	textNumbers = 1024
	textCalls   = 2 * textNumbers
)

// maxRegister is the largest number of a register in the texts map: one less than a power of two.
const maxRegister = 31

// textRegisters is what the texts map has of a call: for each text the number of a register of
// struct pt_regs, plus 1, in 8 bits. mask has a bit for each argument.
func textRegisters(mask uint8, compat bool) (value uint32) {
	offsets := trace.RegsArg64()
	if compat {
		offsets = trace.RegsArg32()
	}
	slot := 0
	for i, offset := range offsets {
		if mask>>i&1 != 0 && slot < maxEventTexts {
			value |= (uint32(offset)/8 + 1) << (8 * slot)
			slot++
		}
	}
	return value
}

// attachWatch attaches the programs. Those for capabilities go to a tracepoint (Linux 6.14)
// or else to the function that it is in. users is nil where it need not be known, or
// cannot be, of which user namespace a capability was asked for.
func attachWatch(s *trace.Scope, m watchMaps, pids trace.Namespace, users *credentials, errnos []unix.Errno) (links []*trace.Link, err error) {
	add := func(l *trace.Link, err error) error {
		if err == nil {
			links = append(links, l)
		}
		return err
	}
	err = add(trace.RawTracepoint("cap_capable", askedProgram(s, m, users, false)))
	if errors.Is(err, unix.ENOENT) {
		err = add(trace.FunctionExit("cap_capable", askedProgram(s, m, users, true)))
	}
	if err == nil {
		err = add(trace.RawTracepoint("sys_exit", refusedProgram(s, m, pids, errnos)))
	}
	if err == nil {
		err = add(trace.RawTracepoint("signal_generate", signalProgram(s, m, pids)))
	}
	if err != nil {
		return nil, errors.Join(err, closeLinks(links))
	}
	return links, nil
}

// watchProbe reports how capability checks can be watched, by attaching programs that do
// nothing.
func watchProbe() (how string, err error) {
	if err := trace.Supported(); err != nil {
		return "", err
	}
	nothing := asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}
	how = "a tracepoint"
	link, err := trace.RawTracepoint("cap_capable", nothing)
	if errors.Is(err, unix.ENOENT) {
		how = "the exit of a function"
		link, err = trace.FunctionExit("cap_capable", nothing)
	}
	if err != nil {
		return "", err
	}
	return how, link.Close()
}

func closeLinks(links []*trace.Link) (err error) {
	for _, l := range links {
		err = errors.Join(err, l.Close())
	}
	return err
}

// The programs keep their variables in R6, the context, to R9, and on the stack, below the
// 8 bytes of Scope.Enter.
const (
	stackThread = -16 // a key of asked
	stackMask   = -24
	stackKey    = -24 - seenSize
	stackNumber = stackKey - 8
	stackInfo   = stackNumber - 32 // struct kernel_siginfo
)

func watchProgram(parts ...asm.Instructions) (all asm.Instructions) {
	for _, part := range parts {
		all = append(all, part...)
	}
	return append(all, asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return())
}

// call calls a helper with a map and a pointer to a key on the stack, and perhaps a value.
func call(f asm.BuiltinFunc, m *trace.Map, key int16, value int32) asm.Instructions {
	code := asm.Instructions{
		asm.LoadMapPtr(asm.R1, m.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, int32(key)),
	}
	if value != 0 {
		code = append(code, asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, value), asm.Mov.Imm(asm.R4, 0))
	}
	return append(code, f.Call())
}

// thread stores the number of the current thread as a key of asked.
func thread() asm.Instructions {
	return asm.Instructions{asm.FnGetCurrentPidTgid.Call(), asm.StoreMem(asm.RFP, stackThread, asm.R0, asm.Word)}
}

// askedProgram runs when the kernel has looked for a capability. Its values are those of
// the tracepoint cap_capable (cred, target, capable, cap, result), or of the function
// (cred, target, cap, options; result).
func askedProgram(s *trace.Scope, m watchMaps, users *credentials, function bool) asm.Instructions {
	capability, check := int16(3*8), asm.Instructions{}
	if function {
		capability = 2 * 8
		const noAudit = 2 // CAP_OPT_NOAUDIT: no answer to a question of the process
		check = asm.Instructions{asm.LoadMem(asm.R1, asm.R6, 3*8, asm.DWord), asm.JSet.Imm(asm.R1, noAudit, "out")}
	}
	return watchProgram(s.Enter("out"), check, asm.Instructions{
		asm.LoadMem(asm.R1, asm.R6, 4*8, asm.DWord),
		asm.JEq.Imm32(asm.R1, 0, "out"),
		asm.LoadMem(asm.R1, asm.R6, capability, asm.DWord),
		asm.JGE.Imm32(asm.R1, askedInside, "out"),
		asm.Mov.Imm(asm.R7, 1),
		asm.LSh.Reg(asm.R7, asm.R1),
	}, askedWhere(users), thread(), call(asm.FnMapLookupElem, m.asked, stackThread, 0), asm.Instructions{
		asm.JEq.Imm(asm.R0, 0, "first"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Or.Reg(asm.R1, asm.R7),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Ja.Label("out"),
		asm.StoreMem(asm.RFP, stackMask, asm.R7, asm.DWord).WithSymbol("first"),
	}, call(asm.FnMapUpdateElem, m.asked, stackThread, stackMask), addCount(m, 1))
}

// Bits beside those of capabilities, of which Linux 6.18 has 41: of which user namespace one was asked for.
const (
	askedInside  = 62 // the caller's
	askedOutside = 63 // another one
)

// askedWhere adds one of these bits to R7.
func askedWhere(users *credentials) asm.Instructions {
	if users == nil {
		return nil
	}
	return append(users.userNamespace(stackMask),
		asm.LoadMem(asm.R2, asm.R6, 8, asm.DWord),
		asm.Mov.Imm(asm.R3, 1),
		asm.JEq.Reg(asm.R1, asm.R2, "inside"),
		asm.LSh.Imm(asm.R3, askedOutside-askedInside),
		asm.LSh.Imm(asm.R3, askedInside).WithSymbol("inside"),
		asm.Or.Reg(asm.R7, asm.R3))
}

// countUntil is where a value of count has the time.
const countUntil = 8

// loadCount loads a pointer to the number of threads that have asked into R0, or goes out.
func loadCount(m watchMaps) asm.Instructions {
	code := asm.Instructions{asm.StoreImm(asm.RFP, stackMask, 0, asm.DWord)}
	return append(append(code, call(asm.FnMapLookupElem, m.count, stackMask, 0)...), asm.JEq.Imm(asm.R0, 0, "out"))
}

func addCount(m watchMaps, n int32) asm.Instructions {
	return append(loadCount(m), asm.Mov.Imm(asm.R1, n), asm.StoreXAdd(asm.R0, asm.R1, asm.DWord))
}

// takeEvent points R6 to the event that a program makes, or goes out. Programs run with
// preemption disabled, and one that is interrupted does not run again on that processor meanwhile.
func takeEvent(m watchMaps, which int64) asm.Instructions {
	code := asm.Instructions{asm.StoreImm(asm.RFP, stackNumber, which, asm.DWord)}
	return append(append(code, call(asm.FnMapLookupElem, m.event, stackNumber, 0)...),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Reg(asm.R6, asm.R0))
}

// callerProgram puts who calls into the event at R6.
func callerProgram(pids trace.Namespace) asm.Instructions {
	return asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.StoreMem(asm.R6, eventPID, asm.R0, asm.DWord),
		asm.FnGetCurrentUidGid.Call(),
		asm.StoreMem(asm.R6, eventUser, asm.R0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Add.Imm(asm.R1, eventComm),
		asm.Mov.Imm(asm.R2, commSize),
		asm.FnGetCurrentComm.Call(),
		asm.LoadImm(asm.R1, int64(pids.Dev), asm.DWord),
		asm.LoadImm(asm.R2, int64(pids.Ino), asm.DWord),
		asm.Mov.Reg(asm.R3, asm.R6),
		asm.Add.Imm(asm.R3, eventInside), // struct bpf_pidns_info, 0 in another namespace
		asm.Mov.Imm(asm.R4, 8),
		asm.FnGetNsCurrentPidTgid.Call(),
	}
}

// sendProgram sends the event at R6, of which R9 is the size.
func sendProgram(m watchMaps) asm.Instructions {
	code := asm.Instructions{
		asm.LoadMapPtr(asm.R1, m.ring.FD()).WithSymbol("send"),
		asm.Mov.Reg(asm.R2, asm.R6),
		asm.Mov.Reg(asm.R3, asm.R9),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.StoreImm(asm.RFP, stackNumber, 0, asm.DWord),
	}
	return append(append(code, call(asm.FnMapLookupElem, m.lost, stackNumber, 0)...),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord))
}

// textsProgram copies the texts that arguments point to into the event at R6, and sets R9 to
// its size. R8 is not 0 for i386. A page that is not in memory is not read: there is no text then.
func textsProgram(m watchMaps) asm.Instructions {
	code := asm.Instructions{
		asm.Mov.Imm(asm.R9, eventTexts),
		asm.LoadMem(asm.R7, asm.R6, eventRegs+trace.RegsNr, asm.Word),
		asm.And.Imm(asm.R7, textNumbers-1),
		asm.JEq.Imm(asm.R8, 0, "native"),
		asm.Add.Imm(asm.R7, textNumbers),
		asm.LSh.Imm(asm.R7, 2).WithSymbol("native"),
		asm.StoreImm(asm.RFP, stackNumber, 0, asm.DWord),
	}
	code = append(code, call(asm.FnMapLookupElem, m.texts, stackNumber, 0)...)
	code = append(code,
		asm.JEq.Imm(asm.R0, 0, "send"),
		asm.Add.Reg(asm.R0, asm.R7),
		asm.LoadMem(asm.R8, asm.R0, 0, asm.Word))
	for i := range maxEventTexts {
		code = append(code,
			asm.Mov.Reg(asm.R1, asm.R8),
			asm.And.Imm(asm.R1, maxRegister),
			asm.JEq.Imm(asm.R1, 0, "send"),
			asm.RSh.Imm(asm.R8, 8),
			asm.LSh.Imm(asm.R1, 3),
			asm.Mov.Reg(asm.R2, asm.R6),
			asm.Add.Reg(asm.R2, asm.R1),
			asm.LoadMem(asm.R3, asm.R2, eventRegs-8, asm.DWord),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Add.Imm(asm.R1, int32(eventTexts+maxCallerText*i)),
			asm.Mov.Imm(asm.R2, maxCallerText),
			asm.FnProbeReadUserStr.Call(),
			asm.StoreMem(asm.R6, int16(eventSizes+8*i), asm.R0, asm.DWord),
			asm.Mov.Imm(asm.R9, int32(eventTexts+maxCallerText*(i+1))),
		)
	}
	return code
}

// signalProgram runs when a thread gets a signal, and sends those that a filter's KILL or
// TRAP causes. The values are sig, info, task, group and result.
func signalProgram(s *trace.Scope, m watchMaps, pids trace.Namespace) asm.Instructions {
	const ( // include/uapi/asm-generic/siginfo.h
		code, ip, nr, arch = stackInfo + 8, stackInfo + 16, stackInfo + 24, stackInfo + 28
		sysSeccomp         = 1 // SYS_SECCOMP
	)
	return watchProgram(s.Enter("out"), asm.Instructions{
		asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
		asm.JNE.Imm32(asm.R1, int32(unix.SIGSYS), "out"),
		asm.LoadMem(asm.R8, asm.R6, 8, asm.DWord),
		asm.JLE.Imm(asm.R8, 1, "out"), // SEND_SIG_NOINFO, SEND_SIG_PRIV
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, stackInfo),
		asm.Mov.Imm(asm.R2, 32),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.FnProbeReadKernel.Call(),
		asm.LoadMem(asm.R1, asm.RFP, code, asm.Word),
		asm.JNE.Imm32(asm.R1, sysSeccomp, "out"),
	}, takeEvent(m, 1), callerProgram(pids), asm.Instructions{
		asm.StoreImm(asm.R6, eventKind, eventSignal, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, arch, asm.Word),
		asm.StoreMem(asm.R6, eventResult, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, ip, asm.DWord),
		asm.StoreMem(asm.R6, eventRegs+trace.RegsIP, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, nr, asm.Word),
		asm.StoreMem(asm.R6, eventRegs+trace.RegsNr, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R9, eventTexts),
	}, sendProgram(m))
}
