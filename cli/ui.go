package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/sirupsen/logrus"
	"golang.org/x/term"
)

// ui is the one voice of minirun: lines on standard error, all in the same form.
//
//	minirun: WHAT: WHY
//	minirun: warning: WHAT
//	hint: WHAT TO DO
type ui struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	colour   bool
	width    func() int
}

func newUI(f *os.File) *ui {
	u := &ui{w: f, terminal: term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"}
	u.colour = u.terminal && os.Getenv("NO_COLOR") == ""
	u.width = func() int {
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 {
			return 80
		}
		return width
	}
	return u
}

// Colours of the labels: bold red, yellow and cyan.
const (
	red    = "\x1b[1;31m"
	yellow = "\x1b[1;33m"
	cyan   = "\x1b[1;36m"
	plain  = "\x1b[0m"
)

// error prints err, a line for each of the errors that it lists, and its hints.
func (u *ui) error(err error) {
	var lines interface{ Lines() []string } // many complaints in one error
	if errors.As(err, &lines) {
		for _, line := range lines.Lines() {
			u.line(red, "minirun:", line)
		}
	} else {
		for _, e := range listed(err) {
			u.line(red, "minirun:", e.Error())
		}
	}
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) {
		u.hint(hinter.Hint())
	}
}

// listed gives the errors that errors.Join has put together.
func listed(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // only a list itself, not what wraps one
	if !ok || !strings.Contains(err.Error(), "\n") {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, listed(e)...)
	}
	return all
}

// warn prints what the user should know though the work goes on.
func (u *ui) warn(format string, args ...any) {
	u.line(yellow, "minirun: warning:", fmt.Sprintf(format, args...))
}

// hint prints what the user can do, if there is something.
func (u *ui) hint(text string) {
	if text != "" {
		u.line(cyan, "hint:", text)
	}
}

// say prints what is going on.
func (u *ui) say(format string, args ...any) {
	u.line("", "", fmt.Sprintf(format, args...))
}

func (u *ui) line(colour, label, text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	text = printable(text)
	if label != "" {
		text = u.paint(colour, label) + " " + text
	}
	fmt.Fprintln(u.w, text)
}

func (u *ui) paint(colour, text string) string {
	if !u.colour || colour == "" {
		return text
	}
	return colour + text + plain
}

// printable is text on one line with all that could command a terminal made
// visible: messages quote names and files that strangers wrote.
func printable(text string) string {
	clean := func(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }
	if strings.IndexFunc(text, func(r rune) bool { return !clean(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if clean(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.Quote(text[:size]), `"`))
		}
		text = text[size:]
	}
	return b.String()
}

// logFormatter gives logrus, which libcontainer logs to, minirun's voice.
type logFormatter struct{ ui *ui }

func (f logFormatter) Format(e *logrus.Entry) ([]byte, error) {
	label := e.Level.String()
	text := printable(e.Message)
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		text += printable(fmt.Sprintf(" %s=%v", key, e.Data[key]))
	}
	return []byte(f.ui.paint(yellow, "minirun: "+label+":") + " " + text + "\n"), nil
}
