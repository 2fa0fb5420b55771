package launcher

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/trace"
)

// A key of asked: the capability, the call, and, where that says whether it was needed,
// arguments and user, or who in the kernel asked.
const (
	needCap    = 0
	needNr     = 4
	needCompat = 8
	needArgs   = 16 // three, 64 bits each
	needUser   = 40 // user and group, 32 bits each
	needFrames = 48 // return addresses
	needSize   = needFrames + 8*maxNeedFrames

	maxNeedFrames = 8
	maxNeeds      = 4096
	maxExecutable = 256 // bytes of a name, with its NUL
)

// Of the program's stack, below what [trace.Scope.Enter] uses.
const (
	stackNeedWord = -16
	stackNeedKey  = stackNeedWord - needSize
	stackNeedRegs = stackNeedKey - trace.RegsSize
)

// Capabilities of which arguments say whether they were needed.
const needsArguments = 1<<unix.CAP_FSETID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID

// Capabilities that the kernel also asks for only to know, and goes on without: it does not
// audit that (CAP_OPT_NOAUDIT). A tracepoint does not say so, but who asked does.
const needsFrames = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_SYS_RESOURCE | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_FOWNER

// readPointer loads the pointer that is at R1 plus an offset into R1, by way of the stack.
func readPointer(offset int32, stack int16) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R3, asm.R1),
		asm.Add.Imm(asm.R3, offset),
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, int32(stack)),
		asm.Mov.Imm(asm.R2, 8),
		asm.FnProbeReadKernel.Call(),
		asm.LoadMem(asm.R1, asm.RFP, stack, asm.DWord),
	}
}

// currentCredentials loads the current process's own credentials into R1.
func (c *credentials) currentCredentials(stack int16) asm.Instructions {
	return append(asm.Instructions{asm.FnGetCurrentTask.Call(), asm.Mov.Reg(asm.R1, asm.R0)}, readPointer(c.realCred, stack)...)
}

// userNamespace loads the current process's user namespace into R1.
func (c *credentials) userNamespace(stack int16) asm.Instructions {
	return append(c.currentCredentials(stack), readPointer(c.userNS, stack)...)
}

// loadBegun loads the container's user namespace into R9, or goes out.
func loadBegun(begun *trace.Map) asm.Instructions {
	code := asm.Instructions{asm.StoreImm(asm.RFP, stackNeedWord, 0, asm.DWord)}
	return append(append(code, call(asm.FnMapLookupElem, begun, stackNeedWord, 0)...),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R9, asm.R0, 0, asm.DWord),
		asm.JEq.Imm(asm.R9, 0, "out"),
	)
}

// askedProgram runs when the kernel has looked for a capability. Its values are those of
// the tracepoint cap_capable (cred, target, capable, cap, result), or of the function
// (cred, target, cap, options; result).
func (n *needs) askedProgram(s *trace.Scope, begun *trace.Map, function bool) asm.Instructions {
	capability, check := int16(3*8), asm.Instructions{}
	if function {
		capability = 2 * 8
		const noAudit = 2 // CAP_OPT_NOAUDIT
		check = asm.Instructions{asm.LoadMem(asm.R1, asm.R6, 3*8, asm.DWord), asm.JSet.Imm(asm.R1, noAudit, "out")}
	}
	key := asm.Instructions{}
	for at := int16(0); at < needSize; at += 8 {
		key = append(key, asm.StoreImm(asm.RFP, stackNeedKey+at, 0, asm.DWord))
	}
	frames := asm.Instructions{}
	if !function {
		frames = asm.Instructions{
			asm.LoadImm(asm.R1, needsFrames, asm.DWord),
			asm.RSh.Reg(asm.R1, asm.R7),
			asm.And.Imm(asm.R1, 1),
			asm.JEq.Imm(asm.R1, 0, "add"),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, stackNeedKey+needFrames),
			asm.Mov.Imm(asm.R3, 8*maxNeedFrames),
			asm.Mov.Imm(asm.R4, 0),
			asm.FnGetStack.Call(),
		}
	}
	return watchProgram(s.Enter("out"), check, asm.Instructions{
		asm.LoadMem(asm.R1, asm.R6, 4*8, asm.DWord),
		asm.JNE.Imm32(asm.R1, 0, "out"),
		asm.LoadMem(asm.R7, asm.R6, capability, asm.DWord),
		asm.JGT.Imm32(asm.R7, 63, "out"),
		asm.LoadMem(asm.R8, asm.R6, 0, asm.DWord),
	}, loadBegun(begun), asm.Instructions{
		asm.LoadMem(asm.R1, asm.R6, 8, asm.DWord),
		asm.JNE.Reg(asm.R1, asm.R9, "out"),
	}, n.currentCredentials(stackNeedWord), asm.Instructions{
		asm.JNE.Reg(asm.R1, asm.R8, "out"),
	}, n.userNamespace(stackNeedWord), asm.Instructions{
		asm.JNE.Reg(asm.R1, asm.R9, "out"),
	}, key, n.loadCall(), frames, asm.Instructions{
		asm.Mov.Imm(asm.R0, 0).WithSymbol("add"),
	}, addKey(n.asked, stackNeedKey, begun, begunLost, stackNeedWord))
}

