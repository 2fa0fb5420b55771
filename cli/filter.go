package cli

import (
	"fmt"
	"path/filepath"

	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/compile"
)

// setFilter sets the filter of o to the named profile, edited as the flags say and
// compiled for the capabilities, or to the program of an earlier start.
func (a *app) setFilter(c *ucli.Context, o *launcher.Options, name string, capabilities []string, root string) error {
	changes, err := edits(c, "seccomp-")
	if err != nil {
		return err
	}
	if name == "unconfined" {
		if len(changes) > 0 {
			return &usageError{"--seccomp unconfined: there is no profile to edit", "leave out --seccomp-allow, --seccomp-deny and --seccomp-gate, or name a profile"}
		}
		return nil
	}
	profile, err := a.loadProfile(name)
	if err != nil {
		return err
	}
	if len(changes) > 0 {
		edited, err := profile.Edit(changes)
		if err != nil {
			return err
		}
		if profile, err = seccomp.Parse(name+" (edited)", edited); err != nil {
			return err
		}
	}
	target, err := seccomp.HostTarget(capabilities)
	if err != nil {
		return err
	}
	policy, err := profile.Resolve(target)
	if err != nil {
		return err
	}
	program, hit, err := compile.Cached(filepath.Join(root, "cache"), policy.Target.Arch, policy.Seccomp, policy.RulePosition)
	if err != nil {
		return err
	}
	logrus.Debugf("seccomp: %s: %d instructions, cached: %t", name, len(program.Instructions), hit)
	if program.Listener {
		return &usageError{name + ": SCMP_ACT_NOTIFY needs a listener, which this version does not have", "use SCMP_ACT_ERRNO or SCMP_ACT_LOG"}
	}
	if err := compile.CheckLaunch(program); err != nil {
		return &hintedError{fmt.Errorf("%s: %w", name, err), "allow execve; 'minirun seccomp explain' shows the rule that decides"}
	}
	o.Filter, o.FilterFlags = program.Instructions, program.Flags
	return launcher.CheckFilters()
}
