package seccomp

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/seccomp/internal/actions"
)

// behind are the calls that socketcall(2) and ipc(2) stand for, by the number
// that is then the first argument (linux/net.h, linux/ipc.h). libseccomp makes a
// rule for one of them a rule for the multiplexer too, on architectures that have it.
func behind(multiplexer string) []string {
	switch multiplexer {
	case "socketcall":
		return strings.Fields("- socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg")
	case "ipc":
		return strings.Fields("- semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - shmat shmdt shmget shmctl")
	}
	return nil
}

// multiplexed are the conditions under which rules for the calls behind a
// multiplexer decide on it, where they do: the programs tell.
func (p *Policy) multiplexed(name string) []condition {
	var all []condition
	for number, call := range behind(name) {
		which := specs.LinuxSeccompArg{Index: 0, Op: specs.OpEqualTo, Value: uint64(number)}
		for i, s := range p.Seccomp.Syscalls {
			if !slices.Contains(s.Names, call) || p.isDefault(s) {
				continue
			}
			for _, g := range actions.Alternatives(p.compared(s.Args)) {
				rest := slices.DeleteFunc(slices.Clone(g), func(a specs.LinuxSeccompArg) bool { return a.Index == 0 })
				all = append(all, condition{append([]specs.LinuxSeccompArg{which}, rest...), &p.Profile.Rules[p.Origin[i]]})
			}
		}
	}
	return all
}

// concerns reports whether the rule names a call, or one behind it.
func (r *Rule) concerns(name string) bool {
	return r.names(name) || slices.ContainsFunc(behind(name), r.names)
}
