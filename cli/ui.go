package cli

import (
	"bytes"
	"cmp"
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

	"github.com/minirun/minirun/seccomp"
)

// ui prints to standard error, in lines of one form:
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
	height   func() int
	drawn    []string // the bars on the terminal's last lines
	spoken   bool
}

func newUI(f *os.File) *ui {
	u := &ui{w: f, terminal: isTerminal(f)}
	u.colour = u.terminal && os.Getenv("NO_COLOR") == ""
	size := func() (width, height int) {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 || height <= 0 {
			return 80, 24
		}
		return width, height
	}
	u.width = func() int { width, _ := size(); return width }
	u.height = func() int { _, height := size(); return height }
	return u
}

// plain turns colours and bars off for all that follows, which goes to a log.
func (u *ui) plain() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.terminal, u.colour = false, false
}

// isTerminal reports whether f is a terminal that can move its cursor.
func isTerminal(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// Colours of labels, all bold.
const (
	red    = "\x1b[1;31m"
	green  = "\x1b[1;32m"
	yellow = "\x1b[1;33m"
	cyan   = "\x1b[1;36m"
	plain  = "\x1b[0m"
)

// error prints err, with a line for each of the errors that it joins, and its hint.
func (u *ui) error(err error) {
	all := errorLines(err)
	for _, line := range all[:min(len(all), maxLines)] {
		u.line(red, "minirun:", line)
	}
	if more := len(all) - maxLines; more > 0 {
		u.line(red, "minirun:", fmt.Sprintf("and %d more errors", more))
	}
	u.hint(cmp.Or(hintOf(err), errnoHint(err)))
}

// errorLines returns the lines of an error. Several problems in one file have a line
// each, with its hint.
func errorLines(err error) []string {
	var problems seccomp.Problems
	var lines interface{ Lines() []string }
	var all []string
	switch {
	case errors.As(err, &problems) && len(problems) > 1:
		for _, p := range problems {
			all = append(all, withHint(p.Error(), problemHint(p.Fix, p.Cause)))
		}
	case errors.As(err, &lines):
		all = lines.Lines()
	default:
		for _, e := range listed(err) {
			all = append(all, e.Error())
		}
	}
	return all
}

// withHint returns a line with its hint in brackets, if it has one.
func withHint(line, hint string) string {
	if hint == "" {
		return line
	}
	return line + " (" + hint + ")"
}

// listed returns the errors that errors.Join has joined into err. An error that
// wraps joined errors is not taken apart: it has its own text.
func listed(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || !strings.Contains(err.Error(), "\n") {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, listed(e)...)
	}
	return all
}

// warn prints a warning.
func (u *ui) warn(format string, args ...any) {
	u.line(yellow, "minirun: warning:", fmt.Sprintf(format, args...))
}

// warning prints an error that does not end the work as a warning.
func (u *ui) warning(err error) {
	for _, e := range listed(err) {
		u.warn("%v", e)
	}
	u.hint(cmp.Or(hintOf(err), errnoHint(err)))
}

// hint prints what the user can do, unless text is empty.
func (u *ui) hint(text string) {
	if text != "" {
		u.line(cyan, "hint:", text)
	}
}

// say prints a line.
func (u *ui) say(format string, args ...any) {
	u.line("", "", fmt.Sprintf(format, args...))
}

// said reports whether anything except debug messages has been printed.
func (u *ui) said() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.spoken
}

func (u *ui) line(colour, label, text string) {
	u.mu.Lock()
	u.spoken = true
	u.mu.Unlock()
	text = printable(shortened(text))
	if label != "" {
		text = u.paint(colour, label) + " " + text
	}
	_, _ = u.Write([]byte(text + "\n")) // if standard error is gone there is nowhere to report that
}

const (
	clearLine  = "\r\x1b[K"         // moves the cursor to column 0 and clears the line
	clearBelow = "\r\x1b[%dA\x1b[J" // after moving the cursor up by so many lines, clears all below
)

// Write writes whole lines, above the bars.
func (u *ui) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, err := io.WriteString(u.w, u.erased()+string(p)+strings.Join(u.drawn, "\n"))
	return len(p), err
}

// erased returns the control characters that clear the bars.
func (u *ui) erased() string {
	switch len(u.drawn) {
	case 0:
		return ""
	case 1:
		return clearLine
	}
	return fmt.Sprintf(clearBelow, len(u.drawn)-1)
}

// bars draws texts on the last lines, in place of the bars before. Each text must fit on a line,
// and all of them on the terminal.
func (u *ui) bars(texts ...string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	width := u.width()
	for i, text := range texts {
		if runes := []rune(text); len(runes) >= width {
			texts[i] = string(runes[:width-1])
		}
	}
	if !slices.Equal(texts, u.drawn) {
		_, _ = io.WriteString(u.w, cmp.Or(u.erased(), clearLine)+strings.Join(texts, "\n"))
		u.drawn = texts
	}
}

// lines is a writer that prints whole lines with say.
type lines struct {
	ui   *ui
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found && len(l.rest) > maxLine {
			line, found = l.rest, true // too long: print what there is
		}
		if !found {
			return len(p), nil
		}
		l.ui.say("%s", bytes.TrimRight(line, "\r"))
		l.rest = rest
	}
}

func (u *ui) paint(colour, text string) string {
	if !u.colour || colour == "" {
		return text
	}
	return colour + text + plain
}

// Errors quote untrusted text, which can be of any length.
const (
	maxLines = 100  // of one error
	maxLine  = 2000 // bytes, before printable
)

// shortened leaves out the middle of a text that is too long for a line: the start says what
// failed, and the end why.
func shortened(text string) string {
	if len(text) <= maxLine {
		return text
	}
	head, tail := maxLine*2/3, len(text)-maxLine/3
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return fmt.Sprintf("%s[... %d bytes ...]%s", text[:head], tail-head, text[tail:])
}

// printable returns text on one line, with escapes in place of control characters and others
// that are not printable, since messages quote untrusted names and files.
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

// logFormatter formats libcontainer's messages to logrus as minirun's own.
type logFormatter struct{ ui *ui }

func (f logFormatter) Format(e *logrus.Entry) ([]byte, error) {
	label := e.Level.String()
	text := e.Message
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		text += fmt.Sprintf(" %s=%v", key, e.Data[key])
	}
	return []byte(f.ui.paint(yellow, "minirun: "+label+":") + " " + printable(shortened(text)) + "\n"), nil
}

// end prints a last line that did not end with a newline.
func (l *lines) end() {
	if len(l.rest) > 0 {
		l.ui.say("%s", l.rest)
		l.rest = nil
	}
}
