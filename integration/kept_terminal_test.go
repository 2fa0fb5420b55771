package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/console"
	"github.com/google/go-cmp/cmp"
)

// terminalPicture is what a command finds out about its terminal: the mode and the size, whose it
// is, the files that lead to it, what is typed, and a change of the size.
const terminalPicture = `tty; stty -a; stat -c "%A %U %G" /dev/console; for file in /proc/$$/fd/*; do readlink $file; done; cut -d " " -f 5-8 /proc/$$/stat
trap "stty size; exit 7" WINCH; echo re""ady; [ $INPUT = none ] || { read line; echo "got $line"; }; while :; do sleep 0.01; done`

// onTerminal makes the launch on a terminal with so many rows, and returns what is on that in the end
// and whether Go was started.
func (b *keptBed) onTerminal(rows int, env ...string) (screen string, inGo bool) {
	b.Helper()
	cmd := b.cmd()
	cmd.Args = slices.Concat([]string{"sh", "-c", fmt.Sprintf(`stty rows %d; exec "$@"`, rows), "sh"}, cmd.Args)
	cmd.Path = "/bin/sh"
	cmd.Env = append(cmd.Env, env...)
	term := openTerminal(b.T, cmd)
	term.wait("ready\r")
	if slices.Contains(b.flags, "-it") {
		term.send("word\n")
		term.wait("got word\r")
	}
	if err := term.master.Resize(console.WinSize{Height: 20, Width: 50}); err != nil {
		b.Fatal(err)
	}
	term.wait("20 50\r")
	wantStatus(b.T, term.Cmd, 7)
	if mode := term.mode(); mode != term.before {
		b.Errorf("the mode was not restored:\nbefore %+v\nafter  %+v", term.before, mode)
	}
	screen = term.text()
	return initLine.ReplaceAllString(screen, ""), strings.Contains(screen, "init runtime @")
}

// A kept launch has a terminal like one that Go makes, with the size that it has this time.
func TestKeptTerminal(t *testing.T) {
	for flag, input := range map[string]string{"-it": "word", "-t": "none"} {
		t.Run(flag, func(t *testing.T) {
			b := newKept(t, "sh", "-c", terminalPicture)
			b.flags = []string{flag, "-e", "INPUT=" + input, "--network", "none"}
			eventually(t, "the launch is kept", func() bool {
				_, inGo := b.onTerminal(40)
				return !inGo
			})
			for _, rows := range []int{41, 42} {
				kept, inGo := b.onTerminal(rows)
				made, _ := b.onTerminal(rows, fmt.Sprint("KEY=", rows)) // which no launch has had
				if diff := cmp.Diff(made, kept); diff != "" {
					t.Errorf("Go -, kept +:\n%s", diff)
				}
				if inGo || !strings.Contains(kept, fmt.Sprintf("rows %d;", rows)) {
					t.Errorf("Go was started: %v, or there are not %d rows: %s", inGo, rows, kept)
				}
			}
			b.command = []string{"nosuch"}
			term := openTerminal(t, b.cmd())
			term.wait("executable file not found in $PATH\r\n")
			wantStatus(t, term.Cmd, 127)
			if mode := term.mode(); mode != term.before {
				t.Errorf("the mode was not restored:\nbefore %+v\nafter  %+v", term.before, mode)
			}
			if flag == "-it" && !b.launch(125) { // its input is /dev/null: Go says so
				t.Error("a launch without a terminal was carried out")
			}
			b.tidy()
		})
	}
}
