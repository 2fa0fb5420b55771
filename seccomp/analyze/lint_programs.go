package analyze

import (
	"errors"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/internal/actions"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// siblings are groups of calls that do the same. Programs use one or the other: a rule for
// only one can be bypassed, or breaks some programs.
var siblings = [...]string{
	"accept accept4",
	"chmod fchmod fchmodat",
	"chown fchown fchownat lchown",
	"dup2 dup3",
	"execve execveat",
	"getdents getdents64",
	"link linkat",
	"mkdir mkdirat",
	"mknod mknodat",
	"mount move_mount",
	"open openat openat2",
	"pipe pipe2",
	"poll ppoll",
	"preadv preadv2",
	"pwritev pwritev2",
	"readlink readlinkat",
	"rename renameat renameat2",
	"rmdir unlink unlinkat",
	"select _newselect pselect6",
	"setxattr lsetxattr fsetxattr setxattrat",
	"stat lstat fstat newfstatat statx",
	"symlink symlinkat",
	"umount umount2",
	"wait4 waitid",
}

// programs checks the compiled program for the target.
func (l *linter) programs() error {
	policy, err := l.profile.Resolve(l.target)
	if err != nil {
		return err
	}
	e, err := NewExplainer(policy)
	if err != nil {
		return err
	}
	var denied *compile.LaunchError
	if err := compile.CheckLaunch(e.Program); errors.As(err, &denied) {
		l.find(l.launchPos(e, denied), Error, "no-execve", "allow execve", "%v", err)
	} else if err != nil {
		return err
	}
	l.reportHorizon(policy)
	for _, family := range families() {
		if err := l.checkSiblings(e, family); err != nil {
			return err
		}
	}
	return l.multiplexers(e)
}

// launchPos returns the position of the rule that denies execve, or of the default
// action.
func (l *linter) launchPos(e *Explainer, err *compile.LaunchError) seccomp.Position {
	if rule := e.decidingRule(CallPattern{Name: "execve"}, err.Verdict); rule != nil {
		return rule.Pos
	}
	return l.profile.DefaultActionPos
}

// reportHorizon adds a finding with the newest call that the profile names.
func (l *linter) reportHorizon(p *seccomp.Policy) {
	if actions.Open(p.Seccomp.DefaultAction) {
		return
	}
	var names []string
	for _, s := range p.Seccomp.Syscalls {
		names = append(names, s.Names...)
	}
	largest, ok := compile.LargestNumber(p.Target.Arch, names)
	if !ok {
		return
	}
	if name, ok := syscalls.NameOf(p.Target.Arch, largest); ok {
		l.find(l.profile.DefaultActionPos, Info, "enosys-horizon", "name newer calls to decide on them", "on %s calls newer than %s (%d) get ENOSYS, not the default action", p.Target.Arch, name, largest)
	}
}

// unconditionalVerdict returns the verdict on a call if it is the same for all arguments with
// no more bits than the kernel reads. ok is false if it is not, or if the architecture does
// not have the call.
func unconditionalVerdict(e *Explainer, arch syscalls.Arch, name string) (v bpf.Verdict, ok bool, err error) {
	if _, has := syscalls.Number(arch, name); !has {
		return 0, false, nil
	}
	err = e.ask(arch, CallPattern{Name: name}, true, func(_ *bpf.Scope, outcomes []bpf.Outcome) error {
		v, ok = outcomes[0].Verdict, len(outcomes) == 1
		return nil
	})
	return v, ok, err
}

// unconditional reports whether the verdict on a call does not depend on arguments.
func unconditional(p *seccomp.Policy, name string) bool {
	return len(conjunctions(p, name)) == 0 || slices.ContainsFunc(p.Seccomp.Syscalls, func(s specs.LinuxSyscall) bool {
		return len(s.Args) == 0 && slices.Contains(s.Names, name) && !isDefault(p, s)
	})
}

// families returns the groups of siblings, each with the wider variants of its calls in
// 32-bit programs: chown and chown32, futex and futex_time64. Calls with such variants that
// are in no group have their own.
func families() [][]string {
	var all [][]string
	for _, group := range siblings {
		var family []string
		for _, name := range strings.Fields(group) {
			family = append(family, withWiderForms(name)...)
		}
		slices.Sort(family)
		all = append(all, slices.Compact(family))
	}
	for _, name := range syscalls.Names() {
		family := withWiderForms(name)
		known := func(other []string) bool { return slices.Contains(other, name) }
		if len(family) > 1 && !slices.ContainsFunc(all[:len(siblings)], known) {
			all = append(all, family)
		}
	}
	return all
}

// withWiderForms returns a call and its wider variants.
func withWiderForms(name string) []string {
	all := []string{name}
	for _, suffix := range [...]string{"32", "64", "_time64"} {
		if syscalls.Known(name + suffix) {
			all = append(all, name+suffix)
		}
	}
	return all
}

// checkSiblings looks for a family of which some calls are denied and others let through, and
// reports the first of the filter's architectures with such a difference.
func (l *linter) checkSiblings(e *Explainer, family []string) error {
	for _, arch := range bpf.Arches(e.Program) {
		open, denied, err := divide(e, arch, family)
		if err != nil {
			return err
		}
		pos, ok := l.firstNamed(append(slices.Clone(open), denied...))
		if !ok || len(open) == 0 || len(denied) == 0 {
			continue
		}
		get, do := "get", "do"
		if len(open) == 1 {
			get = "gets"
		}
		if len(denied) == 1 {
			do = "does"
		}
		l.find(pos, Warning, "missing-sibling", "decide on them together", "on %s %s %s through, %s %s not: programs use one or the other",
			arch, strings.Join(open, ", "), get, strings.Join(denied, ", "), do)
		return nil
	}
	return nil
}

// divide separates the calls that get through from those that are denied. ENOSYS does not
// count as denied, since programs then fall back. A call that libseccomp is too old to know
// counts only on the target's architecture, where its rule has an effect; another finding
// reports it.
func divide(e *Explainer, arch syscalls.Arch, calls []string) (open, denied []string, err error) {
	for _, name := range calls {
		if !compile.Knows(name) && arch != e.Policy.Target.Arch {
			continue
		}
		v, ok, err := unconditionalVerdict(e, arch, name)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case !ok, v == bpf.Verdict(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)):
		case v.Passes():
			open = append(open, name)
		default:
			denied = append(denied, name)
		}
	}
	return open, denied, nil
}

