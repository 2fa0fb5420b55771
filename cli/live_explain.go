package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp/analyze"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// explainAll explains the reports of the queue and prints them. The explainer is made
// for the first of them: it parses and compiles the profile, which takes half as long as a start.
func (r *liveReports) explainAll() {
	defer close(r.done)
	var explainer *analyze.Explainer
	var late []string
	for one := range r.queue {
		var err error
		if one.By == "kernel" {
			r.publish(one, explanation{Explanation: &analyze.Explanation{Because: one.Because}, Changes: one.Changes}, &late)
			continue
		}
		if explainer == nil {
			explainer, err = r.explainer()
		}
		var x explanation
		if err == nil {
			x, err = r.explain(explainer, one)
		}
		if err != nil {
			x = explanation{Explanation: &analyze.Explanation{Because: err.Error()}}
		}
		one.Because, one.Rule, one.Changes = x.Because, x.Rule, x.Changes
		r.publish(one, x, &late)
	}
	for _, text := range late {
		_, _ = r.app.ui.Write([]byte(text))
	}
}

func (r *liveReports) explainer() (*analyze.Explainer, error) {
	policy, err := r.policy()
	if err != nil {
		return nil, err
	}
	return analyze.NewExplainer(policy)
}

// messageTime is how long a report waits for the program's own message about a call, which
// may be written in pieces: "touch: " and the rest.
const messageTime = 200 * time.Millisecond

// publish writes a report, or keeps its text for later.
func (r *liveReports) publish(one *liveReport, x explanation, late *[]string) {
	r.writeLine(one)
	text := r.block(one, x)
	if r.late {
		*late = append(*late, text)
		return
	}
	select {
	case <-r.ended:
	case <-time.After(time.Until(one.Time.Add(messageTime))):
	}
	_, _ = r.app.ui.Write([]byte(text)) // standard error is gone; there is nowhere to report that
}

func (r *liveReports) explain(e *analyze.Explainer, one *liveReport) (explanation, error) {
	if one.guarded {
		return explanation{Explanation: &analyze.Explanation{Because: "a process can have one listener, and minirun is it"}}, nil
	}
	pattern := analyze.CallPattern{Name: one.Call, Arch: one.arch, Args: one.values, Given: len(one.values)}
	if one.killed {
		pattern.Given = 0
	}
	x, err := e.ForArch(one.arch).Explain(pattern)
	if err != nil {
		return explanation{}, err
	}
	worded := inWords(x, r.profile)
	for i := range worded.Changes {
		if c := &worded.Changes[i]; c.Kind == analyze.RemedyEdit && strings.HasSuffix(r.profile, edited) {
			c.How = "--seccomp-allow " + one.Call // there is no file to edit
		}
	}
	slices.SortStableFunc(worded.Changes, func(a, b change) int { return changeRank(a) - changeRank(b) })
	return worded, nil
}

// changeRank puts a capability that allows much else after others.
func changeRank(c change) int {
	switch {
	case c.Kind != analyze.RemedyCapability:
		return 2
	case strings.Contains(c.How, "CAP_SYS_ADMIN"):
		return 1
	}
	return 0
}

// block is a report as standard error has it.
func (r *liveReports) block(one *liveReport, x explanation) string {
	label := "minirun: denied:"
	if one.Passed {
		label = "minirun: would be denied:"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s%s: %s\n", r.app.ui.paint(yellow, label), printable(shortened(one.text())), one.by(), one.outcome())
	var changes []change
	for _, c := range x.Changes {
		if c.Kind != analyze.RemedyArguments { // the call is made; others can be long lists
			changes = append(changes, c)
		}
	}
	x.Changes = changes
	writeReasons(&b, x)
	return b.String()
}

// arguments writes the arguments of a call, with the texts that were read.
func arguments(d launcher.Denied, name string, arch syscalls.Arch) []string {
	args := []string{}
	kinds, known := syscalls.ArgumentKinds(name)
	if !known {
		for _, value := range d.Args {
			args = append(args, fmt.Sprintf("%#x", value))
		}
	}
	for i, kind := range kinds {
		text := d.Texts[i]
		if text == nil {
			args = append(args, syscalls.FormatTyped(arch, name, i, kind, d.Args))
			continue
		}
		s, cut := text.Text, text.Cut
		if size := uint32(d.Args[min(i+1, 5)]); kind == syscalls.TextSize && uint64(len(s)) >= uint64(size) {
			s, cut = s[:size], false
		}
		quoted := strconv.Quote(s)
		if cut {
			quoted += "..."
		}
		args = append(args, quoted)
	}
	return args
}

func (r *liveReport) text() string {
	if r.killed {
		return r.Call + "(...)"
	}
	return r.Call + "(" + strings.Join(r.Args, ", ") + ")"
}

// pattern is the text without addresses, which differ from process to process.
func (r *liveReport) pattern() string {
	args := slices.Clone(r.Args)
	kinds, _ := syscalls.ArgumentKinds(r.Call)
	for i, kind := range kinds {
		if (kind == syscalls.Pointer || kind == syscalls.Text || kind == syscalls.TextSize) && i < len(args) && strings.HasPrefix(args[i], "0x") {
			args[i] = "0x"
		}
	}
	return r.Call + "(" + strings.Join(args, ", ") + ")"
}

// by says who made the call.
func (r *liveReport) by() string {
	who := ""
	if host, ok := syscalls.Host(); ok && r.arch != host {
		who = " (" + r.Arch + ")"
	}
	if r.Comm != "" {
		who += " by " + printable(r.Comm)
	}
	if r.PID != 0 {
		who += fmt.Sprintf(" (PID %d)", r.PID)
	}
	return who
}

// totals says how often calls were denied that were denied more than once. The later
// ones of a thread are not looked at: their texts may be others.
func (r *liveReports) totals() {
	counts, reports := map[string]int{}, map[string]int{}
	var order []string
	for _, one := range r.order {
		what := one.Call
		if one.Comm != "" {
			what += " by " + one.Comm
		}
		if counts[what] == 0 {
			order = append(order, what)
		}
		counts[what] += one.Count
		reports[what]++
		if one.Count > 1 {
			r.writeLine(one)
		}
	}
	for _, what := range order {
		if counts[what] > reports[what] {
			r.app.ui.say("minirun: %d times in all: %s", counts[what], what)
		}
	}
}

// writeLine writes a line of --explain-to.
func (r *liveReports) writeLine(one *liveReport) {
	if r.file == nil || r.fileErr != nil {
		return
	}
	line, err := json.Marshal(one)
	if err == nil {
		_, err = r.file.Write(append(line, '\n'))
	}
	r.fileErr = err
}

// outcome is what the caller got: from the filter its verdict, from the kernel an errno.
func (r *liveReport) outcome() string {
	if r.By == "kernel" {
		return r.Errno
	}
	return r.Verdict
}
