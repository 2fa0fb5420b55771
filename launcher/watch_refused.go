package launcher

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/trace"
)

// refusedProgram runs when a call returns, and sends those that were refused. A capability
// that a call asked for in vain and did without is forgotten. All calls of the machine come
// here: one that succeeds while no thread has asked, and no answer is awaited, is let go at
// once.
func refusedProgram(s *trace.Scope, m watchMaps, pids trace.Namespace, errnos []unix.Errno) asm.Instructions {
	choose := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1), asm.LoadMem(asm.R7, asm.R6, 8, asm.DWord)} // the result
	choose = append(choose, jumpIfErrno(errnos, "enter", "other")...)
	choose = append(choose, loadCount(m)...)
	choose = append(choose,
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "enter"),
		asm.LoadMem(asm.R8, asm.R0, countUntil, asm.DWord),
		asm.JEq.Imm(asm.R8, 0, "out"),
		asm.Mov.Reg(asm.R9, asm.R0),
		asm.FnKtimeGetNs.Call(),
		asm.JLE.Reg(asm.R0, asm.R8, "enter"),
		asm.StoreImm(asm.R9, countUntil, 0, asm.DWord),
		asm.Ja.Label("out"),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("enter"))
	return watchProgram(choose, s.Enter("out"), asm.Instructions{asm.Mov.Imm(asm.R9, 0)}, thread(),
		call(asm.FnMapLookupElem, m.asked, stackThread, 0), asm.Instructions{
			asm.JEq.Imm(asm.R0, 0, "none"),
			asm.LoadMem(asm.R9, asm.R0, 0, asm.DWord),
		}, call(asm.FnMapDeleteElem, m.asked, stackThread, 0), addCount(m, -1), asm.Instructions{
			asm.LoadMem(asm.R8, asm.R6, 0, asm.DWord).WithSymbol("none"),
		}, takeEvent(m, 0), trace.LoadRegs(asm.R6, eventRegs, asm.R8), asm.Instructions{
			asm.StoreMem(asm.R6, eventAsked, asm.R9, asm.DWord),
			asm.StoreImm(asm.R6, eventKind, eventRefused, asm.Word),
		}, refusals(errnos), answerProgram(m), countSeen(m), callerProgram(pids),
		trace.LoadCompat(stackMask), asm.Instructions{
			asm.Mov.Reg(asm.R8, asm.R0),
			asm.StoreMem(asm.R6, eventCompat, asm.R8, asm.Word),
			asm.StoreMem(asm.R6, eventResult, asm.R7, asm.DWord),
		}, textsProgram(m), sendProgram(m))
}

// jumpIfErrno goes to a label if the result in R7 is one of the errnos, and else on, at the other
// label. It changes R1 and R2.
func jumpIfErrno(errnos []unix.Errno, to, other string) (code asm.Instructions) {
	var few uint64 // a bit for each of those below 64: one branch for all of them
	for _, errno := range errnos {
		if errno < 64 {
			few |= 1 << errno
		} else {
			code = append(code, asm.JEq.Imm(asm.R7, -int32(errno), to))
		}
	}
	return append(code,
		asm.Mov.Imm(asm.R1, 0),
		asm.Sub.Reg(asm.R1, asm.R7),
		asm.JGT.Imm(asm.R1, 63, other),
		asm.LoadImm(asm.R2, int64(few), asm.DWord),
		asm.RSh.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, 1),
		asm.JNE.Imm(asm.R2, 0, to),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(other))
}

// refusals goes to "refused" if the result in R7 says that a call was refused. A limit that
// the capabilities in R9 would lift has errnos of its own.
func refusals(errnos []unix.Errno) asm.Instructions {
	code := asm.Instructions{
		asm.LoadMem(asm.R1, asm.R6, eventRegs+trace.RegsNr, asm.Word),
		asm.JEq.Imm32(asm.R1, -1, "out"), // rt_sigreturn(2): the result is what the register was
	}
	code = append(code, jumpIfErrno(errnos, "refused", "limits")...)
	code = append(code,
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.And.Imm(asm.R1, 1<<unix.CAP_IPC_LOCK|1<<unix.CAP_SYS_RESOURCE),
		asm.JEq.Imm(asm.R1, 0, "passed"))
	return append(code, jumpIfErrno(limitErrnos(), "refused", "passed")...)
}

// limitErrnos returns those of mlock(2) and fork(2) beyond a limit of setrlimit(2).
func limitErrnos() []unix.Errno { return []unix.Errno{unix.ENOMEM, unix.EAGAIN} }

// countSeen counts the event at R6, and goes out if there were enough of its kind.
func countSeen(m watchMaps) asm.Instructions {
	code := asm.Instructions{
		asm.LoadMem(asm.R1, asm.RFP, stackThread, asm.Word).WithSymbol("refused"),
		asm.StoreMem(asm.RFP, stackKey, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R6, eventRegs+trace.RegsNr, asm.Word),
		asm.StoreMem(asm.RFP, stackKey+4, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R6, eventRegs+trace.RegsIP, asm.DWord),
		asm.StoreMem(asm.RFP, stackKey+8, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, stackKey+16, asm.R9, asm.DWord),
	}
	code = append(code, call(asm.FnMapLookupElem, m.seen, stackKey, 0)...)
	code = append(code,
		asm.JEq.Imm(asm.R0, 0, "new"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord), // it is this thread's alone
		asm.JGT.Imm(asm.R1, seenMost, "out"),
		asm.Ja.Label("describe"),
		asm.StoreImm(asm.RFP, stackMask, 1, asm.DWord).WithSymbol("new"))
	code = append(code, call(asm.FnMapUpdateElem, m.seen, stackKey, stackMask)...)
	return append(code, asm.Mov.Imm(asm.R0, 0).WithSymbol("describe"))
}
