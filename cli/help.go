package cli

import (
	"fmt"
	"io"
	"strings"

	ucli "github.com/urfave/cli/v2"
)

// writeHelp writes the help of the command at path, which is empty for minirun
// itself.
func writeHelp(w io.Writer, app *ucli.App, path []*ucli.Command) error {
	var b strings.Builder
	if len(path) == 0 {
		rootHelp(&b, app)
	} else {
		commandHelp(&b, app, path)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func rootHelp(b *strings.Builder, app *ucli.App) {
	b.WriteString(`Run a command in a container, without a daemon.

Usage:
  minirun [FLAGS] IMAGE [COMMAND [ARG...]]
  minirun VERB [FLAGS] [ARG...]

  minirun -it debian bash
  minirun --cap-add CAP_AUDIT_CONTROL --seccomp custom.json debian bash

IMAGE is a name that 'minirun images' lists, a reference to a registry, a root file
system (dir:PATH, or a tarball), an archive (docker-archive:FILE,
oci-archive:FILE), an OCI layout (oci:DIR), an image of a running dockerd
(docker-daemon:NAME), or host: for this machine's own root, copy-on-write. What a
container writes is gone when it ends. It can reach the network; run what you do not
trust with --network none.

Verbs ('minirun help VERB' shows more; 'minirun run pull' runs an image called pull):
`)
	commandTable(b, app.Commands)
	flagTable(b, append(runFlags(), app.Flags...))
	b.WriteString(`
Exit status: the command's own; 125 if minirun failed, 126 if the command cannot be
invoked, 127 if it was not found, 128+n if signal n ended it.
`)
}

func commandHelp(b *strings.Builder, app *ucli.App, path []*ucli.Command) {
	c := path[len(path)-1]
	name := "minirun"
	for _, p := range path {
		name += " " + p.Name
	}
	usage := name + " [FLAGS] " + c.ArgsUsage
	if len(c.Subcommands) > 0 {
		usage = name + " COMMAND [FLAGS] [ARG...]"
	}
	fmt.Fprintf(b, "%s.\n\nUsage:\n  %s\n", capital(c.Usage), strings.TrimSpace(usage))
	if c.Description != "" {
		fmt.Fprintf(b, "\n%s\n", strings.TrimSpace(c.Description))
	}
	if len(c.Subcommands) > 0 {
		b.WriteString("\nCommands:\n")
		commandTable(b, c.Subcommands)
	}
	flagTable(b, append(c.Flags[:len(c.Flags):len(c.Flags)], app.Flags...))
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func commandTable(b *strings.Builder, commands []*ucli.Command) {
	for _, c := range commands {
		if !c.Hidden {
			fmt.Fprintf(b, "  %-11s %s\n", c.Name, c.Usage)
		}
	}
}

// flagTable lists flags under their topics, in the order of topics.
func flagTable(b *strings.Builder, flags []ucli.Flag) {
	for _, topic := range append([]string{""}, topics[:]...) {
		title := topic
		if title == "" {
			title = "Flags"
		}
		for _, f := range flags {
			flag, ok := f.(interface {
				ucli.VisibleFlag
				topic() string
			})
			if !ok || !flag.IsVisible() || flag.topic() != topic {
				continue
			}
			if title != "" {
				fmt.Fprintf(b, "\n%s:\n", title)
				title = ""
			}
			writeFlag(b, f.(ucli.DocGenerationFlag))
		}
	}
}

// Usage texts of flags start at usageColumn, counted from 0, and end before
// lineWidth.
const (
	usageColumn = 33
	lineWidth   = 100
)

func writeFlag(b *strings.Builder, f ucli.DocGenerationFlag) {
	value, usage := placeholder(f)
	names := "      --" + f.Names()[0]
	if all := f.Names(); len(all) > 1 && len(all[1]) == 1 {
		names = "  -" + all[1] + ", --" + all[0]
	}
	if value != "" {
		names += " " + value
	}
	if s, ok := f.(*textFlag); ok && s.Value != "" {
		usage += " (default: " + s.Value + ")"
	}
	if len(names) >= usageColumn {
		fmt.Fprintf(b, "%s\n%-*s", names, usageColumn, "")
	} else {
		fmt.Fprintf(b, "%-*s", usageColumn, names)
	}
	b.WriteString(wrapped(usage, usageColumn) + "\n")
}

// wrapped breaks a text into lines that all start at column.
func wrapped(text string, column int) string {
	var b strings.Builder
	at := column
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case at+1+len(word) > lineWidth:
			fmt.Fprintf(&b, "\n%*s", column, "")
			at = column
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}

// placeholder returns the name of a flag's value, which is in backquotes in its usage, and the
// usage without the backquotes.
func placeholder(f ucli.DocGenerationFlag) (value, usage string) {
	usage = f.GetUsage()
	before, rest, found := strings.Cut(usage, "`")
	if value, after, ok := strings.Cut(rest, "`"); found && ok {
		return value, before + value + after
	}
	if f.TakesValue() {
		return "VALUE", usage
	}
	return "", usage
}
