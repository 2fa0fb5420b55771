package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/rootfs"
	"github.com/minirun/minirun/seccomp/compile"
)

func (a *app) doctorCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "doctor",
		Usage: "check that this machine has what a launch needs",
		Description: `Prints ok for each requirement, or what is missing and how to fix it. The exit
status is 0 if containers can be launched, and 1 if something required is missing. A
warning is about something that a launch can do without.`,
		Flags:  []ucli.Flag{formatFlag()},
		Action: a.doctorAction,
	}
}

func (a *app) doctorAction(c *ucli.Context) error {
	if err := checkArgs(c, 0, 0); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	checks := append(launcher.Checks(mapsOwners(c)), libseccompCheck(compile.LibraryVersion()), storeCheck(c))
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
		if _, err := fmt.Fprintf(w, "%27sfix: %s\n", "", printable(c.Fix)); err != nil {
			return err
		}
	}
	return nil
}

// libseccompCheck checks the version of the library that compiles profiles.
func libseccompCheck(version string) launcher.Check {
	check := launcher.Check{Name: "libseccomp", Status: launcher.CheckOK, Detail: version + " compiles profiles"}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil || major < 2 || major == 2 && minor < 5 {
		check.Status = launcher.CheckWarning
		check.Detail += "; it cannot compile profiles with SCMP_ACT_NOTIFY"
		check.Fix = "install libseccomp 2.5 or later"
	}
	return check
}

// storeCheck checks the directory of images and containers. It does not make it.
func storeCheck(c *ucli.Context) launcher.Check {
	check := launcher.Check{Name: "store", Status: launcher.CheckOK}
	d, err := dirs(c)
	if err == nil {
		check.Detail = d.Root
		_, err = os.Stat(d.Root)
		switch {
		case err == nil:
			_, err = openStore(c)
		case errors.Is(err, fs.ErrNotExist):
			check.Detail += " does not exist yet; the first image makes it"
			err = writableParent(d.Root)
		}
	}
	if err != nil {
		check.Status, check.Detail, check.Fix = launcher.CheckMissing, err.Error(), "choose a directory of your own with --root DIR"
	}
	return check
}

// mapsOwners returns the function for [launcher.Checks], which checks the store's file system.
func mapsOwners(c *ucli.Context) func(users *os.File) error {
	return func(users *os.File) error {
		d, err := dirs(c)
		if err != nil {
			return err
		}
		dir := d.Root
		for !exists(dir) && dir != "/" {
			dir = filepath.Dir(dir)
		}
		return rootfs.CheckIDMap(dir, users)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// writableParent returns an error unless the nearest existing directory above a path is
// writable.
func writableParent(path string) error {
	for parent := filepath.Dir(path); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		switch {
		case errors.Is(err, fs.ErrNotExist) && parent != "/":
			continue
		case err != nil:
			return err
		case !info.IsDir():
			return &fs.PathError{Op: "make", Path: path, Err: unix.ENOTDIR}
		}
		if err := unix.Access(parent, unix.W_OK|unix.X_OK); err != nil {
			return &fs.PathError{Op: "write", Path: parent, Err: err}
		}
		return nil
	}
}
