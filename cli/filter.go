package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
)

// setFilter compiles the profile that the flags name for the container's
// bounding set, or takes it from the cache.
func setFilter(c *ucli.Context, o *launcher.Options, root string) error {
	name, err := profileName(c)
	if err != nil {
		return err
	}
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
	profile, err := loadProfile(name)
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
	target, err := seccomp.HostTarget(o.Capabilities)
	if err != nil {
		return err
	}
	policy, err := profile.Resolve(target)
	if err != nil {
		return err
	}
	program, hit, err := policy.CompileCached(filepath.Join(root, "cache"))
	if err != nil {
		return err
	}
	logrus.Debugf("seccomp: %s: %d instructions, cached: %t", name, len(program.Instructions), hit)
	if program.Listener {
		return &usageError{name + ": SCMP_ACT_NOTIFY needs a listener, which this version does not have", "use SCMP_ACT_ERRNO or SCMP_ACT_LOG"}
	}
	if err := program.CheckLaunch(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	o.Filter, o.FilterFlags = program.Instructions, program.Flags
	return launcher.CheckFilters()
}

// profileName is that of --seccomp or --security-opt seccomp=, of which the
// last one counts; without, a privileged container is unconfined, as Docker's.
func profileName(c *ucli.Context) (string, error) {
	name := c.String("seccomp")
	for _, text := range c.StringSlice("security-opt") {
		if value, ok := strings.CutPrefix(strings.Replace(text, "seccomp:", "seccomp=", 1), "seccomp="); ok {
			if c.IsSet("seccomp") && value != name {
				return "", &usageError{"--security-opt " + text + ": --seccomp " + name + " says otherwise", "give one of the two"}
			}
			name = value
		}
	}
	switch {
	case name != "":
		return name, nil
	case c.IsSet("seccomp"):
		return "", &usageError{"--seccomp: a profile is missing", "give a file, default or unconfined"}
	case c.Bool("privileged"):
		return "unconfined", nil
	}
	return "default", nil
}

// loadProfile reads and parses a profile: a file, or "default".
func loadProfile(name string) (*seccomp.Profile, error) {
	if name == "default" || name == "builtin" {
		return seccomp.Parse(seccomp.DefaultName, profiles.Default())
	}
	data, err := os.ReadFile(name)
	var path *os.PathError
	if errors.As(err, &path) {
		if name == "unconfined" { // a launch does not come here with it
			return nil, &usageError{"unconfined: that is no profile to look at", "give a file, or default"}
		}
		return nil, &usageError{"seccomp profile " + name + ": " + path.Err.Error(), "give a file, default or unconfined"}
	}
	return seccomp.Parse(name, data)
}
