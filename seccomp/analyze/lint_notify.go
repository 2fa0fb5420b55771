package analyze

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/seccomp"
)

// notify checks that SCMP_ACT_NOTIFY has an agent, and that the settings for it are not idle.
func (l *linter) notify() {
	p := l.profile
	var where []seccomp.Position
	if p.DefaultAction == specs.ActNotify {
		where = append(where, p.DefaultActionPos)
		l.find(p.DefaultActionPos, Info, "runc-notify", "", "runc refuses SCMP_ACT_NOTIFY as the default action")
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Action != specs.ActNotify {
			continue
		}
		where = append(where, r.ActionPos)
		if n := slices.IndexFunc(r.Names, func(n seccomp.Name) bool { return n.Value == "write" }); n >= 0 {
			l.find(r.Names[n].Pos, Info, "runc-notify", "", "runc refuses SCMP_ACT_NOTIFY for write")
		}
	}
	flag := slices.IndexFunc(p.Flags, func(f seccomp.Name) bool { return f.Value == string(specs.LinuxSeccompFlagWaitKillableRecv) })
	switch path := p.ListenerPath; {
	case len(where) > 0 && path.Value == "":
		l.find(where[0], Error, "no-listener", "add listenerPath, the socket of the agent that decides", "SCMP_ACT_NOTIFY without listenerPath: no container starts")
	case len(where) == 0 && path.Value != "":
		l.find(path.Pos, Warning, "idle-listener", "remove it, or use SCMP_ACT_NOTIFY", "no action is SCMP_ACT_NOTIFY: nobody connects to %s", path.Value)
	}
	if len(where) == 0 && flag >= 0 {
		f := p.Flags[flag]
		l.find(f.Pos, Error, "idle-flag", "remove it, or use SCMP_ACT_NOTIFY", "no action is SCMP_ACT_NOTIFY: the kernel refuses %s", f.Value)
	}
}
