package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// guideStep is a command of the guide and what it prints. Status is in the guide
// itself: where it is not 0, the next command is echo $?.
type guideStep struct {
	line    int
	command string
	session []guideStep // what is typed into the shell that the command is
	want    []string
}

var containerPrompt = regexp.MustCompile(`^\S+@\S+:\S*[#$] `)

// TestGuide runs every command of docs/guide.md, in one shell in one folder, and
// compares what each prints with what the guide says that it does.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	steps, err := parseGuide(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) < 30 {
		t.Fatalf("the guide has %d commands: it was not read to its end", len(steps))
	}
	outputs := runGuide(t, steps)
	for i, step := range steps {
		if step.session == nil {
			compareStep(t, step, outputs[step.line])
		}
		for _, s := range step.session {
			compareStep(t, s, outputs[s.line])
			checkStatus(t, s, outputs[s.line], false)
		}
		shown := i+1 < len(steps) && steps[i+1].command == "echo $?"
		checkStatus(t, step, outputs[step.line], shown)
	}
}

func compareStep(t *testing.T, step guideStep, out guideOutput) {
	t.Helper()
	if !out.ran {
		t.Errorf("guide.md:%d: did not run: %s", step.line, step.command)
		return
	}
	if !regexp.MustCompile(guidePattern(step.want)).MatchString(out.text) {
		t.Errorf("guide.md:%d: %s\nprinted\n%s\nthe guide says\n%s", step.line, step.command, out.text, strings.Join(step.want, "\n"))
	}
}

func checkStatus(t *testing.T, step guideStep, out guideOutput, shown bool) {
	t.Helper()
	if out.status != 0 && !shown {
		t.Errorf("guide.md:%d: %s\nended with status %d, which the guide does not say\n%s", step.line, step.command, out.status, out.text)
	}
}

// guidePattern: a line of ... is any number of lines; within a line it is any text.
func guidePattern(want []string) string {
	var b strings.Builder
	b.WriteString(`\A`)
	for _, line := range want {
		if line == "..." {
			b.WriteString(`(?:.*\n)*`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `.*`) + `\n`)
	}
	return b.String() + `\z`
}

// parseGuide takes the commands out of the console blocks. There are no others.
func parseGuide(text string) ([]guideStep, error) {
	var steps []guideStep
	inBlock := false
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		if fence, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "```"); ok {
			if !inBlock && fence != "console" {
				return nil, fmt.Errorf("guide.md:%d: a block of kind %q: not one that this test runs", n, fence)
			}
			inBlock = !inBlock
			if inBlock {
				steps = append(steps, guideStep{}) // parts the blocks
			}
			continue
		}
		if !inBlock {
			continue
		}
		var err error
		if steps, err = addGuideLine(steps, n, line); err != nil {
			return nil, err
		}
	}
	kept := steps[:0]
	for _, s := range steps {
		if s.line > 0 {
			kept = append(kept, s)
		}
	}
	return kept, nil
}

func addGuideLine(steps []guideStep, n int, line string) ([]guideStep, error) {
	last := &steps[len(steps)-1]
	prompt := containerPrompt.FindString(line)
	switch {
	case strings.HasPrefix(line, "$ "), strings.HasPrefix(line, "# "):
		return append(steps, guideStep{line: n, command: line[2:]}), nil
	case last.line == 0:
		return nil, fmt.Errorf("guide.md:%d: a block begins with output", n)
	case prompt != "":
		last.session = append(last.session, guideStep{line: n, command: line[len(prompt):]})
	case strings.HasPrefix(line, "> ") && last.want == nil:
		last.command += "\n" + line[2:]
	case last.session != nil:
		typed := &last.session[len(last.session)-1]
		typed.want = append(typed.want, line)
	default:
		last.want = append(last.want, line)
	}
	return steps, nil
}

type guideOutput struct {
	text   string
	status int
	ran    bool
}

// guideMark ends a step's output: its line in the guide, its status.
const guideMark = "=guide-step="

var guideEnd = regexp.MustCompile(`(?m)^` + guideMark + ` (\d+) (\d+)\n`)

// runGuide runs all steps in one bash, so that files, jobs and $? carry over.
func runGuide(t *testing.T, steps []guideStep) map[int]guideOutput {
	t.Helper()
	var script strings.Builder
	for _, step := range steps {
		fmt.Fprintf(&script, "{ %s\n} %s\n%s", guideCommand(step), guideInput(step), markEnd(step.line))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = time.Second
	text, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Errorf("the guide takes more than three minutes: %v", err)
	}
	return splitGuide(t, string(text))
}

func markEnd(line int) string {
	return fmt.Sprintf("set -- $?; echo '%s' %d $1; (exit $1)\n", guideMark, line)
}

// guideCommand is the command, without a terminal, as the session comes by a pipe.
func guideCommand(step guideStep) string {
	if step.session == nil {
		return step.command
	}
	return strings.Replace(step.command, " -it ", " -i ", 1)
}

func guideInput(step guideStep) string {
	if step.session == nil {
		return "</dev/null"
	}
	var typed strings.Builder
	for _, s := range step.session {
		if s.command == "exit" {
			fmt.Fprintf(&typed, "echo '%s' %d 0\n", guideMark, s.line)
		}
		typed.WriteString(s.command + "\n" + markEnd(s.line))
	}
	return "<<'END OF SESSION'\n" + typed.String() + "END OF SESSION"
}

func splitGuide(t *testing.T, text string) map[int]guideOutput {
	t.Helper()
	outputs := map[int]guideOutput{}
	from := 0
	for _, at := range guideEnd.FindAllStringSubmatchIndex(text, -1) {
		var line, status int
		if _, err := fmt.Sscan(text[at[2]:at[5]], &line, &status); err != nil {
			t.Fatal(err)
		}
		outputs[line] = guideOutput{text: text[from:at[0]], status: status, ran: true}
		from = at[1]
	}
	return outputs
}
