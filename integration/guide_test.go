package integration

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/minirun/minirun/internal/testenv"
)

// guideStep is a command of the guide and its output. The guide shows a status other
// than 0 with echo $? as the next command.
type guideStep struct {
	file    string
	line    int
	user    bool // alice types it
	command string
	session []guideStep // the commands that are typed into the command, a shell
	want    []string
}

// userPrompt is that of an ordinary user; root's is #, or $ where it does not matter.
const userPrompt = "alice$ "

var containerPrompt = regexp.MustCompile(`^\S+@\S+:\S*[#$] `)

// TestGuide runs every command of the guide and of the README's sessions, each in one
// shell and one directory, and compares the output with the text. Those of an ordinary user
// have another shell.
func TestGuide(t *testing.T) {
	for file, atLeast := range map[string]int{"docs/guide.md": 40, "README.md": 6} {
		t.Run(file, func(t *testing.T) {
			steps, err := parseGuide(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(steps) < atLeast {
				t.Fatalf("%d commands: it was not read to its end", len(steps))
			}
			outputs := runGuide(t, steps)
			if slices.ContainsFunc(steps, func(s guideStep) bool { return s.user }) {
				maps.Copy(outputs, runUsersGuide(t, steps))
			}
			checkGuide(t, steps, outputs)
		})
	}
}

func checkGuide(t *testing.T, steps []guideStep, outputs map[int]guideOutput) {
	t.Helper()
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
		t.Errorf("%s:%d: did not run: %s", step.file, step.line, step.command)
		return
	}
	if !regexp.MustCompile(guidePattern(step.want)).MatchString(out.text) {
		t.Errorf("%s:%d: %s\nprinted\n%s\nbut should\n%s", step.file, step.line, step.command, out.text, strings.Join(step.want, "\n"))
	}
}

func checkStatus(t *testing.T, step guideStep, out guideOutput, shown bool) {
	t.Helper()
	if out.status != 0 && !shown {
		t.Errorf("%s:%d: %s\nended with status %d, which is not said\n%s", step.file, step.line, step.command, out.status, out.text)
	}
}

// guidePattern returns a regular expression for output in the guide: ... alone on a line
// matches any number of lines, and within a line any text.
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

// parseGuide returns the commands in the blocks of kind console. Blocks of kind sh, in
// the README, build, install and fetch, and are not run. Those of kind json, toml and yaml
// are other programs' configuration.
func parseGuide(file string) ([]guideStep, error) {
	text, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		return nil, err
	}
	var steps []guideStep
	kind := ""
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\n")
		fence, isFence := strings.CutPrefix(strings.TrimLeft(line, " "), "```")
		switch {
		case isFence && kind != "":
			kind = ""
		case isFence && (fence == "console" || fence == "sh" && file == "README.md" || fence == "json" || fence == "toml" || fence == "yaml"):
			kind = fence
			steps = append(steps, guideStep{}) // separates the blocks
		case isFence:
			return nil, fmt.Errorf("%s:%d: a block of kind %q: not one that this test runs", file, n, fence)
		case kind == "console":
			if steps = addGuideLine(steps, file, n, line); steps == nil {
				return nil, fmt.Errorf("%s:%d: a block begins with output", file, n)
			}
		}
	}
	return slices.DeleteFunc(steps, func(s guideStep) bool { return s.line == 0 }), nil
}

func addGuideLine(steps []guideStep, file string, n int, line string) []guideStep {
	last := &steps[len(steps)-1]
	prompt := containerPrompt.FindString(line)
	switch {
	case strings.HasPrefix(line, userPrompt):
		return append(steps, guideStep{file: file, line: n, user: true, command: strings.TrimPrefix(line, userPrompt)})
	case strings.HasPrefix(line, "$ "), strings.HasPrefix(line, "# "):
		return append(steps, guideStep{file: file, line: n, command: line[2:]})
	case last.line == 0:
		return nil
	case prompt != "":
		last.session = append(last.session, guideStep{file: file, line: n, command: line[len(prompt):]})
	case strings.HasPrefix(line, "> ") && last.want == nil:
		last.command += "\n" + line[2:]
	case last.session != nil:
		typed := &last.session[len(last.session)-1]
		typed.want = append(typed.want, line)
	default:
		last.want = append(last.want, line)
	}
	return steps
}

type guideOutput struct {
	text   string
	status int
	ran    bool
}

// guideMark ends a step's output: its line in the guide, its status.
const guideMark = "=guide-step="

var guideEnd = regexp.MustCompile(`(?m)^` + guideMark + ` (\d+) (\d+)\n`)

// runGuide runs root's steps in one bash, so that files, jobs and $? carry over. $REGISTRY is
// a registry of the test's own.
func runGuide(t *testing.T, steps []guideStep) map[int]guideOutput {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", guideScript(steps, false))
	cmd.Dir = t.TempDir()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	cmd.Env = append(os.Environ(), "REGISTRY="+strings.TrimPrefix(server.URL, "http://"))
	if err := os.Symlink(testBed.profiles, filepath.Join(cmd.Dir, "profiles")); err != nil {
		t.Fatal(err)
	}
	cmd.WaitDelay = time.Second
	text, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Errorf("takes more than three minutes: %v", err)
	}
	return splitGuide(t, string(text))
}

// runUsersGuide runs the steps of an ordinary user, who has the image debian, and may open
// /dev/net/tun as udev lets users.
func runUsersGuide(t *testing.T, steps []guideStep) map[int]guideOutput {
	t.Helper()
	testenv.Program(t, "slirp4netns")
	u := ordinaryUser(t, "minirun-guide", true)
	u.load(t)
	n := newNetns(t)
	text, err := n.asUser(u, "666", filepath.Dir(u.minirun)+":"+os.Getenv("PATH"), "bash", "-c", "cd && "+guideScript(steps, true)).CombinedOutput()
	if err != nil {
		t.Errorf("the user's shell: %v", err)
	}
	return splitGuide(t, string(text))
}

// guideScript is the steps of root or of the user.
func guideScript(steps []guideStep, users bool) string {
	var script strings.Builder
	for _, step := range steps {
		if step.user == users {
			fmt.Fprintf(&script, "{ %s\n} %s\n%s", guideCommand(step), guideInput(step), markEnd(step.line))
		}
	}
	return script.String()
}

func markEnd(line int) string {
	return fmt.Sprintf("set -- $?; echo '%s' %d $1; (exit $1)\n", guideMark, line)
}

// guideCommand returns the command without -t, since the session comes from a pipe.
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
