package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/userns"
)

// EnterScope gives the process of a user a cgroup in which it can make others: a scope of
// the user's systemd (systemd.scope(5)), with the controllers that limits need. Only with
// it can a user's containers have limits. It is called before [userns.Enter], while
// systemd sees the user's own process. Afterwards the process is in SCOPE/launcher, and
// [ScopeParent] is where its container's cgroup is made. The scope ends with them.
func EnterScope(controllers ...string) error {
	socket, err := scopeSocket()
	if err != nil {
		return err
	}
	if err := startScope(socket, fmt.Sprintf("minirun-%d.scope", os.Getpid())); err != nil {
		return scopeError(err)
	}
	scope, err := ownCgroup2()
	if err != nil {
		return err
	}
	return settleIn(filepath.Join(cgroupRoot, scope), controllers)
}

// scopeSocket returns the socket of the user's systemd, or why there can be no scope.
func scopeSocket() (string, error) {
	if !cgroups.IsCgroup2UnifiedMode() {
		return "", hint.With(errors.New("without root there are no limits on cgroup v1"), "boot with systemd.unified_cgroup_hierarchy=1, or run it with sudo")
	}
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(runtime) {
		return "", hint.With(errors.New("no systemd of yours runs (XDG_RUNTIME_DIR is not set)"), fmt.Sprintf(
			"log in anew (ssh, machinectl shell %[1]s@), or sudo loginctl enable-linger %[1]s and export XDG_RUNTIME_DIR=/run/user/%[2]d", userns.Name(), userns.UID()))
	}
	return filepath.Join(runtime, "systemd", "private"), nil
}

func scopeError(err error) error { return fmt.Errorf("ask your systemd for a scope: %w", err) }

// checkScope returns why [EnterScope] would fail, or nil. It asks systemd for nothing.
func checkScope(controllers ...string) error {
	socket, err := scopeSocket()
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return hint.With(scopeError(err), "log in anew, or run it with sudo")
	}
	conn.Close()
	return delegated(fmt.Sprintf("%s/user.slice/user-%[2]d.slice/user@%[2]d.service", cgroupRoot, userns.UID()), controllers)
}

const cgroupRoot = "/sys/fs/cgroup"

// startScope has a systemd put this process into a new scope. It is asked over its own
// socket, as systemctl --user does: there need be no bus.
func startScope(socket, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := dbus.NewConnection(func() (*godbus.Conn, error) {
		conn, err := godbus.Dial("unix:path="+socket, godbus.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	done := make(chan string, 1)
	_, err = conn.StartTransientUnitContext(ctx, name, "fail", []dbus.Property{
		dbus.PropDescription("minirun"),
		{Name: "PIDs", Value: godbus.MakeVariant([]uint32{uint32(os.Getpid())})},
		{Name: "Delegate", Value: godbus.MakeVariant(true)},
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}, done)
	if err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return errors.New("the job's result is " + result)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settleIn makes a scope one in which cgroups with limits can be made: those have no
// processes beside them (cgroups(7), "no internal processes").
func settleIn(scope string, controllers []string) error {
	own := filepath.Join(scope, "launcher")
	if err := os.Mkdir(own, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	return delegated(scope, controllers)
}

// delegated returns an error if a cgroup lacks a controller.
func delegated(cgroup string, controllers []string) error {
	available, err := os.ReadFile(filepath.Join(cgroup, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, controller := range controllers {
		if !slices.Contains(strings.Fields(string(available)), controller) {
			return hint.With(fmt.Errorf("the controller %s is not delegated to you", controller),
				"'Delegate=cpu memory pids' in [Service] of /etc/systemd/system/user@.service.d/delegate.conf, and log in anew")
		}
	}
	return nil
}

// ScopeParent returns the cgroup, as /proc/self/cgroup names it, in which a process that
// has entered a scope makes others, or "" if it has not.
func ScopeParent() string {
	if !userns.Rootless() || !cgroups.IsCgroup2UnifiedMode() {
		return ""
	}
	own, err := ownCgroup2()
	if scope := path.Dir(own); err == nil && path.Base(own) == "launcher" && strings.HasPrefix(path.Base(scope), "minirun-") {
		return scope
	}
	return ""
}

// ownCgroup2 returns this process's cgroup of version 2.
func ownCgroup2() (string, error) {
	own, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	if own[""] == "" {
		return "", unix.ENOENT
	}
	return own[""], nil
}
