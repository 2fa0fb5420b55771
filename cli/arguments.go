package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	ucli "github.com/urfave/cli/v2"
)

// arranged is a command line in a form that cli v2 reads in the same way as `docker run`:
// [GLOBAL FLAGS] VERB [FLAGS] -- [ARG...], with each flag as --NAME=VALUE.
type arranged struct {
	args []string
	verb *ucli.Command   // the verb, or its subcommand
	help []*ucli.Command // with --help: the verb and its subcommands, empty for minirun itself; else nil
}

// arranger reads a command line.
type arranger struct {
	global   []ucli.Flag
	path     []*ucli.Command
	globals  []string // the global flags that were given
	verb     []string // the verb and its subcommands
	flags    []string // the verb's flags that were given
	misplace string   // the first flag of a launch that came before a verb
	help     bool
}

// arrange reads args as Docker does, and cli v2 by itself would not: short flags can be
// combined (-it) and followed by their value (-m512m), --env A=1 and -e B=2 keep their
// order, flags of a launch end at IMAGE, flags of other verbs may follow arguments, and
// nothing after `--` is a flag. Without a verb it is a launch.
func arrange(app *ucli.App, args []string) (*arranged, error) {
	if len(args) == 1 && args[0] == "--version" { // as with most programs
		args = []string{"version"}
	}
	a := &arranger{global: app.Flags}
	run := app.Command("run")
	rest, ended, err := a.flagsUntilWord(args, run)
	if err != nil {
		return nil, err
	}
	var verb *ucli.Command
	switch {
	case a.help || len(args) == 0:
		return &arranged{help: []*ucli.Command{}}, nil
	case len(rest) > 0 && !ended:
		rest = ungrouped(rest)
		verb = app.Command(rest[0])
	}
	if len(rest) > 0 && !ended && verb == nil {
		if err := notAnImage(app, rest[0]); err != nil {
			return nil, err
		}
	}
	if verb != nil && verb.Name == "help" {
		return helpFor(app, rest[1:])
	}
	if verb != nil && verb != run && a.misplace != "" {
		return nil, &usageError{
			message: fmt.Sprintf("%s: %s is a flag of run", verb.Name, a.misplace),
			hint:    fmt.Sprintf("'minirun run %s' runs an image of that name", verb.Name),
		}
	}
	if verb == nil {
		verb = run
		a.path, a.verb = []*ucli.Command{run}, []string{"run"}
	} else if rest, err = a.readVerb(verb, rest[1:]); err != nil {
		return nil, err
	}
	if a.help {
		return &arranged{help: a.path}, nil
	}
	if verb == run && len(rest) == 0 {
		return nil, &usageError{"run: IMAGE is missing", "write 'minirun [FLAGS] IMAGE [COMMAND [ARG...]]'; 'minirun images' lists the images of the store"}
	}
	out := append(a.globals, a.verb...)
	out = append(append(out, a.flags...), "--")
	return &arranged{args: append(out, rest...), verb: a.path[len(a.path)-1]}, nil
}

// helpFor reads what follows `help`: a verb and its subcommand, or nothing.
func helpFor(app *ucli.App, words []string) (*arranged, error) {
	path, commands := []*ucli.Command{}, app.Commands
	for _, word := range ungrouped(words) {
		i := slices.IndexFunc(commands, func(c *ucli.Command) bool { return c.Name == word && !c.Hidden })
		switch {
		case word == "--help" || strings.HasPrefix(word, "--type="):
			continue
		case i >= 0:
			path, commands = append(path, commands[i]), commands[i].Subcommands
		case len(path) > 0 && len(commands) == 0:
			return nil, &usageError{"help: unexpected argument: " + word, "write 'minirun help [VERB]'"}
		case len(path) == 0:
			if err := notAnImage(app, word); err != nil {
				return nil, err
			}
			return nil, unknownCommand("help", commands, word)
		default:
			return nil, unknownCommand(path[len(path)-1].Name, commands, word)
		}
	}
	return &arranged{help: path}, nil
}

// readVerb reads what follows a verb and returns its arguments.
func (a *arranger) readVerb(verb *ucli.Command, args []string) ([]string, error) {
	a.path, a.verb = append(a.path, verb), append(a.verb, verb.Name)
	rest, ended, err := a.flagsUntilWord(args, verb)
	if len(rest) == 0 && len(verb.Subcommands) > 0 {
		a.help = true // `minirun seccomp` alone shows its commands
	}
	if err != nil || a.help || len(rest) == 0 {
		return rest, err
	}
	if len(verb.Subcommands) > 0 {
		for _, c := range verb.Subcommands {
			if c.HasName(rest[0]) {
				return a.readVerb(c, rest[1:])
			}
		}
		return nil, unknownCommand(verb.Name, verb.Subcommands, rest[0])
	}
	if ended || runsCommand(verb) {
		return rest, nil
	}
	var found []string
	for len(rest) > 0 && !ended {
		found = append(found, rest[0])
		if rest, ended, err = a.flagsUntilWord(rest[1:], verb); err != nil {
			return nil, err
		}
	}
	return append(found, rest...), nil
}

