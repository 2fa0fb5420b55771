package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/oci"
)

// ociWords completes what follows `minirun oci`: a verb, flags, a container.
func (k *completer) ociWords(words []string) {
	app := oci.App()
	last := len(words) - 1
	k.word = words[last]
	flags, root := app.Flags, oci.DefaultRoot()
	var verb *ucli.Command
	arguments, pending := 0, false
	for i, word := range words[:last] {
		switch {
		case pending:
			pending = false
			if words[i-1] == "--root" {
				root = word
			}
		case strings.HasPrefix(word, "-"):
			name, value, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
			if name == "root" && hasValue {
				root = value
			}
			pending = !hasValue && slices.ContainsFunc(flags, func(f ucli.Flag) bool { return slices.Contains(f.Names(), name) && takesValue(f) })
		case verb == nil:
			if verb = app.Command(word); verb == nil {
				return
			}
			flags = verb.Flags
		default:
			arguments++
		}
	}
	switch {
	case pending:
		k.files("")
	case strings.HasPrefix(k.word, "-"):
		k.namesOf(flags)
	case verb == nil:
		k.commands(app.Commands)
	case arguments == 0 && verb.ArgsUsage != "":
		entries, _ := os.ReadDir(filepath.Join(root, "containers")) // others cannot read them
		for _, entry := range entries {
			k.candidate("", entry.Name(), "")
		}
	}
}
