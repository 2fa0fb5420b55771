package cli

import (
	"errors"
	"fmt"
	"os"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
)

// containerError is an error of a verb for existing containers. The exit status is 1, as with
// docker.
type containerError struct {
	err  error
	hint string
}

func (e *containerError) Error() string { return e.err.Error() }
func (e *containerError) Unwrap() error { return e.err }
func (e *containerError) ExitCode() int { return 1 }

// refused returns a containerError. Its text is docker's where docker has the same error.
func refused(hint, format string, args ...any) error {
	return &containerError{fmt.Errorf(format, args...), hint}
}

// findContainer finds a container by its name, its ID or the start of its ID.
func (a *app) findContainer(c *ucli.Context, name string) (*launcher.Container, error) {
	d, err := dirs(c)
	if err != nil {
		return nil, err
	}
	container, err := launcher.Find(d, name, a.ui.warning)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, noSuchContainer(name)
	case errors.Is(err, launcher.ErrAmbiguous):
		return nil, refused("write more of the ID, or the name", "multiple IDs found with provided prefix: %s", printable(name))
	case err != nil:
		return nil, &containerError{err: err}
	}
	return container, nil
}

// notFound is the error for a container that does not exist, in docker's words.
type notFound string

func (n notFound) Error() string     { return "no such container: " + printable(string(n)) }
func (n notFound) Is(err error) bool { return err == os.ErrNotExist }

func noSuchContainer(name string) error {
	return &containerError{notFound(name), "'minirun ps -a' lists the containers"}
}

// eachContainer calls do for each container that the arguments name, and prints the text
// that it returns unless that is empty. As with docker, an error is printed and does not
// keep the other containers from their turn.
func (a *app) eachContainer(c *ucli.Context, do func(name string, container *launcher.Container) (string, error)) error {
	if err := checkArgs(c, 1, -1); err != nil {
		return err
	}
	failed := 0
	for _, name := range c.Args().Slice() {
		container, err := a.findContainer(c, name)
		text := ""
		if err == nil {
			text, err = do(name, container)
		} else if c.Command.Name == "rm" && c.Bool("force") && errors.As(err, new(*launcher.DamagedError)) {
			text, err = printable(name), removeDamaged(c, err)
		}
		if err == nil && text != "" {
			_, err = fmt.Fprintln(a.stdout, text)
		}
		if err == nil {
			continue
		}
		if c.Command.Name == "rm" && c.Bool("force") && errors.Is(err, os.ErrNotExist) {
			a.ui.warning(err)
			continue
		}
		if failed = 1; errors.As(err, new(interrupted)) {
			return err
		}
		if errors.As(err, new(status)) { // another process has said why
			continue
		}
		a.ui.error(err)
	}
	if failed != 0 {
		return status(failed)
	}
	return nil
}