// runsCommand reports whether a verb's flags end at its first argument, since what follows
// is a command, or options of ps(1).
func runsCommand(verb *ucli.Command) bool {
	return launches(verb) || verb.Name == "exec" || verb.Name == "top"
}

// launches reports whether a verb takes the flags of a launch and an image.
func launches(verb *ucli.Command) bool { return verb.Name == "run" || verb.Name == "create" }

// flagsUntilWord reads the flags that args start with. It returns the rest, and
// whether a `--` ended the flags.
func (a *arranger) flagsUntilWord(args []string, verb *ucli.Command) (rest []string, ended bool, err error) {
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--":
			return args[1:], true, nil
		case arg == "--help":
			a.help = true
			return nil, false, nil
		case len(arg) < 2 || arg[0] != '-':
			return args, false, nil
		case strings.HasPrefix(arg, "--"):
			args, err = a.long(args, verb)
		default:
			args, err = a.short(args, verb)
		}
		if err != nil {
			return nil, false, err
		}
	}
	return nil, false, nil
}

// long reads --NAME, --NAME=VALUE or --NAME VALUE.
func (a *arranger) long(args []string, verb *ucli.Command) ([]string, error) {
	name, value, hasValue := strings.Cut(args[0][2:], "=")
	f := a.lookup(verb, name)
	if f == nil || len(name) == 1 {
		return nil, a.unknownFlag(verb, "--"+name)
	}
	args = args[1:]
	if !hasValue && takesValue(f) {
		if len(args) == 0 {
			return nil, missingValue(f, "--"+name)
		}
		value, args = args[0], args[1:]
	} else if !hasValue {
		value = "true"
	}
	return args, a.add(f, value)
}

// short reads short flags: -it, -it=false, -m512m, -m=512m, -m 512m, -itm 512m.
func (a *arranger) short(args []string, verb *ucli.Command) ([]string, error) {
	bundle := args[0][1:]
	args = args[1:]
	for bundle != "" {
		name := bundle[:1]
		bundle = bundle[1:]
		f := a.lookup(verb, name)
		if _, dockers := f.(*dockerFlag); dockers && len(bundle) > 0 && a.lookup(verb, name+bundle) != nil {
			f = nil // -cap-add is meant as --cap-add
		}
		switch {
		case f == nil || name == "c" && bundle != "" && a.lookup(verb, name+bundle) != nil: // -cap-add is not -c with a value
			return nil, a.unknownShort(verb, name, "-"+name+bundle)
		case strings.HasPrefix(bundle, "="):
			return args, a.add(f, bundle[1:])
		case !takesValue(f):
			if err := a.add(f, "true"); err != nil {
				return nil, err
			}
		case bundle != "":
			return args, a.add(f, bundle)
		case len(args) == 0:
			return nil, missingValue(f, "-"+name)
		default:
			return args[1:], a.add(f, args[0])
		}
	}
	return args, nil
}

// lookup returns the verb's flag with a name, else the global one, else for a launch and for
// update the one that only Docker has, else nil.
func (a *arranger) lookup(verb *ucli.Command, name string) ucli.Flag {
	for _, flags := range [][]ucli.Flag{verb.Flags, a.global} {
		for _, f := range flags {
			for _, n := range f.Names() {
				if n == name {
					return f
				}
			}
		}
	}
	if launches(verb) || verb.Name == "update" && updatesInDocker(name) {
		if f := dockerFlagNamed(name); f != nil {
			return f
		}
	}
	return nil
}

// add records a flag under its first name, if its value is of the flag's type.
func (a *arranger) add(f ucli.Flag, value string) error {
	if err := checkType(f, value); err != nil {
		return err
	}
	if len(a.path) == 0 && a.misplace == "" && !slices.Contains(a.global, f) {
		a.misplace = "--" + f.Names()[0]
	}
	arg := "--" + f.Names()[0] + "=" + value
	if _, ignored := f.(*dockerFlag); ignored {
		return nil
	}
	if slices.Contains(a.global, f) {
		a.globals = append(a.globals, arg)
	} else {
		a.flags = append(a.flags, arg)
	}
	return nil
}

// checkType returns an error for a value that is not of the flag's type. The message of cli v2
// would mean little to a user.
func checkType(f ucli.Flag, value string) error {
	given := "--" + f.Names()[0] + " " + value
	switch f := f.(type) {
	case *dockerFlag:
		return f.check(value)
	case *toggleFlag:
		return checkBool(given, value)
	}
	return nil
}

func checkBool(given, value string) error {
	if _, err := strconv.ParseBool(value); err != nil {
		return &usageError{given + ": neither true nor false", "write true or false"}
	}
	return nil
}

func takesValue(f ucli.Flag) bool {
	doc, ok := f.(ucli.DocGenerationFlag)
	return ok && doc.TakesValue()
}
