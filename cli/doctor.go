package cli

import (
	"fmt"
	"io"
	"slices"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp"
)

func (a *app) doctorCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "doctor",
		Usage: "check that this machine has what a launch needs",
		Description: `For each thing: ok, or what is missing and how to mend it. Ends with 0 when
containers can be launched, with 1 when something that is needed is missing.
Warnings are of what a launch can do without.`,
		Flags:  []ucli.Flag{formatFlag()},
		Action: a.doctorAction,
	}
}

func (a *app) doctorAction(c *ucli.Context) error {
	if err := words(c, 0, 0); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	checks := append(launcher.Checks(), libseccompCheck(seccomp.LibraryVersion()), storeCheck(c))
	if asJSON {
		err = writeJSON(a.stdout, checks)
	} else {
		err = a.writeChecks(a.stdout, checks)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(checks, func(c launcher.Check) bool { return c.Status == launcher.CheckMissing }) {
		return status(1)
	}
	return nil
}

func (a *app) writeChecks(w io.Writer, checks []launcher.Check) error {
	colours := map[launcher.CheckStatus]string{launcher.CheckOK: green, launcher.CheckWarning: yellow, launcher.CheckMissing: red}
	for _, c := range checks {
		mark := fmt.Sprintf("%-7s", c.Status)
		if isTerminal(a.stdout) {
			mark = a.ui.paint(colours[c.Status], mark)
		}
		if _, err := fmt.Fprintf(w, "%s  %-16s  %s\n", mark, c.Name, printable(c.Detail)); err != nil {
			return err
		}
		if c.Fix == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%27sto mend it: %s\n", "", printable(c.Fix)); err != nil {
			return err
		}
	}
	return nil
}

// libseccompCheck judges the version of the library that compiles profiles.
func libseccompCheck(version string) launcher.Check {
	check := launcher.Check{Name: "libseccomp", Status: launcher.CheckOK, Detail: version + " compiles profiles"}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil || major < 2 || major == 2 && minor < 5 {
		check.Status = launcher.CheckWarning
		check.Detail += "; profiles with SCMP_ACT_NOTIFY cannot be looked at with it"
		check.Fix = "install libseccomp 2.5 or later"
	}
	return check
}

// storeCheck looks at the folder of images and containers.
func storeCheck(c *ucli.Context) launcher.Check {
	check := launcher.Check{Name: "store", Status: launcher.CheckOK}
	d, err := dirs(c)
	if err == nil {
		check.Detail = d.Root
		_, err = openStore(c)
	}
	if err != nil {
		check.Status, check.Detail, check.Fix = launcher.CheckMissing, err.Error(), "choose a folder of your own with --root DIR"
	}
	return check
}
