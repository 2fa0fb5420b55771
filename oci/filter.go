package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
)

// filter is a container's seccomp program.
type filter struct {
	instructions []unix.SockFilter
	flags        uint32
}

// containerFilter decides about a container's filter, from linux.seccomp and annotations,
// which it notes in the record, and returns it.
func (c *command) containerFilter(b *bundle, a *annotations, r *record) (*filter, error) {
	origin := rulePositions(configFile)
	r.Seccomp = b.spec.Linux.Seccomp
	var text *profileText
	if a != nil {
		var err error
		if r.Watch, err = a.watch(b); err != nil {
			return nil, err
		}
		if _, named := a.values[profileAnnotation]; named {
			if text, err = a.profile(); err != nil {
				return nil, err
			}
			policy, err := text.resolve(b.spec.Process.Capabilities)
			if err != nil {
				return nil, annotationError(profileAnnotation, "%w", err)
			}
			r.Seccomp, origin = policy.Seccomp, policy.RulePosition
		}
	}
	f, err := newFilter(r.Seccomp, origin)
	if err != nil || r.Watch == nil {
		return f, err
	}
	if text == nil && r.Seccomp != nil {
		text = &profileText{filepath.Join(b.dir, configFile), b.text}
	}
	r.Watch.Profile, r.Watch.Capabilities = text, b.spec.Process.Capabilities
	if err := r.Watch.checkReport(); err != nil {
		return nil, err
	}
	return r.Watch.filter(c.observe)
}

// execFilter returns the filter of a process beside a container's PID 1. Without a
// supervisor, if that was killed, nobody answers for it: then it denies as it is.
func (c *command) execFilter(container *launcher.Container, r *record) (*filter, error) {
	if r.Watch != nil {
		supervised, err := container.Supervised()
		if err != nil {
			return nil, err
		}
		if supervised {
			return r.Watch.filter(c.observe)
		}
		c.warn(errors.New("the container's supervisor has ended: this process is not observed"))
	}
	return newFilter(r.Seccomp, rulePositions(filepath.Join(r.Bundle, configFile)))
}

// newFilter compiles linux.seccomp, or takes the program of an earlier start, and
// checks that a command can start under it. A nil list is no filter. origin is where the
// rules stand, for an error.
func newFilter(list *specs.LinuxSeccomp, origin compile.Origin) (*filter, error) {
	if list == nil {
		return &filter{}, nil
	}
	program, err := compiled(list, origin)
	if err != nil {
		return nil, err
	}
	f := &filter{program.Instructions, program.Flags}
	if program.Listener {
		if list.ListenerPath == "" {
			return nil, errors.New("linux.seccomp: SCMP_ACT_NOTIFY needs a listenerPath")
		}
		f.flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	if err := compile.CheckLaunch(program); err != nil {
		return nil, fmt.Errorf("linux.seccomp: %w", err)
	}
	return f, launcher.CheckFilters()
}

func compiled(list *specs.LinuxSeccomp, origin compile.Origin) (*bpf.Program, error) {
	target, err := seccomp.HostTarget(nil)
	if err != nil {
		return nil, err
	}
	program, _, err := compile.Cached(cacheDir, target.Arch, list, origin)
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp: %w", err)
	}
	return program, nil
}

// rulePositions returns where the rules of a config.json stand. It reads the file when
// it is asked, which is for an error only.
func rulePositions(config string) compile.Origin {
	return func(i int) seccomp.Position {
		data, err := os.ReadFile(config)
		if err == nil {
			if profile, err := seccomp.Parse(config, data); err == nil && i < len(profile.Rules) {
				return profile.Rules[i].Pos
			}
		}
		return seccomp.Position{File: fmt.Sprintf("%s: linux.seccomp.syscalls[%d]", filepath.Base(config), i)}
	}
}

// passListener hands the filter's listener to the container's supervisor, or to the agent
// at listenerPath, with the process's state (config-linux.md, The Container Process State).
func passListener(listener *os.File, container *launcher.Container, r *record, pid int) error {
	defer listener.Close()
	if r.Seccomp != nil && r.Seccomp.ListenerPath != "" && notifies(r.Seccomp) {
		agent := &launcher.Agent{Path: r.Seccomp.ListenerPath, Metadata: r.Seccomp.ListenerMetadata}
		if err := agent.Connect(); err != nil {
			return err
		}
		state, err := container.EngineState()
		if err != nil {
			return err
		}
		return agent.Send(listener, pid, *state)
	}
	if r.Watch == nil {
		return errors.New("nobody answers the filter's notifications")
	}
	return container.Observe(listener)
}

// notifies reports whether a list's own rules leave calls to an agent.
func notifies(list *specs.LinuxSeccomp) bool {
	return list.DefaultAction == specs.ActNotify ||
		slices.ContainsFunc(list.Syscalls, func(s specs.LinuxSyscall) bool { return s.Action == specs.ActNotify })
}