// firstNamed returns the first position at which the profile names one of the calls.
func (l *linter) firstNamed(calls []string) (seccomp.Position, bool) {
	for i := range l.profile.Rules {
		for _, n := range l.profile.Rules[i].Names {
			if slices.Contains(calls, n.Value) {
				return n.Pos, true
			}
		}
	}
	return seccomp.Position{}, false
}

// multiplexers looks for denied calls that can be made by socketcall(2) or ipc(2), on
// architectures that have these.
func (l *linter) multiplexers(e *Explainer) error {
	for _, group := range [...]string{"socketcall socket socketpair bind connect", "ipc shmget shmat msgget semget"} {
		calls := strings.Fields(group)
		for _, arch := range bpf.Arches(e.Program) {
			found, err := l.multiplexer(e, arch, calls[0], calls[1:])
			if err != nil {
				return err
			}
			if found {
				break
			}
		}
	}
	return nil
}

func (l *linter) multiplexer(e *Explainer, arch syscalls.Arch, multiplexer string, calls []string) (found bool, err error) {
	pos, named := l.firstNamed([]string{multiplexer})
	v, ok, err := unconditionalVerdict(e, arch, multiplexer)
	if err != nil || !named || !ok || !v.Passes() {
		return false, err
	}
	for _, name := range calls {
		v, ok, err := unconditionalVerdict(e, arch, name)
		if err != nil {
			return false, err
		}
		if _, has := bpf.NewCall(arch, name); has && (!ok || !v.Passes()) {
			l.find(pos, Info, "missing-sibling", "deny "+multiplexer+" too, if it matters to you: Docker's own profile does not",
				"on %s programs reach %s by %s as well, which gets through whatever %s's verdict", arch, name, multiplexer, name)
			return true, nil
		}
	}
	return false, nil
}
