package bpf_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/bpftest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

func walker(t testing.TB, p *bpf.Program) *bpf.Walker {
	t.Helper()
	w, err := p.Walker()
	if err != nil {
		t.Fatalf("%v\nprogram %+v", err, p.Instructions)
	}
	return w
}

// smallProgram is a random program that compares and computes with small numbers
// and three arguments, so that all values that make a difference can be tried.
func smallProgram(r *rand.Rand, a syscalls.Arch) *bpf.Program {
	p := bpftest.RandomProgram(r, a)
	low := uint32(bpf.OffsetArgs)
	if a == syscalls.S390X {
		low += 4
	}
	last := len(p.Instructions) - 1
	p.Instructions = append(p.Instructions[:last], unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND, K: 3}, p.Instructions[last])
	for i := range p.Instructions[:last] {
		insn := &p.Instructions[i]
		switch insn.Code & 0x07 {
		case unix.BPF_LD:
			if insn.Code == unix.BPF_LD|unix.BPF_W|unix.BPF_ABS {
				insn.K = low + 8*r.Uint32N(3)
			}
		case unix.BPF_JMP:
			if insn.Code != unix.BPF_JMP|unix.BPF_JA {
				insn.K %= 9
			}
		case unix.BPF_ALU:
			insn.K = []uint32{1, 2, 3, 4, 5, 6, 7, 15, ^uint32(0)}[r.IntN(9)]
			switch insn.Code & 0xf0 {
			case unix.BPF_DIV:
				insn.K = 1 << r.IntN(3)
			case unix.BPF_LSH, unix.BPF_RSH:
				insn.K = r.Uint32N(4)
			}
		}
	}
	return p
}

// Every verdict that the walk finds is that of some call, no call has another, and
// the least call of each set is the first that brute force finds.
func TestVerdictsBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 1))
	solver := bpf.NewSolver()
	proved, refused, several := 0, 0, 0
	for round := range 400 {
		a := []syscalls.Arch{syscalls.AMD64, syscalls.S390X}[round%2]
		p := smallProgram(r, a)
		w := walker(t, p)
		err := solver.Ask(func() error {
			scope := solver.Number(a, 3)
			for i := range 3 {
				scope.Fix(3+i, 0)
			}
			outcomes := w.Verdicts(scope)
			small := scope.All()
			for i := range 3 {
				small = small.Minus(scope.Above(i, 7))
			}
			if bruteForce(t, p, outcomes, small) > 1 {
				several++
			}
			return nil
		})
		var intricate *bpf.IntricateError
		switch {
		case err == nil:
			proved++
		case errors.As(err, &intricate):
			refused++
		default:
			t.Fatal(err)
		}
	}
	t.Logf("%d proved, of which %d have several verdicts, %d too intricate", proved, several, refused)
	if proved < 300 || several < 100 {
		t.Errorf("no fair sample: %d proved, of which %d have several verdicts; %d too intricate", proved, several, refused)
	}
}

// bruteForce tries all calls of the small set, and gives the number of verdicts seen.
func bruteForce(t *testing.T, p *bpf.Program, outcomes []bpf.Outcome, small bpf.Set) int {
	t.Helper()
	first := map[bpf.Verdict]bpf.Call{}
	for i := range uint64(512) {
		c := bpf.Call{Nr: 3, Arch: p.Arch.Audit(), Args: [6]uint64{i >> 6, i >> 3 & 7, i & 7}}
		v := bpftest.Interpret(t, p, c)
		if _, seen := first[v]; !seen {
			first[v] = c
		}
		for _, o := range outcomes {
			if o.Calls.Has(c) != (o.Verdict == v) {
				t.Fatalf("%+v gets %s: that it is in the set of %s is %v\nprogram %+v", c, v, o.Verdict, o.Calls.Has(c), p.Instructions)
			}
		}
	}
	for _, o := range outcomes {
		here := o.Calls.And(small)
		c, seen := first[o.Verdict]
		if here.Empty() == seen {
			t.Fatalf("%s: none is %v, seen is %v\nprogram %+v", o.Verdict, here.Empty(), seen, p.Instructions)
		}
		if seen && here.Least() != c {
			t.Fatalf("%s: the least is said to be %+v, and is %+v\nprogram %+v", o.Verdict, here.Least(), c, p.Instructions)
		}
	}
	return len(first)
}

// The same for programs that look at whole words, with calls at random.
func TestVerdictsRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 2))
	solver := bpf.NewSolver()
	proved, refused := 0, 0
	for round := range 600 {
		a := []syscalls.Arch{syscalls.AMD64, syscalls.S390X}[round%2]
		p := bpftest.RandomProgram(r, a)
		p.Instructions = p.Instructions[:min(len(p.Instructions), 24)]
		p.Instructions[len(p.Instructions)-1] = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 7}
		if _, err := p.Emulator(); err != nil {
			continue // a jump led further
		}
		w := walker(t, p)
		err := solver.Ask(func() error {
			outcomes := w.Verdicts(solver.Number(a, 3))
			whole := solver.Number(a, 3).All()
			for _, o := range outcomes {
				if got := bpftest.Interpret(t, p, o.Calls.Least()); got != o.Verdict {
					t.Fatalf("%+v gets %s, not %s\nprogram %+v", o.Calls.Least(), got, o.Verdict, p.Instructions)
				}
				whole = whole.Minus(o.Calls)
			}
			if !whole.Empty() {
				t.Fatalf("%+v has no verdict\nprogram %+v", whole.Least(), p.Instructions)
			}
			for range 20 {
				c := bpftest.RandomCall(r, a.Audit())
				c.Nr, c.Arch = 3, a.Audit()
				v := bpftest.Interpret(t, p, c)
				if !slices.ContainsFunc(outcomes, func(o bpf.Outcome) bool { return o.Verdict == v && o.Calls.Has(c) }) {
					t.Fatalf("%+v gets %s, which is not found\nprogram %+v", c, v, p.Instructions)
				}
			}
			return nil
		})
		if err != nil {
			refused++
			continue
		}
		proved++
	}
	t.Logf("%d proved, %d too intricate", proved, refused)
	if proved < 150 {
		t.Errorf("no fair sample: %d proved, %d too intricate", proved, refused)
	}
}
