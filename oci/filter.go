package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/compile"
)

// filter is a container's seccomp program.
type filter struct {
	instructions []unix.SockFilter
	flags        uint32
}

// newFilter compiles linux.seccomp, or takes the program of an earlier start, and
// checks that a command can start under it. A nil list is no filter. origin is where the
// rules stand, for an error.
func newFilter(list *specs.LinuxSeccomp, origin compile.Origin) (*filter, error) {
	if list == nil {
		return &filter{}, nil
	}
	target, err := seccomp.HostTarget(nil)
	if err != nil {
		return nil, err
	}
	program, _, err := compile.Cached(cacheDir, target.Arch, list, origin)
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp: %w", err)
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

// sendListener hands the filter's listener to the agent at listenerPath, with the
// process's state (config-linux.md, The Container Process State).
func sendListener(listener *os.File, list *specs.LinuxSeccomp, pid int, state *specs.State) error {
	defer listener.Close()
	if list == nil || list.ListenerPath == "" {
		return errors.New("nobody answers the filter's notifications")
	}
	agent := &launcher.Agent{Path: list.ListenerPath, Metadata: list.ListenerMetadata}
	if err := agent.Connect(); err != nil {
		return err
	}
	return agent.Send(listener, pid, *state)
}
