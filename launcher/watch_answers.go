package launcher

import (
	"time"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/trace"
)

// sentSize is the size of what is kept of a message that was sent: the part of an event with the
// capabilities that it asked for in vain, and the caller's registers.
const sentSize = eventSizes - eventAsked

// answerPatience is how long after a message its answer is looked for. It waits for the
// sender already when the message has been sent.
const answerPatience = 2 * time.Second

// answerProgram finds what netlink(7) refuses. The call that sends a request succeeds, though
// the kernel asked for a capability in vain: the refusal is a message, which another call
// receives. R7 is a call's result, and R9 what it asked for; its registers are in the event at
// R6. It goes to "refused" with the error of the message in R7, and what the request had asked for
// in R9 and in the event, with the registers of the call that sent it. It goes out else.
//
// A request and its answer are calls of one process, of amd64. A request that asked for
// nothing, and an answer that is no refusal, end it.
func answerProgram(m watchMaps) asm.Instructions {
	code := append(trace.LoadCompat(stackMask),
		asm.JNE.Imm(asm.R0, 0, "out"),
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		asm.StoreMem(asm.RFP, stackNumber, asm.R0, asm.DWord))
	code = append(code, call(asm.FnMapLookupElem, m.sent, stackNumber, 0)...)
	code = append(code,
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.JSLE.Imm(asm.R7, 0, "out"),
		asm.LoadMem(asm.R3, asm.R6, eventRegs+int16(trace.RegsArg64()[1]), asm.DWord),
		asm.LoadMem(asm.R1, asm.R6, eventRegs+trace.RegsNr, asm.DWord),
		asm.JEq.Imm(asm.R1, unix.SYS_SENDTO, "sends"),
		asm.JEq.Imm(asm.R1, unix.SYS_SENDMSG, "sends"),
		asm.JEq.Imm(asm.R8, 0, "out"),
		asm.JEq.Imm(asm.R1, unix.SYS_RECVFROM, "received"),
		asm.JNE.Imm(asm.R1, unix.SYS_RECVMSG, "out"),
		asm.Add.Imm(asm.R3, 16)) // msg_iov of struct msghdr
	code = append(code, readUser(8)...)
	code = append(code, asm.LoadMem(asm.R3, asm.RFP, stackKey, asm.DWord)) // iov_base of struct iovec
	code = append(code, readUser(8)...)
	code = append(code, asm.LoadMem(asm.R3, asm.RFP, stackKey, asm.DWord), asm.Mov.Imm(asm.R0, 0).WithSymbol("received"))
	return append(append(code, answered(m)...), sends(m)...)
}

// readUser reads from where R3 points, in the caller's memory, to stackKey, or goes out.
func readUser(size int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, stackKey),
		asm.Mov.Imm(asm.R2, size),
		asm.FnProbeReadUser.Call(),
		asm.JNE.Imm(asm.R0, 0, "out"),
	}
}

// answered looks at the message at R3. R8 is what was sent.
func answered(m watchMaps) asm.Instructions {
	const (
		size     = 20 // of struct nlmsghdr and the int of struct nlmsgerr (linux/netlink.h)
		kind     = 4
		errno    = 16
		nlmError = 2 // NLMSG_ERROR
	)
	code := append(readUser(size),
		asm.LoadMem(asm.R1, asm.RFP, stackKey+kind, asm.Half),
		asm.JNE.Imm(asm.R1, nlmError, "out"),
		asm.LoadMem(asm.R7, asm.RFP, stackKey+errno, asm.Word),
		asm.LSh.Imm(asm.R7, 32),
		asm.ArSh.Imm(asm.R7, 32),
		asm.LoadMem(asm.R9, asm.R8, 0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Add.Imm(asm.R1, eventAsked),
		asm.Mov.Imm(asm.R2, sentSize),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.FnProbeReadKernel.Call(),
		asm.StoreImm(asm.R6, eventKind, eventAnswered, asm.Word))
	code = append(code, call(asm.FnMapDeleteElem, m.sent, stackNumber, 0)...)
	return append(code,
		asm.JEq.Imm(asm.R7, -int32(unix.EPERM), "refused"),
		asm.JEq.Imm(asm.R7, -int32(unix.EACCES), "refused"),
		asm.Ja.Label("out"))
}

// sends keeps what was sent, if it asked for a capability, in the place of what R8 points to,
// and has results looked at for a while.
func sends(m watchMaps) asm.Instructions {
	code := asm.Instructions{
		asm.JEq.Imm(asm.R9, 0, "harmless").WithSymbol("sends"),
		asm.LoadMapPtr(asm.R1, m.sent.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stackNumber),
		asm.Mov.Reg(asm.R3, asm.R6),
		asm.Add.Imm(asm.R3, eventAsked),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(),
	}
	code = append(code,
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(asm.R9, asm.R0),
		asm.LoadImm(asm.R1, answerPatience.Nanoseconds(), asm.DWord),
		asm.Add.Reg(asm.R9, asm.R1))
	code = append(code, loadCount(m)...)
	code = append(code,
		asm.StoreMem(asm.R0, countUntil, asm.R9, asm.DWord),
		asm.Ja.Label("out"),
		asm.JEq.Imm(asm.R8, 0, "out").WithSymbol("harmless"))
	code = append(code, call(asm.FnMapDeleteElem, m.sent, stackNumber, 0)...)
	return append(code, asm.Ja.Label("out"))
}