// loadCall completes the key for the capability in R7: the current call, and what of it says
// whether the capability was needed.
func (n *needs) loadCall() asm.Instructions {
	arguments := func(offsets [6]uint8) (code asm.Instructions) {
		for i := range int16(3) {
			code = append(code,
				asm.LoadMem(asm.R1, asm.RFP, stackNeedRegs+int16(offsets[i]), asm.DWord),
				asm.StoreMem(asm.RFP, stackNeedKey+needArgs+8*i, asm.R1, asm.DWord))
		}
		return code
	}
	code := asm.Instructions{
		asm.StoreMem(asm.RFP, stackNeedKey+needCap, asm.R7, asm.Word),
		asm.FnGetCurrentTaskBtf.Call(),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.FnTaskPtRegs.Call(),
		asm.Mov.Reg(asm.R8, asm.R0),
	}
	code = append(code, trace.LoadRegs(asm.RFP, stackNeedRegs, asm.R8)...)
	code = append(code, trace.LoadCompat(stackNeedWord)...)
	code = append(code,
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.StoreMem(asm.RFP, stackNeedKey+needCompat, asm.R8, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, stackNeedRegs+trace.RegsNr, asm.DWord),
		asm.StoreMem(asm.RFP, stackNeedKey+needNr, asm.R1, asm.Word),
		asm.LoadImm(asm.R1, needsArguments, asm.DWord),
		asm.RSh.Reg(asm.R1, asm.R7),
		asm.And.Imm(asm.R1, 1),
		asm.JEq.Imm(asm.R1, 0, "called"),
		asm.FnGetCurrentUidGid.Call(),
		asm.StoreMem(asm.RFP, stackNeedKey+needUser, asm.R0, asm.DWord),
		asm.JNE.Imm(asm.R8, 0, "compat"),
	)
	code = append(code, arguments(trace.RegsArg64())...)
	code = append(code, asm.Ja.Label("called"), asm.Mov.Imm(asm.R0, 0).WithSymbol("compat"))
	code = append(code, arguments(trace.RegsArg32())...)
	return append(code, asm.Mov.Imm(asm.R0, 0).WithSymbol("called"))
}

// executedProgram runs when a process has executed a file. Its values are the process, its
// thread before, and struct linux_binprm.
func (n *needs) executedProgram(s *trace.Scope, begun *trace.Map) asm.Instructions {
	const key = stackNeedWord - maxExecutable
	clear := asm.Instructions{}
	for at := int16(0); at < maxExecutable; at += 8 {
		clear = append(clear, asm.StoreImm(asm.RFP, key+at, 0, asm.DWord))
	}
	return watchProgram(s.Enter("out"), loadBegun(begun), clear, asm.Instructions{
		asm.LoadMem(asm.R1, asm.R6, 2*8, asm.DWord),
	}, readPointer(n.filename, stackNeedWord), asm.Instructions{
		asm.Mov.Reg(asm.R3, asm.R1),
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, key),
		asm.Mov.Imm(asm.R2, maxExecutable),
		asm.FnProbeReadKernelStr.Call(),
	}, addKey(n.executed, key, begun, begunLost, stackNeedWord))
}
