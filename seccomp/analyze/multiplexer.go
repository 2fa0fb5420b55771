package analyze

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/internal/actions"
)

// multiplexedCalls returns the calls that socketcall(2) or ipc(2) multiplexes, by the value of
// its first argument (linux/net.h, linux/ipc.h). On architectures with the multiplexer
// libseccomp also applies a rule for one of these calls to the multiplexer.
func multiplexedCalls(multiplexer string) []string {
	switch multiplexer {
	case "socketcall":
		return strings.Fields("- socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg")
	case "ipc":
		return strings.Fields("- semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - shmat shmdt shmget shmctl")
	}
	return nil
}

// multiplexedConjunctions returns the conditions under which rules for multiplexed calls
// decide on a multiplexer. Whether they do depends on the architecture, so callers compare
// with the program.
func multiplexedConjunctions(p *seccomp.Policy, name string) []conjunction {
	var all []conjunction
	for number, call := range multiplexedCalls(name) {
		which := specs.LinuxSeccompArg{Index: 0, Op: specs.OpEqualTo, Value: uint64(number)}
		for i, s := range p.Seccomp.Syscalls {
			if !slices.Contains(s.Names, call) || isDefault(p, s) {
				continue
			}
			for _, g := range actions.Alternatives(compared(p, s.Args)) {
				rest := slices.DeleteFunc(slices.Clone(g), func(a specs.LinuxSeccompArg) bool { return a.Index == 0 })
				all = append(all, conjunction{append([]specs.LinuxSeccompArg{which}, rest...), &p.Profile.Rules[p.Origin[i]]})
			}
		}
	}
	return all
}

// concerns reports whether the rule names a call, or one that it multiplexes.
func concerns(r *seccomp.Rule, name string) bool {
	return r.HasName(name) || slices.ContainsFunc(multiplexedCalls(name), r.HasName)
}
