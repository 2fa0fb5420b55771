package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	ucli "github.com/urfave/cli/v2"
)

func (a *app) topCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "top",
		Usage:     "list the processes of a container",
		ArgsUsage: "CONTAINER [OPTION OF PS...]",
		Description: `ps(1) of this machine lists them, with -ef if no options are given. The output must have
a column PID: it is by its numbers on this machine that the container's processes are found.`,
		Action: a.topAction,
	}
}

func (a *app) topAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, -1); err != nil {
		return err
	}
	options := strings.Fields(strings.Join(c.Args().Tail(), " ")) // as dockerd splits them
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	if renamed := pidRenamed(options); renamed != "" {
		return &usageError{"top: specified " + strconv.Quote(renamed) + ": the column PID is needed", "leave the heading out: -o pid,args"}
	}
	container, err := a.findContainer(c, c.Args().First())
	if err != nil {
		return err
	}
	if err := running(container); err != nil {
		return err
	}
	pids, err := container.PIDs()
	if err != nil {
		return &containerError{err: err}
	}
	text, err := psOutput(options, pids)
	if err != nil {
		return &containerError{err: err}
	}
	rows, err := processRows(text, pids)
	if err != nil {
		return &containerError{err: err, hint: "'ps " + strings.Join(options, " ") + "' shows what it was asked for; -o pid adds the column"}
	}
	table := tabwriter.NewWriter(a.stdout, 20, 1, 3, ' ', 0) // docker's
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		if _, err := fmt.Fprintln(table, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return table.Flush()
}

// pidRenamed returns the option that gives another column the heading PID, or "".
func pidRenamed(options []string) string {
	found := regexp.MustCompile(`\s+(\S*)=\s*(PID\S*)`).FindStringSubmatch(" " + strings.Join(options, " "))
	if found == nil || found[1] == "pid" || strings.HasSuffix(found[1], ",pid") && found[2] == "PID" {
		return ""
	}
	return strings.TrimSpace(found[0])
}

// psOutput runs ps(1) for some processes, or for all if the options exclude -q.
func psOutput(options []string, pids []int) ([]byte, error) {
	var list []string
	for _, pid := range pids {
		list = append(list, strconv.Itoa(pid))
	}
	out, err := exec.Command("ps", append(slices.Clone(options), "-q", strings.Join(list, ","))...).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("ps: not found: it is in Debian's package procps")
	}
	if err == nil {
		return out, nil
	}
	out, err = exec.Command("ps", options...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		said, _, _ := strings.Cut(strings.TrimSpace(string(failed.Stderr)), "\n")
		return nil, errors.New("ps: " + cmp.Or(printable(said), failed.String()))
	}
	return out, err
}

// processRows returns the heading of ps(1)'s output and the lines of some processes, each split
// into as many columns as the heading has. Lines of threads follow their process.
func processRows(text []byte, pids []int) ([][]string, error) {
	lines := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	titles := strings.Fields(string(lines[0]))
	column := slices.Index(titles, "PID")
	if column < 0 {
		return nil, errors.New("couldn't find PID field in ps output")
	}
	rows := [][]string{titles}
	belongs := false // whether the last line of a process is one of them
	for _, line := range lines[1:] {
		fields := strings.Fields(string(line))
		if len(fields) <= column {
			continue
		}
		if fields[column] != "-" {
			pid, err := strconv.Atoi(fields[column])
			if err != nil {
				return nil, fmt.Errorf("unexpected pid %q in ps output", fields[column])
			}
			belongs = slices.Contains(pids, pid)
		}
		if !belongs {
			continue
		}
		last := len(titles) - 1
		if len(fields) > last {
			fields = append(fields[:last:last], strings.Join(fields[last:], " "))
		}
		rows = append(rows, fields)
	}
	return rows, nil
}
