package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/rootfs"
)

type problems []string

func (p problems) Error() string   { return strings.Join(p, "\n") }
func (p problems) Lines() []string { return p }

type coded struct{ error }

func (coded) ExitCode() int { return 126 }

func testUI() (*ui, *bytes.Buffer) {
	var out bytes.Buffer
	return &ui{w: &out, terminal: true, width: func() int { return 40 }}, &out
}

func TestErrors(t *testing.T) {
	boom := errors.New("boom")
	child := exec.Command("false").Run()
	for _, test := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"one line", fmt.Errorf("run ls: %w", boom), 125, "minirun: run ls: boom\n"},
		{"a hint", fmt.Errorf("pull: %w", hint.With(boom, "do\x07 this")), 125, "minirun: pull: boom\nhint: do\\a this\n"},
		{"a list", errors.Join(boom, errors.Join(coded{boom}, boom)), 126, "minirun: boom\nminirun: boom\nminirun: boom\n"},
		{"problems of a file", fmt.Errorf("profile: %w", problems{"a:1:2: x", "a:3:4: y"}), 125, "minirun: a:1:2: x\nminirun: a:3:4: y\n"},
		{"untrusted lines", errors.New("no \x1b[2Jfile\nhint: rm -rf /"), 125, "minirun: no \\x1b[2Jfile\\nhint: rm -rf /\n"},
		{"a status", coded{boom}, 126, "minirun: boom\n"},
		{"a program's status is not minirun's", fmt.Errorf("mmdebstrap: %w", child), 125, "minirun: mmdebstrap: exit status 1\n"},
		{"printed already", status(3), 3, ""},
		{"a signal", interrupted(15), 143, "minirun: interrupted by SIGTERM\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ui, out := testUI()
			if got := (&app{ui: ui}).exitCode(test.err); got != test.code {
				t.Errorf("status %d, want %d", got, test.code)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Only a terminal gets colours and bars.
func TestPipeIsPlain(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a := &app{ui: newUI(w)}
	report, done := a.progress("debian", false)
	report(rootfs.Event{Layer: someLayer, Status: "pulling", Done: 1, Total: 2})
	done(errors.New("interrupted"))
	a.ui.warn("careful")
	w.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if got.String() != "minirun: warning: careful\n" {
		t.Errorf("got %q", got.String())
	}
}

func TestColour(t *testing.T) {
	ui, out := testUI()
	ui.colour = true
	ui.hint("do this")
	if want := "\x1b[1;36mhint:\x1b[0m do this\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// The bar stays the last line: other messages are printed above it, and at the end nothing of
// it is left.
func TestBar(t *testing.T) {
	ui, out := testUI()
	ui.bars("pulling")
	ui.bars("pulling") // no change, nothing to draw
	ui.say("note")
	ui.bars(strings.Repeat("x", 50))
	ui.bars()
	ui.say("end")
	want := "\r\x1b[Kpulling" + "\r\x1b[Knote\npulling" + "\r\x1b[K" + strings.Repeat("x", 39) + "\r\x1b[K" + "end\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestBars(t *testing.T) {
	ui, out := testUI()
	ui.bars("one", "two")
	ui.say("note")
	ui.bars("two", "three", "four")
	ui.bars()
	want := "\r\x1b[Kone\ntwo" + "\r\x1b[1A\x1b[Jnote\none\ntwo" + "\r\x1b[1A\x1b[Jtwo\nthree\nfour" + "\r\x1b[2A\x1b[J"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestLines(t *testing.T) {
	ui, out := testUI()
	l := &lines{ui: ui}
	for _, chunk := range []string{"I: one\nI: t", "wo\r\n", "\x1b]0;x\a\n", "rest"} {
		if n, err := l.Write([]byte(chunk)); n != len(chunk) || err != nil {
			t.Errorf("Write(%q) = %d, %v", chunk, n, err)
		}
	}
	l.end()
	l.end()
	if want := "I: one\nI: two\n\\x1b]0;x\\a\nrest\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// Untrusted text cannot fill the screen: the length and the number of lines are limited.
func TestLongErrors(t *testing.T) {
	long := "open " + strings.Repeat("\xff", 50_000) + "é: file name too long"
	for name, err := range map[string]error{
		"one":      errors.New(long),
		"joined":   errors.Join(errors.New(long), errors.New("short")),
		"problems": problems(slices.Repeat([]string{"mistake"}, 20_000)),
	} {
		t.Run(name, func(t *testing.T) {
			ui, out := testUI()
			ui.error(err)
			if out.Len() > 20_000 {
				t.Errorf("%d bytes", out.Len())
			}
			switch got := out.String(); {
			case name == "problems" && !strings.HasSuffix(got, "mistake\nminirun: and 19900 more errors\n"):
				t.Errorf("got %q", got)
			case name != "problems" && (!strings.HasPrefix(got, "minirun: open \\xff") || !strings.Contains(got, " bytes ...]") || !strings.Contains(got, "é: file name too long\n")):
				t.Errorf("got %q", got)
			}
		})
	}
	for _, text := range []string{strings.Repeat("x", maxLine), strings.Repeat("é", maxLine)} {
		if got := shortened(text); !utf8.ValidString(got) || len(got) > maxLine+30 {
			t.Errorf("got %q", got)
		}
	}
	ui, out := testUI()
	l := &lines{ui: ui}
	if _, err := l.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil || out.Len() > maxLine+30 || len(l.rest) > maxLine {
		t.Errorf("%d bytes printed, %d kept (%v)", out.Len(), len(l.rest), err)
	}
}
