package cli

import (
	"os"
	"slices"
	"strings"
	"testing"

	ucli "github.com/urfave/cli/v2"
)

// visit calls f for minirun itself and for every command that users see.
func visit(t *testing.T, f func(t *testing.T, path []string, flags []ucli.Flag)) {
	app := testApp()
	f(t, nil, append(runFlags(), app.Flags...))
	var walk func(path []string, commands []*ucli.Command)
	walk = func(path []string, commands []*ucli.Command) {
		for _, c := range commands {
			if c.Hidden {
				continue
			}
			path := append(slices.Clone(path), c.Name)
			t.Run(strings.Join(path, " "), func(t *testing.T) { f(t, path, c.Flags) })
			walk(path, c.Subcommands)
		}
	}
	walk(nil, app.Commands)
}

// The manual has every command and every flag: flags of a launch under FLAGS, flags of another
// verb in the text on that verb, and flags that the verbs of seccomp share before these.
func TestManual(t *testing.T) {
	data, err := os.ReadFile("../docs/minirun.1.md")
	if err != nil {
		t.Fatal(err)
	}
	manual := string(data)
	launch := between(manual, "\n# FLAGS\n", "\n# ")
	shared := between(manual, "\n# SECCOMP PROFILES\n", "\n## Commands")
	visit(t, func(t *testing.T, path []string, flags []ucli.Flag) {
		name := strings.Join(path, " ")
		place := launch
		if name != "" && name != "run" && name != "create" { // which has the flags of a launch
			place = between(manual, "\n**"+name, "\n\n**")
		}
		if len(path) == 2 {
			place += shared
		}
		if place == "" {
			t.Errorf("nothing of %q", name)
		}
		for _, f := range flags {
			for _, name := range f.Names() {
				want := `**\-\-` + name + `**`
				if len(name) == 1 {
					want = "**-" + name + "**"
				}
				if !strings.Contains(place, want) {
					t.Errorf("nothing of %s where the command is", want)
				}
			}
		}
	})
}

// between returns the part of text from begin to the first end after it.
func between(text, begin, end string) string {
	at := strings.Index(text, begin)
	if at < 0 {
		return ""
	}
	rest := text[at+len(begin):]
	part, _, _ := strings.Cut(rest, end)
	return begin + part
}

// Completion offers every command and every flag.
func TestCompletionIsWhole(t *testing.T) {
	visit(t, func(t *testing.T, path []string, flags []ucli.Flag) {
		offered := candidates(t, append(slices.Clone(path), "-")...)
		for _, f := range flags {
			for _, name := range f.Names() {
				if !slices.Contains(offered, strings.Repeat("-", min(len(name), 2))+name) {
					t.Errorf("no -%s among %q", name, offered)
				}
			}
		}
		if len(path) == 0 {
			return
		}
		last := len(path) - 1
		if offered := candidates(t, append(slices.Clone(path[:last]), "")...); !slices.Contains(offered, path[last]) {
			t.Errorf("no %s among %q", path[last], offered)
		}
	})
}

// candidates returns the completions of the last word.
func candidates(t *testing.T, words ...string) []string {
	t.Helper()
	k := completer{app: testApp(), root: t.TempDir()}
	k.complete(words)
	var names []string
	for line := range strings.Lines(k.out.String()) {
		name, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		names = append(names, name)
	}
	return names
}

func TestCompletion(t *testing.T) {
	for _, test := range []struct {
		words []string
		want  []string
	}{
		{[]string{"--cap-add", "CAP_SYS_AD"}, []string{"CAP_SYS_ADMIN"}},
		{[]string{"--cap-add=CAP_SYS_AD"}, []string{"--cap-add=CAP_SYS_ADMIN"}},
		{[]string{"--pull", ""}, []string{"always", "missing", "never"}},
		{[]string{"--seccomp", "un"}, []string{"unconfined", ":files"}},
		{[]string{"-ie", "A=1", "--netw"}, []string{"--network"}},
		{[]string{"-m512m", "--netw"}, []string{"--network"}},
		{[]string{"boot"}, []string{"bootstrap"}},
		{[]string{"run", "boot"}, nil},                // an image now
		{[]string{"--", "boot"}, nil},                 // and here
		{[]string{"debian", "-"}, []string{":files"}}, // the command's
		{[]string{"--rm", "debian", "ls", ""}, []string{":files"}},
		{[]string{"completion", "z"}, []string{"zsh"}},
		{[]string{"images", "--format", "j"}, []string{"json"}},
		{[]string{"seccomp", "lint", "--format", "s"}, []string{"sarif"}},
		{[]string{"seccomp", "show", "--as", "a"}, []string{"asm"}},
		{[]string{"seccomp", "explain", "chown3"}, []string{"chown32"}},
		{[]string{"seccomp", "edit", "--deny", "ptrace,@mou"}, []string{"ptrace,@mount"}},
		{[]string{"seccomp", "edit", "--gate", "CAP_AUDIT_CON"}, []string{"CAP_AUDIT_CONTROL="}},
		{[]string{"--seccomp-gate=CAP_AUDIT_CONTROL=ptrace,@cho"}, []string{"--seccomp-gate=CAP_AUDIT_CONTROL=ptrace,@chown"}},
	} {
		if got := candidates(t, test.words...); !slices.Equal(got, test.want) {
			t.Errorf("%q gives %q, want %q", test.words, got, test.want)
		}
	}
}
