package cli

import (
	"bytes"
	"embed"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"
)

// completions has a script for each shell. The scripts ask `minirun __complete` for
// candidates, so these are always those of the installed minirun.
//
//go:embed completions
var completions embed.FS

// ofImages are the verbs whose arguments are images of the store.
var ofImages = [...]string{"rmi", "images", "tag", "history", "verify", "save", "push"}

// ofContainers are the verbs whose arguments are containers.
var ofContainers = [...]string{"attach", "exec", "logs", "stop", "kill", "wait", "rm", "pause", "unpause", "top", "stats", "port", "diff", "update", "rename", "start", "restart"}

// ofEnded are the verbs of ofContainers that also work with containers that have ended.
var ofEnded = [...]string{"logs", "rm", "wait", "diff", "update", "rename", "start", "restart"}

var shells = [...]string{"bash", "zsh", "fish"}

func (a *app) completionCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "completion",
		Usage:     "print a shell's completion script",
		ArgsUsage: strings.Join(shells[:], "|"),
		Description: `To try it:       source <(minirun completion bash)
'make install' puts the scripts where the shells look for them.`,
		Action: func(c *ucli.Context) error {
			if err := checkArgs(c, 1, 1); err != nil {
				return err
			}
			shell := c.Args().First()
			if !slices.Contains(shells[:], shell) {
				return &usageError{"completion: unknown shell: " + shell, "use one of " + strings.Join(shells[:], ", ")}
			}
			script, err := completions.ReadFile("completions/minirun." + shell)
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(script)
			return err
		},
	}
}

func (a *app) completeCommand() *ucli.Command {
	return &ucli.Command{
		Name:   "__complete",
		Hidden: true,
		Usage:  "print completions of the last word, one on each line: CANDIDATE[TAB TEXT], or :files[TAB PREFIX]",
		Action: func(c *ucli.Context) error {
			if c.NArg() == 0 {
				return nil
			}
			k := completer{app: c.App, root: c.String("root")}
			k.complete(c.Args().Slice())
			_, err := a.stdout.Write(k.out.Bytes())
			return err
		},
	}
}

// completer completes a command line that is being typed.
type completer struct {
	app   *ucli.App
	root  string
	verb  *ucli.Command // nil before a verb or an image
	words []string      // after the verb, except flags
	bare  bool          // -- has ended the flags
	word  string        // the word to complete
	out   bytes.Buffer
}

func (k *completer) complete(words []string) {
	words = append(ungrouped(words[:len(words)-1]), words[len(words)-1])
	last := len(words) - 1
	k.word = words[last]
	if last > 0 && words[0] == "oci" {
		k.ociWords(words[1:])
		return
	}
	if verbs := groupVerbs(words[0]); len(words) == 2 && verbs != nil {
		oneOf(verbs...)(k, "", k.word)
		return
	}
	var pending ucli.Flag // takes the next word as its value
	for _, word := range words[:last] {
		switch {
		case pending != nil:
			if pending.Names()[0] == "root" {
				k.root = word
			}
			pending = nil
		case word == "--" && !k.bare:
			k.bare = true
			if k.verb == nil {
				k.verb = k.app.Command("run")
			}
		case k.flagsEnded() || len(word) < 2 || word[0] != '-':
			k.take(word)
		default:
			pending = k.wanting(word)
		}
	}
	name, value, hasValue := strings.Cut(strings.TrimLeft(k.word, "-"), "=")
	switch {
	case pending != nil:
		k.values(pending, "", k.word)
	case k.flagsEnded():
		k.wordsOf(k.verb)
	case strings.HasPrefix(k.word, "--") && hasValue:
		if f := k.flag(name); f != nil {
			k.values(f, "--"+name+"=", value)
		}
	case strings.HasPrefix(k.word, "-"):
		k.flagNames()
	default:
		k.wordsOf(k.verb)
	}
}

// flagsEnded reports whether no more flags of minirun can follow.
func (k *completer) flagsEnded() bool {
	return k.bare || k.verb != nil && runsCommand(k.verb) && len(k.words) > 0
}

// take reads a word that is not a flag: a verb, a subcommand, an image, or another argument.
func (k *completer) take(word string) {
	if k.verb == nil {
		k.verb = k.app.Command(word)
		if k.verb == nil {
			k.verb, k.words = k.app.Command("run"), []string{word}
		}
		return
	}
	for _, c := range k.verb.Subcommands {
		if c.HasName(word) {
			k.verb = c
			return
		}
	}
	k.words = append(k.words, word)
}

