package seccomp

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

// siblings are calls that do the same, of which programs use now one, now
// another: a verdict on one alone is passed by, or breaks what worked.
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
	"select pselect6",
	"setxattr lsetxattr fsetxattr setxattrat",
	"stat lstat fstat newfstatat statx",
	"symlink symlinkat",
	"umount umount2",
	"wait4 waitid",
}

// programs looks at what the profile compiles to: for Docker's default
// capabilities and whatever the target has.
func (l *linter) programs() error {
	policy, err := l.profile.Resolve(l.target)
	if err != nil {
		return err
	}
	e, err := policy.Explainer()
	if err != nil {
		return err
	}
	if err := e.Program.CheckLaunch(); err != nil {
		l.find(l.profile.DefaultActionPos, Error, "launch-set", "allow these calls", "%v", err)
	}
	l.horizon(policy)
	for _, group := range siblings {
		if err := l.siblings(e, strings.Fields(group)); err != nil {
			return err
		}
	}
	return l.multiplexers(e)
}

// horizon tells of the largest number that the profile names.
func (l *linter) horizon(p *Policy) {
	if lets(p.Seccomp.DefaultAction) {
		return
	}
	arch, err := scmpArch(p.Target.Arch.OCI())
	if err != nil {
		return
	}
	largest := p.largest(arch)
	if largest <= 0 {
		return // there is none
	}
	if name, ok := syscalls.NameOf(p.Target.Arch, uint32(largest)); ok {
		l.find(l.profile.DefaultActionPos, Info, "enosys-horizon", "name newer calls to decide on them", "on %s calls newer than %s (%d) get ENOSYS, not the default action", p.Target.Arch, name, largest)
	}
}

// fate is the verdict on a call whatever its arguments, or none when they decide.
func fate(e *Explainer, name string) (v Verdict, ok bool, err error) {
	c := CallPattern{Name: name}
	cases, err := e.cases(c)
	if err != nil || len(cases) > 0 {
		return 0, false, err
	}
	if _, has := c.Call(e.Policy.Target.Arch); !has {
		return 0, false, nil
	}
	v, err = e.Run(c)
	return v, err == nil, err
}

// siblings finds calls of a group that are denied where others are let through.
// ENOSYS is no denial: programs then fall back.
func (l *linter) siblings(e *Explainer, group []string) error {
	var open, denied []string
	for _, name := range group {
		v, ok, err := fate(e, name)
		if err != nil {
			return err
		}
		switch {
		case !ok, v == Verdict(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)):
		case v.Action() == unix.SECCOMP_RET_ALLOW || v.Action() == unix.SECCOMP_RET_LOG:
			open = append(open, name)
		default:
			denied = append(denied, name)
		}
	}
	if len(open) == 0 || len(denied) == 0 {
		return nil
	}
	if pos, name, ok := l.named(append(slices.Clone(open), denied...)); ok {
		l.find(pos, Warning, "missing-sibling", "decide on them together", "%s: %s get through, %s not, though programs use either", name, strings.Join(open, ", "), strings.Join(denied, ", "))
	}
	return nil
}

// named is the first place where the profile names one of the calls.
func (l *linter) named(calls []string) (Position, string, bool) {
	for i := range l.profile.Rules {
		for _, n := range l.profile.Rules[i].Names {
			if slices.Contains(calls, n.Value) {
				return n.Pos, n.Value, true
			}
		}
	}
	return Position{}, "", false
}

// multiplexers finds 32-bit programs' ways round: socketcall(2) and ipc(2) take
// in one call what others do.
func (l *linter) multiplexers(e *Explainer) error {
	if !slices.Contains(archesOf(e.Policy, e.Policy), syscalls.X86) {
		return nil
	}
	for multiplexer, calls := range map[string]string{"socketcall": "socket socketpair bind connect", "ipc": "shmget shmat msgget semget"} {
		call, _ := NewCall(syscalls.X86, multiplexer)
		v, err := e.emu.Run(call)
		if err != nil {
			return err
		}
		if v.Action() != unix.SECCOMP_RET_ALLOW {
			continue
		}
		for _, name := range strings.Fields(calls) {
			decided, ok, err := fate(e, name)
			if err != nil {
				return err
			}
			if pos, _, named := l.named([]string{multiplexer}); named && (!ok || decided.Action() != unix.SECCOMP_RET_ALLOW) {
				l.find(pos, Info, "missing-sibling", "deny "+multiplexer+" too, if it matters to you: Docker's own profile does not", "32-bit programs reach %s by %s, which gets through whatever %s's verdict", name, multiplexer, name)
				break
			}
		}
	}
	return nil
}

// FixFindings applies the safe remedies: names and rules without effect go, and
// misspelt names get the one spelling that is near. All else stays to the byte.
func FixFindings(source []byte, findings []Finding) ([]byte, int, error) {
	root, err := parseJSON(source)
	if err != nil {
		return source, 0, nil //nolint:nilerr // what is no JSON has no safe remedy
	}
	rules := root.member("syscalls")
	if rules == nil {
		return source, 0, nil
	}
	l := newLines("", source)
	fixed := 0
	of := func(n *node) *Finding {
		pos := l.at(n.offset)
		i := slices.IndexFunc(findings, func(f Finding) bool {
			return (f.drop || f.rename != "") && f.Pos.Line == pos.Line && f.Pos.Column == pos.Column
		})
		if i < 0 {
			return nil
		}
		fixed++
		return &findings[i]
	}
	var kept []element
	for i, rule := range rules.items {
		if f := of(rule); f != nil && f.drop {
			continue
		}
		if text, remains := fixNames(source, rule, of); remains {
			kept = append(kept, element{separator(source, rules.items, i), text})
		}
	}
	if fixed == 0 {
		return source, 0, nil
	}
	return splice(source, rules, kept), fixed, nil
}

func fixNames(source []byte, rule *node, of func(*node) *Finding) (text []byte, remains bool) {
	list := rule.member("names")
	if list == nil {
		return source[rule.offset:rule.end], true
	}
	var kept []element
	changed := false
	for i, n := range list.items {
		text := source[n.offset:n.end]
		if f := of(n); f != nil {
			changed = true
			if f.drop {
				continue
			}
			text = []byte(`"` + f.rename + `"`)
		}
		kept = append(kept, element{separator(source, list.items, i), text})
	}
	switch {
	case !changed:
		return source[rule.offset:rule.end], true
	case len(kept) == 0:
		return nil, false
	}
	return splice(source[:rule.end], list, kept)[rule.offset:], true
}
