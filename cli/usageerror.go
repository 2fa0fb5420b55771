package cli

import (
	"errors"
	"fmt"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/spelling"
)

// usageError reports an invalid command line.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func (e *usageError) ExitCode() int { return 125 }

// onUsageError rewords the errors that cli v2 itself finds, in values of flags.
func onUsageError(_ *ucli.Context, err error, _ bool) error {
	return &usageError{strings.TrimSuffix(err.Error(), ": parse error"), hintOf(err)}
}

// checkArgs returns an error unless a verb has at least least and at most most arguments. A
// negative most means no limit.
func checkArgs(c *ucli.Context, least, most int) error {
	name := c.Command.Name
	if parent := c.Lineage()[1]; parent.Command != nil && parent.Command.Name == "seccomp" {
		name = "seccomp " + name
	}
	usage := strings.TrimSpace("minirun " + name + " [FLAGS] " + c.Command.ArgsUsage)
	switch n := c.NArg(); {
	case n < least:
		return &usageError{name + ": an argument is missing", "write '" + usage + "'"}
	case most >= 0 && n > most:
		return &usageError{fmt.Sprintf("%s: unexpected argument: %s", name, c.Args().Get(most)), "write '" + usage + "'"}
	}
	return nil
}

// misplacedFlag adds a hint to the error for a command that was not found, if it looks like a
// flag: minirun's flags come before IMAGE.
func misplacedFlag(words []string, err error) error {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) && coded.ExitCode() == 127 && len(words) > 1 && strings.HasPrefix(words[1], "-") {
		return hint.With(err, "minirun's own flags come before the image: minirun [FLAGS] "+words[0])
	}
	return err
}

// withUsage adds the usage of a flag as a hint to an error that starts with the flag, unless
// it has a hint already.
func withUsage(verb *ucli.Command, err error) error {
	if err == nil || hintOf(err) != "" {
		return err
	}
	for _, f := range verb.Flags {
		given := "--" + f.Names()[0]
		rest, found := strings.CutPrefix(err.Error(), given)
		if value, _ := placeholder(f.(ucli.DocGenerationFlag)); found && value != "" && strings.IndexAny(rest, " :=") == 0 {
			return hint.With(err, "write "+given+" "+value)
		}
	}
	return err
}

func (a *arranger) unknownFlag(verb *ucli.Command, flag string) error {
	help := strings.Join(append([]string{"minirun"}, append(a.verb, "--help")...), " ")
	e := &usageError{message: "unknown flag: " + flag, hint: "'" + help + "' lists all flags"}
	names := []string{"help"}
	for _, f := range append(verb.Flags[:len(verb.Flags):len(verb.Flags)], a.global...) {
		names = append(names, f.Names()...)
	}
	if near := spelling.Nearest(strings.TrimLeft(flag, "-"), names); len(near) > 1 {
		e.hint = fmt.Sprintf("did you mean --%s?  ('%s' lists all flags)", near, help)
	}
	return e
}

// unknownShort returns the error for a short flag that does not exist. The user may have meant
// a long one.
func (a *arranger) unknownShort(verb *ucli.Command, name, given string) error {
	if long := strings.TrimLeft(given, "-"); len(long) > 1 {
		if a.lookup(verb, long) != nil {
			return &usageError{"unknown flag: " + given, "did you mean -" + given + "?"}
		}
	}
	if name == "h" {
		return &usageError{"unknown flag: -h", "did you mean --help?"}
	}
	return &usageError{"unknown flag: -" + name, "'" + strings.Join(append([]string{"minirun"}, append(a.verb, "--help")...), " ") + "' lists all flags"}
}

func unknownCommand(after string, commands []*ucli.Command, word string) error {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	e := &usageError{fmt.Sprintf("%s: no such command: %s", after, word), "use one of " + strings.Join(names, ", ")}
	if near := spelling.Nearest(word, names); near != "" {
		e.hint = "did you mean " + near + "?"
	}
	return e
}

func missingValue(f ucli.Flag, given string) error {
	value, _ := placeholder(f.(ucli.DocGenerationFlag))
	e := &usageError{"flag needs a value: " + given, "write " + given + " " + value}
	if given == "-h" {
		e.hint = "-h is the container's host name, as with docker run; --help shows help"
	}
	return e
}
