package oci

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
)

func (c *command) execCommand() *ucli.Command {
	return &ucli.Command{
		Name: "exec", Usage: "run another process in a container, under its filter", ArgsUsage: "ID [COMMAND [ARG...]]",
		Flags: append(processFlags(),
			&ucli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "read the process from `FILE`, JSON as config.json's"},
			&ucli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait"},
			&ucli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give it a terminal"},
			&ucli.StringFlag{Name: "cwd", Usage: "start in `DIR`"},
			&ucli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set `NAME=VALUE`"},
			&ucli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `UID[:GID]`"},
			&ucli.Int64SliceFlag{Name: "additional-gids", Aliases: []string{"g"}, Usage: "with the group `GID`, too"},
			&ucli.StringSliceFlag{Name: "cap", Aliases: []string{"c"}, Usage: "with the capability `CAP`, too"},
			&ucli.BoolFlag{Name: "no-new-privs", Usage: "set no_new_privs"},
			&ucli.StringFlag{Name: "apparmor", Usage: "confine it by the AppArmor profile `NAME`"},
			&ucli.StringFlag{Name: "process-label", Usage: "give it the SELinux `LABEL`"},
			&ucli.StringSliceFlag{Name: "cgroup", Usage: "join `[CONTROLLER:]PATH` below the container's cgroup"},
			&ucli.BoolFlag{Name: "ignore-paused", Usage: "also in a paused container"},
			&ucli.BoolFlag{Name: "no-subreaper", Usage: "accepted for runc's sake", Hidden: true},
		),
		Action: func(ctx *ucli.Context) error {
			if err := checkArgs(ctx, 1, -1); err != nil {
				return err
			}
			err := c.exec(ctx)
			var s status
			if err == nil || errors.As(err, &s) {
				return err
			}
			return execError{fmt.Errorf("exec failed: %w", err)}
		},
	}
}

func (c *command) exec(ctx *ucli.Context) error {
	container, err := c.open(ctx)
	if err != nil {
		return err
	}
	if err := execAllowed(container, ctx.Bool("ignore-paused")); err != nil {
		return err
	}
	pidFile, err := absolute(ctx.String("pid-file"))
	if err != nil {
		return err
	}
	r, err := readRecord(container)
	if err != nil {
		return err
	}
	process, err := execProcess(ctx, r)
	if err != nil {
		return err
	}
	o, err := c.execOptions(ctx, process, r, container)
	if err != nil {
		return err
	}
	x, err := container.Exec(*o)
	if err != nil {
		return err
	}
	if err := writePID(pidFile, x.PID()); err != nil {
		return errors.Join(err, x.Kill())
	}
	if ctx.Bool("detach") {
		x.Close()
		return nil
	}
	code, err := x.Wait()
	if err == nil && code != 0 {
		return status(code)
	}
	return err
}

func execAllowed(container *launcher.Container, paused bool) error {
	s, err := stateOf(container)
	if err != nil {
		return err
	}
	switch {
	case s.Status == specs.StateStopped:
		return errors.New("cannot exec in a stopped container")
	case s.Status == "paused" && !paused:
		return errors.New("cannot exec in a paused container (use --ignore-paused to override)")
	}
	return nil
}

func (c *command) execOptions(ctx *ucli.Context, process *specs.Process, r *record, container *launcher.Container) (*launcher.ExecOptions, error) {
	engine, err := c.engine(ctx)
	if err != nil {
		return nil, err
	}
	engine.Foreground = !ctx.Bool("detach") && engine.Console == nil
	if err := checkConsole(process.Terminal, engine); err != nil {
		return nil, err
	}
	f, err := c.execFilter(container, r)
	if err != nil {
		return nil, err
	}
	cgroups, err := subCgroups(ctx.StringSlice("cgroup"))
	if err != nil {
		return nil, err
	}
	return &launcher.ExecOptions{
		Process: process, Engine: *engine, Cgroups: cgroups,
		Filter: f.instructions, FilterFlags: f.flags,
		Listener: func(listener *os.File, pid int) error {
			return passListener(listener, container, r, pid)
		},
		Stdin: c.stdin, Stdout: c.stdout, Stderr: c.stderr,
	}, nil
}

