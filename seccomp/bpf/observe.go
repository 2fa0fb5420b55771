package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// ErrNotify says that a program already has verdicts for a listener: a process can have only
// one (seccomp(2), EBUSY).
var ErrNotify = errors.New("the filter notifies a listener of its own")

// Observed returns the program with NOTIFY in place of the verdicts that ask selects, to be
// installed with a listener (seccomp_unotify(2), Linux 5.0). The process that answers a
// notification runs the original program to find out its verdict. Calls that the original
// allows are as fast as before.
//
// A call of seccomp(2) that asks for another listener is notified too if the original would
// let it through. When two filters return NOTIFY, the kernel notifies the listener of the
// one that was installed last. Otherwise a program could install its own filter and, once
// nobody serves ours any more, answer its own calls with CONTINUE. The right answer to such a
// call is EBUSY, which the kernel returns while there is a listener.
//
// The program becomes about twice as long. The error is [ErrNotify], or says that the result
// is longer than the kernel accepts, or that a verdict is computed.
func (p *Program) Observed(ask func(Verdict) bool) (*Program, error) {
	original, err := p.notify(ask)
	if err != nil {
		return nil, err
	}
	guarded, err := p.notify(func(v Verdict) bool {
		return ask(v) || v.Passes() || v.Action() == unix.SECCOMP_RET_TRACE // a tracer can let it through
	})
	if err != nil {
		return nil, err
	}
	insns := slices.Concat(p.listenerGuard(len(original)), original, guarded)
	if len(insns) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("the filter has %d instructions when it is observed, the kernel takes %d", len(insns), unix.BPF_MAXINSNS)
	}
	return &Program{Arch: p.Arch, Instructions: insns, Flags: p.Flags | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, Listener: true}, nil
}

// notify returns the instructions with NOTIFY in place of the verdicts that ask selects.
func (p *Program) notify(ask func(Verdict) bool) ([]unix.SockFilter, error) {
	insns := slices.Clone(p.Instructions)
	for i := range insns {
		insn := &insns[i]
		switch {
		case insn.Code == unix.BPF_RET|unix.BPF_A:
			return nil, fmt.Errorf("instruction %d returns a computed verdict", i)
		case insn.Code != unix.BPF_RET|unix.BPF_K:
		case Verdict(insn.K).Action() == unix.SECCOMP_RET_USER_NOTIF:
			return nil, ErrNotify
		case ask(Verdict(insn.K)):
			insn.K = unix.SECCOMP_RET_USER_NOTIF
		}
	}
	if code := insns[0].Code; code != unix.BPF_LD|unix.BPF_W|unix.BPF_ABS && code != unix.BPF_RET|unix.BPF_K {
		// The program may read the accumulator before it sets it, so it is cleared. This is
		// not done for other programs, since after this instruction the kernel recognizes no
		// calls as always allowed (seccomp_is_const_allow of kernel/seccomp.c, Linux 5.11).
		insns = slices.Insert(insns, 0, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_IMM})
	}
	return insns, nil
}

// listenerGuard returns instructions that skip the next n for calls which ask for a
// listener. The kernel reads both arguments as 32 bits.
func (p *Program) listenerGuard(n int) []unix.SockFilter {
	load := func(offset int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(offset)}
	}
	skipUnless := func(op uint16, k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jf: skip}
	}
	skip := func(n int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)}
	}
	low := OffsetArgs
	if ByteOrder(p.Arch) == binary.BigEndian {
		low += 4
	}
	check := []unix.SockFilter{
		load(low), skipUnless(unix.BPF_JEQ, unix.SECCOMP_SET_MODE_FILTER, 3),
		load(low + 8), skipUnless(unix.BPF_JSET, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, 1),
		skip(n),
	}
	guard := append([]unix.SockFilter{skip(len(check))}, check...)
	arches := Arches(p)
	for _, a := range Compatible(p.Arch) {
		if !slices.Contains(arches, a) {
			arches = append(arches, a)
		}
	}
	for _, a := range arches {
		if number, ok := syscalls.Number(a, "seccomp"); ok {
			guard = append([]unix.SockFilter{
				load(OffsetArch), skipUnless(unix.BPF_JEQ, a.Audit(), 3),
				load(OffsetNr), skipUnless(unix.BPF_JEQ, number, 1),
				skip(len(guard) - len(check)),
			}, guard...)
		}
	}
	return guard
}
