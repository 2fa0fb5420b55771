package cli

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"

	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
)

// edited is appended to the name of a profile that flags have edited.
const edited = " (edited)"

// setFilter sets the filter of o to the profile of the flags, edited as these say and compiled
// for the capabilities, or to the recorded program of a container that is started again. It
// returns the reports of --explain and similar flags, else nil.
func (a *app) setFilter(c *ucli.Context, o *launcher.Options, flags *config.Config, capabilities []string, root string) (*liveReports, error) {
	if a.again != nil && !observes(c) && c.String("record") == "" {
		a.again.launch.LaunchedFilter(o)
		o.About.Seccomp = a.again.launch.Seccomp
		return nil, launcher.CheckFilters()
	}
	name := flags.Seccomp
	o.About.Seccomp = launcher.Profile{Name: name}
	changes, err := edits(c, "seccomp-")
	if err != nil {
		return nil, err
	}
	if name == "unconfined" {
		if err := checkUnconfined(c, changes); err != nil {
			return nil, err
		}
		return a.observed(c, o, reported{}, flags.Terminal, capabilities)
	}
	filter, err := a.setProfile(o, name, changes, capabilities, filepath.Join(root, "cache"))
	if err != nil {
		return nil, err
	}
	return a.observed(c, o, filter, flags.Terminal, capabilities)
}

// setProfile sets the filter of o to a profile with changes, compiled for the capabilities.
func (a *app) setProfile(o *launcher.Options, name string, changes []seccomp.Edit, capabilities []string, cache string) (filter reported, err error) {
	text, err := profileText(name)
	if err != nil {
		return filter, err
	}
	if err := noteProfile(&o.About.Seccomp, text); err != nil {
		return filter, err
	}
	target, err := seccomp.HostTarget(capabilities)
	if err != nil {
		return filter, err
	}
	var shortcut *compile.Shortcut
	if len(changes) == 0 && a.again == nil {
		if shortcut, err = compile.NewShortcut(cache, text, target.Arch, target.Capabilities); err != nil {
			return filter, err
		}
	}
	if program := shortcut.Program(); program != nil { // checkLaunch has accepted it before
		logrus.Debugf("seccomp: %s: %d instructions, cached by its text", name, len(program.Instructions))
		filter = reported{program, profileFile(name), func() (*seccomp.Policy, error) { return resolve(name, text, target) }}
		return filter, useProgram(o, program)
	}
	policy, program, err := a.compiledProfile(o, name, text, changes, target, cache)
	if err != nil {
		return filter, err
	}
	if err := useProgram(o, program); err != nil {
		return filter, err
	}
	if len(policy.Profile.Remarks) == 0 && !program.Listener { // each start repeats remarks, and needs the listener's path
		shortcut.Keep(program)
	}
	return reported{program, policy.Profile.File, func() (*seccomp.Policy, error) { return policy, nil }}, nil
}

// compiledProfile parses, edits and compiles a profile, and records in o what it is and which
// agent its listener is for.
func (a *app) compiledProfile(o *launcher.Options, name string, text []byte, changes []seccomp.Edit, target seccomp.Target, cache string) (*seccomp.Policy, *bpf.Program, error) {
	profile, edited, err := a.editedProfile(name, text, changes)
	if err != nil {
		return nil, nil, err
	}
	if len(changes) > 0 {
		o.About.Seccomp.Edited, o.About.Seccomp.Digest = true, digestOf(edited)
	}
	if err := a.again.sameProfile(o.About.Seccomp); err != nil {
		return nil, nil, err
	}
	policy, program, err := compiled(name, profile, target, cache)
	if err != nil {
		return nil, nil, err
	}
	if program.Listener {
		o.Agent = &launcher.Agent{Path: profile.ListenerPath.Value, Metadata: profile.ListenerMetadata}
	}
	return policy, program, nil
}

// resolve resolves a profile that has been parsed without a remark before.
func resolve(name string, text []byte, target seccomp.Target) (*seccomp.Policy, error) {
	profile, err := seccomp.Parse(profileFile(name), text)
	if err != nil {
		return nil, err
	}
	return profile.Resolve(target)
}

// checkUnconfined returns an error for flags that need a filter.
func checkUnconfined(c *ucli.Context, changes []seccomp.Edit) error {
	if len(changes) > 0 {
		return &usageError{"--seccomp unconfined: there is no profile to edit", "leave out --seccomp-allow, --seccomp-deny and --seccomp-gate, or name a profile"}
	}
	for _, flag := range [...]string{"complain", "explain-filter"} {
		if c.Bool(flag) {
			return &usageError{"--" + flag + ": the container has no filter, so nothing is denied by one", "name a profile with --seccomp, or leave out --" + flag}
		}
	}
	return nil
}

// compiled resolves and compiles a profile, and returns an error if no container can start
// with it. name is the profile's in errors.
func compiled(name string, profile *seccomp.Profile, target seccomp.Target, cache string) (*seccomp.Policy, *bpf.Program, error) {
	policy, err := profile.Resolve(target)
	if err != nil {
		return nil, nil, err
	}
	program, hit, err := compile.Cached(cache, policy.Target.Arch, policy.Seccomp, policy.RulePosition)
	if err != nil {
		return nil, nil, err
	}
	logrus.Debugf("seccomp: %s: %d instructions, cached: %t", name, len(program.Instructions), hit)
	if err := policy.CheckNotify(); err != nil {
		return nil, nil, err
	}
	return policy, program, checkLaunch(name, program)
}

// noteProfile records a profile for 'inspect'. It does not compute the digest of the built-in
// one, to save time.
func noteProfile(p *launcher.Profile, text []byte) (err error) {
	if isDefault(p.Name) {
		p.Name = "default"
		return nil
	}
	p.Digest = digestOf(text)
	p.Name, err = filepath.Abs(p.Name)
	return err
}

func digestOf(text []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(text)) }

// editedProfile parses a profile and edits it. It also returns the text.
func (a *app) editedProfile(name string, text []byte, changes []seccomp.Edit) (*seccomp.Profile, []byte, error) {
	profile, err := a.parseProfile(name, text)
	if err != nil || len(changes) == 0 {
		return profile, text, err
	}
	if text, err = edit(profile, changes, "seccomp-"); err != nil {
		return nil, nil, err
	}
	profile, err = seccomp.Parse(name+edited, text)
	return profile, text, err
}

// checkLaunch returns an error for a program under which no container can start.
func checkLaunch(name string, program *bpf.Program) error {
	err := compile.CheckLaunch(program)
	if err != nil {
		return hint.With(fmt.Errorf("%s: %w", name, err), "allow execve; 'minirun seccomp explain' shows the rule that decides")
	}
	return nil
}

// useProgram makes a program the filter of o.
func useProgram(o *launcher.Options, program *bpf.Program) error {
	o.Filter, o.FilterFlags = program.Instructions, program.Flags
	if program.Listener {
		o.FilterFlags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	o.Enter, o.EnterFlags = o.Filter, o.FilterFlags
	logrus.Debugf("seccomp: filter flags %d", o.FilterFlags)
	return launcher.CheckFilters()
}
