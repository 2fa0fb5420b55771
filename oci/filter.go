package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

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

// newFilter compiles linux.seccomp, or takes the program of an earlier start, and
// checks that a command can start under it. A nil list is no filter.
func newFilter(list *specs.LinuxSeccomp, config string) (*filter, error) {
	if list == nil {
		return &filter{}, nil
	}
	target, err := seccomp.HostTarget(nil)
	if err != nil {
		return nil, err
	}
	program, _, err := compile.Cached(cacheDir, target.Arch, list, rulePositions(config))
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
	if err := checkLaunch(program); err != nil {
		return nil, fmt.Errorf("linux.seccomp: %w", err)
	}
	return f, launcher.CheckFilters()
}

// checkLaunch is [compile.CheckLaunch], except that the listener may be asked about the
// command's execve: it has been handed over by then.
func checkLaunch(program *bpf.Program) error {
	err := compile.CheckLaunch(program)
	var denied *compile.LaunchError
	if errors.As(err, &denied) && denied.Verdict.Effect().Action() == unix.SECCOMP_RET_USER_NOTIF {
		return nil
	}
	return err
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
	data, err := json.Marshal(specs.ContainerProcessState{
		Version: specs.Version, Fds: []string{specs.SeccompFdName}, Pid: pid, Metadata: list.ListenerMetadata, State: *state,
	})
	if err != nil {
		return err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: list.ListenerPath, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listenerPath: %w", err)
	}
	defer conn.Close()
	if _, _, err := conn.WriteMsgUnix(data, unix.UnixRights(int(listener.Fd())), nil); err != nil {
		return fmt.Errorf("listenerPath %s: %w", list.ListenerPath, err)
	}
	return nil
}