// execProcess is the process of --process, or that of the bundle with the changes that
// the flags make.
func execProcess(ctx *ucli.Context, r *record) (*specs.Process, error) {
	if file := ctx.String("process"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--process: %w", err)
		}
		p := &specs.Process{}
		if err := json.Unmarshal(data, p); err != nil {
			return nil, fmt.Errorf("--process %s: %w", file, err)
		}
		return p, checkProcess(p)
	}
	b, err := openBundle(r.Bundle)
	if err != nil {
		return nil, err
	}
	p := b.spec.Process
	if p.Args = ctx.Args().Tail(); len(p.Args) == 0 {
		return nil, errors.New("there is no command")
	}
	p.Terminal = ctx.Bool("tty")
	p.Env = append(p.Env, ctx.StringSlice("env")...)
	for _, text := range []struct {
		field *string
		flag  string
	}{{&p.Cwd, "cwd"}, {&p.ApparmorProfile, "apparmor"}, {&p.SelinuxLabel, "process-label"}} {
		if ctx.IsSet(text.flag) {
			*text.field = ctx.String(text.flag)
		}
	}
	if ctx.IsSet("no-new-privs") {
		p.NoNewPrivileges = ctx.Bool("no-new-privs")
	}
	addCapabilities(p, ctx.StringSlice("cap"))
	if err := setUser(&p.User, ctx.String("user"), ctx.Int64Slice("additional-gids")); err != nil {
		return nil, err
	}
	return p, checkProcess(p)
}

// addCapabilities adds to all sets but the inheritable one, and to the ambient one only
// where that is not empty.
func addCapabilities(p *specs.Process, names []string) {
	if len(names) == 0 {
		return
	}
	if p.Capabilities == nil {
		p.Capabilities = &specs.LinuxCapabilities{}
	}
	sets := []*[]string{&p.Capabilities.Bounding, &p.Capabilities.Effective, &p.Capabilities.Permitted}
	if p.Capabilities.Inheritable != nil { // an ambient capability has to be inheritable (capabilities(7))
		sets = append(sets, &p.Capabilities.Ambient)
	}
	for _, set := range sets {
		*set = append(slices.Clone(*set), names...)
	}
}

func setUser(u *specs.User, text string, groups []int64) error {
	if text != "" {
		uid, gid, both := strings.Cut(text, ":")
		n, err := strconv.ParseUint(uid, 10, 32)
		if err != nil {
			return fmt.Errorf("--user %s: the user is a number", text)
		}
		u.UID = uint32(n)
		if both {
			if n, err = strconv.ParseUint(gid, 10, 32); err != nil {
				return fmt.Errorf("--user %s: the group is a number", text)
			}
			u.GID = uint32(n)
		}
	}
	for _, gid := range groups {
		if gid < 0 || gid > 1<<32-2 {
			return fmt.Errorf("--additional-gids %d: no group has that number", gid)
		}
		u.AdditionalGids = append(u.AdditionalGids, uint32(gid))
	}
	return nil
}

// subCgroups reads --cgroup: PATH for all controllers, or CONTROLLER[,CONTROLLER]:PATH.
func subCgroups(list []string) (map[string]string, error) {
	paths := map[string]string{}
	for _, text := range list {
		controllers, path, named := strings.Cut(text, ":")
		if !named {
			if len(list) > 1 {
				return nil, fmt.Errorf("--cgroup %s: one of several names its controllers, as in cpu,memory:PATH", text)
			}
			return map[string]string{"": text}, nil
		}
		for name := range strings.SplitSeq(controllers, ",") {
			if _, twice := paths[name]; twice || name == "" {
				return nil, fmt.Errorf("--cgroup %s: a controller is empty, or named twice", text)
			}
			paths[name] = path
		}
	}
	return paths, nil
}