// wanting returns the flag of word that takes the next word as its value, or nil.
func (k *completer) wanting(word string) ucli.Flag {
	if dir, ok := strings.CutPrefix(word, "--root="); ok {
		k.root = dir
	}
	if strings.HasPrefix(word, "--") {
		if f := k.flag(word[2:]); f != nil && takesValue(f) {
			return f // not if word has the value: no flag is called NAME=VALUE
		}
		return nil
	}
	for i := 1; i < len(word); i++ {
		if f := k.flag(word[i : i+1]); f != nil && takesValue(f) {
			if i == len(word)-1 {
				return f
			}
			return nil
		}
	}
	return nil
}

func (k *completer) flags() []ucli.Flag {
	verb := k.verb
	if verb == nil {
		verb = k.app.Command("run")
	}
	return slices.Concat(verb.Flags, k.app.Flags)
}

func (k *completer) flag(name string) ucli.Flag {
	for _, f := range k.flags() {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	if k.verb == nil || launches(k.verb) {
		if f := dockerFlagNamed(name); f != nil {
			return f
		}
	}
	return nil
}

func (k *completer) flagNames() { k.namesOf(k.flags()) }

func (k *completer) namesOf(flags []ucli.Flag) {
	for _, f := range flags {
		_, usage := placeholder(f.(ucli.DocGenerationFlag))
		for _, name := range f.Names() {
			dashes := "--"
			if len(name) == 1 {
				dashes = "-"
			}
			k.candidate("", dashes+name, usage)
		}
	}
	k.candidate("", "--help", "show help")
}

// candidate prints a candidate, if it starts with the word. before is the part of the word
// in front of the value that is being completed.
func (k *completer) candidate(before, text, usage string) {
	if !strings.HasPrefix(before+text, k.word) {
		return
	}
	k.out.WriteString(printable(before + text))
	if usage != "" {
		k.out.WriteString("\t" + usage)
	}
	k.out.WriteByte('\n')
}

// files makes the shell complete files. before is the part of the word in front of the file.
func (k *completer) files(before string) {
	k.out.WriteString(":files")
	if before != "" {
		k.out.WriteString("\t" + before)
	}
	k.out.WriteByte('\n')
}

// wordsOf completes a word that is not a flag.
func (k *completer) wordsOf(verb *ucli.Command) {
	switch {
	case verb == nil:
		k.commands(k.app.Commands)
		k.imageArgument()
	case len(verb.Subcommands) > 0:
		k.commands(verb.Subcommands)
	case verb.Name == "help":
		k.help()
	case launches(verb) && len(k.words) > 0:
		k.commandArgument()
	case launches(verb) || verb.Name == "pull":
		k.imageArgument()
	case verb.Name == "exec" && len(k.words) > 0:
		k.files("")
	case verb.Name == "inspect":
		k.containers(true)
		k.images()
	case verb.Name == "top" && len(k.words) > 0:
	case verb.Name == "cp":
		k.containerPaths()
		k.files("")
	case verb.Name == "rename" && len(k.words) > 0:
	case slices.Contains(ofContainers[:], verb.Name) && verb == k.app.Command(verb.Name): // seccomp diff is not diff
		k.containers(slices.Contains(ofEnded[:], verb.Name))
	case slices.Contains(ofImages[:], verb.Name):
		k.images()
	case verb.Name == "explain":
		callNames(k, "", k.word)
	case verb.Name == "dump":
		k.processes()
	case verb.Name == "lint" || verb.Name == "diff" || verb.Name == "matrix":
		files("default")(k, "", k.word)
	case verb.Name == "test" || verb.Name == "import":
		k.files("")
	case verb.Name == "completion":
		oneOf(shells[:]...)(k, "", k.word)
	case verb.Name == "bootstrap":
		oneOf("debian:bookworm", "debian:trixie")(k, "", k.word)
	}
}

// help completes the words of `help`: a verb, and its subcommand.
func (k *completer) help() {
	commands := k.app.Commands
	for _, word := range k.words {
		i := slices.IndexFunc(commands, func(c *ucli.Command) bool { return c.Name == word })
		if i < 0 {
			return
		}
		commands = commands[i].Subcommands
	}
	k.commands(commands)
}

func (k *completer) commands(commands []*ucli.Command) {
	for _, c := range commands {
		if !c.Hidden {
			k.candidate("", c.Name, c.Usage)
		}
	}
}

// values completes the value of a flag.
func (k *completer) values(f ucli.Flag, before, value string) {
	if f, ok := f.(interface{ completion() completion }); ok && f.completion() != nil {
		f.completion()(k, before, value)
	}
}
