package bpf_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/internal/bpftest"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

func denies(v bpf.Verdict) bool { return v.Action() == unix.SECCOMP_RET_ERRNO }

func defaultProgram(t *testing.T) *bpf.Program {
	t.Helper()
	profile, err := seccomp.Parse(profiles.DefaultName, profiles.Default())
	if err != nil {
		t.Fatal(err)
	}
	target, err := seccomp.HostTarget(seccomptest.DockerDefaults())
	if err != nil {
		t.Fatal(err)
	}
	target.Arch = syscalls.AMD64
	policy, err := profile.Resolve(target)
	if err != nil {
		t.Fatal(err)
	}
	program, err := compile.Compile(syscalls.AMD64, policy.Seccomp, policy.RulePosition)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// It is proved for all calls that an observed program returns NOTIFY for those that the
// original denies, and for requests for another listener that it lets through; and for all
// others what the original returns.
func TestObserved(t *testing.T) {
	programs := map[string]*bpf.Program{
		"default profile": defaultProgram(t),
		"traced":          {Arch: syscalls.AMD64, Instructions: []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_TRACE}}},
		"killed":          {Arch: syscalls.S390X, Instructions: []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_KILL_PROCESS}}},
		"accumulator": {Arch: syscalls.AMD64, Instructions: []unix.SockFilter{
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		}},
	}
	for name, original := range programs {
		t.Run(name, func(t *testing.T) {
			observed, err := original.Observed(denies)
			if err != nil {
				t.Fatal(err)
			}
			if observed.Flags != original.Flags|unix.SECCOMP_FILTER_FLAG_NEW_LISTENER || !observed.Listener {
				t.Errorf("flags %#x, listener %t", observed.Flags, observed.Listener)
			}
			before, after, solver := walker(t, original), walker(t, observed), bpf.NewSolver()
			arches := append([]syscalls.Arch{original.Arch}, bpf.Compatible(original.Arch)...)
			for _, arch := range arches {
				for _, call := range syscalls.Calls(arch) {
					number, _ := syscalls.Number(arch, call)
					sameButNotified(t, solver, before, after, call == "seccomp", func() *bpf.Scope { return solver.Number(arch, number) })
				}
				sameButNotified(t, solver, before, after, false, func() *bpf.Scope { return solver.Unassigned(arch) })
			}
			sameButNotified(t, solver, before, after, false, func() *bpf.Scope { return solver.Elsewhere(arches...) })
		})
	}
}

func sameButNotified(t *testing.T, solver *bpf.Solver, before, after *bpf.Walker, isSeccomp bool, calls func() *bpf.Scope) {
	t.Helper()
	err := solver.Ask(func() error {
		scope := calls()
		guarded := scope.None()
		if isSeccomp {
			guarded = scope.Equal(0, 0xffffffff, unix.SECCOMP_SET_MODE_FILTER).And(scope.Equal(1, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER))
		}
		want := map[bpf.Verdict]bpf.Set{}
		add := func(v bpf.Verdict, s bpf.Set) {
			if old, ok := want[v]; ok {
				s = s.Or(old)
			}
			want[v] = s
		}
		for _, o := range before.Verdicts(scope) {
			switch {
			case denies(o.Verdict):
				add(unix.SECCOMP_RET_USER_NOTIF, o.Calls)
			case o.Verdict.Passes(), o.Verdict.Action() == unix.SECCOMP_RET_TRACE:
				add(unix.SECCOMP_RET_USER_NOTIF, o.Calls.And(guarded))
				add(o.Verdict, o.Calls.Minus(guarded))
			default:
				add(o.Verdict, o.Calls)
			}
		}
		for _, o := range after.Verdicts(scope) {
			s, ok := want[o.Verdict]
			if !ok || !s.Minus(o.Calls).Empty() || !o.Calls.Minus(s).Empty() {
				t.Errorf("call %+v: another set of calls gets %s", o.Calls.Least(), o.Verdict)
			}
			delete(want, o.Verdict)
		}
		for v, s := range want {
			if !s.Empty() {
				t.Errorf("call %+v does not get %s", s.Least(), v)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// The same holds for random programs, interpreted on random calls.
func TestObservedRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 1))
	tried, notified := 0, 0
	for range 2000 {
		original := bpftest.RandomProgram(r, syscalls.AMD64)
		last := len(original.Instructions) - 1 // it returns what was computed
		original.Instructions = append(original.Instructions[:last],
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 1, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
		observed, err := original.Observed(denies)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			call := bpftest.RandomCall(r, syscalls.AMD64.Audit())
			v := bpftest.Interpret(t, original, call)
			want := v
			if denies(v) {
				want = unix.SECCOMP_RET_USER_NOTIF
				notified++
			}
			if got := bpftest.Interpret(t, observed, call); got != want {
				t.Fatalf("%+v: %s, want %s", call, got, want)
			}
			tried++
		}
	}
	if notified < tried/10 || notified > tried*9/10 {
		t.Errorf("no fair sample: %d of %d calls are notified", notified, tried)
	}
}

func TestObservedErrors(t *testing.T) {
	ret := func(code uint16, k uint32) *bpf.Program {
		return &bpf.Program{Arch: syscalls.AMD64, Instructions: []unix.SockFilter{{Code: unix.BPF_RET | code, K: k}}}
	}
	if _, err := ret(unix.BPF_K, unix.SECCOMP_RET_USER_NOTIF).Observed(denies); !errors.Is(err, bpf.ErrNotify) {
		t.Errorf("a program with a listener: %v", err)
	}
	if _, err := ret(unix.BPF_A, 0).Observed(denies); err == nil {
		t.Error("a computed verdict is taken")
	}
	long := ret(unix.BPF_K, unix.SECCOMP_RET_ALLOW)
	for len(long.Instructions) < unix.BPF_MAXINSNS/2 {
		long.Instructions = append(long.Instructions, long.Instructions[0])
	}
	if _, err := long.Observed(denies); err == nil {
		t.Error("a program of more than 4096 instructions is made")
	}
}
