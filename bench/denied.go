package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// A call that Docker's profile allows and one that it denies, which perl makes in a loop.
const (
	allowedCall = "syscall(110)"     // getppid
	deniedCall  = `syscall(163, $p)` // acct
)

// limits of what 100000 equal denials may take with --explain: as the user waits, and as processor
// time of minirun and the container.
const (
	manyDenials   = 100000
	maxDenialTime = 2 * time.Second
	denialTries   = 5 // one of them must do: a busy machine makes some take longer, and none shorter
	maxReport     = 1024
)

// denied measures what a call costs in the ways to explain it, under strace -f and under the
// least supervisor that answers it (testdata/supervisor.c), and a start with nothing to explain.
func (l *lab) denied(rounds int) error {
	supervisor := l.path("supervisor")
	if err := compile("supervisor.c", supervisor); err != nil {
		return err
	}
	ways := [][]string{
		{l.minirun},
		{l.minirun, "--explain"},
		{l.minirun, "--explain-filter"},
		{supervisor, l.minirun, "--seccomp", "unconfined"},
		{"strace", "-f", "-o", os.DevNull, l.minirun},
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "\nus a call\tplain\t--explain\t--explain-filter\tleast supervisor\tstrace -f\n")
	for _, row := range []struct {
		name, call string
		calls      [5]int
	}{
		{"allowed", allowedCall, [5]int{1000000, 1000000, 1000000, 1000000, 10000}},
		{"denied", deniedCall, [5]int{1000000, manyDenials, manyDenials, manyDenials, 10000}},
	} {
		fmt.Fprintf(out, "%s", row.name)
		for i, command := range ways {
			each, err := l.perCall(command, row.call, row.calls[i], rounds)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "\t%s", each)
		}
		fmt.Fprintln(out)
	}
	if err := l.explainedStarts(out, ways[:3], rounds); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, way := range ways[1:3] {
		if err := errors.Join(l.manyDenied(way), l.manyCallers(way)); err != nil {
			return err
		}
	}
	return nil
}

// explainedStarts measures the start of a command that nothing is denied to.
func (l *lab) explainedStarts(out io.Writer, ways [][]string, rounds int) error {
	times := make([][]time.Duration, len(ways))
	for range 5 * rounds {
		for i, way := range ways {
			cmd := exec.Command(way[0], slices.Concat(way[1:], []string{l.image, "true"})...)
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%v: %w", way, err)
			}
			times[i] = append(times[i], cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		}
	}
	fmt.Fprintf(out, "a start, ms of processor time")
	for _, all := range times {
		fmt.Fprintf(out, "\t%s", ms(median(all)))
	}
	fmt.Fprintln(out)
	return nil
}

// perCall returns the median time of a call, of which what a run without calls takes has
// been subtracted.
func (l *lab) perCall(command []string, call string, calls, rounds int) (string, error) {
	if _, err := exec.LookPath(command[0]); err != nil {
		return "not installed", nil
	}
	var times []time.Duration
	for range rounds {
		none, _, err := l.loop(command, call, 0)
		if err != nil {
			return "", err
		}
		all, _, err := l.loop(command, call, calls)
		if err != nil {
			return "", err
		}
		times = append(times, (all-none)/time.Duration(calls/1000)) // of 1000 calls
	}
	slices.Sort(times)
	return fmt.Sprintf("%.3f", float64(times[len(times)/2].Nanoseconds())/1e6), nil
}

// loop makes a number of calls in a container.
func (l *lab) loop(command []string, call string, calls int) (time.Duration, []byte, error) {
	took, _, report, err := l.measuredLoop(command, call, calls)
	return took, report, err
}

// measuredLoop is loop, and returns the processor time that it took, too.
func (l *lab) measuredLoop(command []string, call string, calls int) (took, processor time.Duration, report []byte, err error) {
	script := `my $p = "/x"; for (my $i = 0; $i < ` + strconv.Itoa(calls) + `; $i++) { ` + call + ` }`
	cmd := exec.Command(command[0], slices.Concat(command[1:], []string{l.image, "perl", "-e", script})...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, nil, fmt.Errorf("%v: %w: %s", command, err, stderr.Bytes())
	}
	return time.Since(begin), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), stderr.Bytes(), nil
}

// manyDenied checks the time and the report of many equal denials.
func (l *lab) manyDenied(way []string) error {
	for range denialTries {
		took, processor, report, err := l.measuredLoop(way, deniedCall, manyDenials)
		if err != nil {
			return err
		}
		fmt.Printf("%d equal denials with %s: %.1f s, %.1f of processor time (limit of both %.0f), %d bytes of report (limit %d)\n",
			manyDenials, way[1], took.Seconds(), processor.Seconds(), maxDenialTime.Seconds(), len(report), maxReport)
		if len(report) > maxReport {
			return fmt.Errorf("the report is larger than the limit")
		}
		if max(took, processor) <= maxDenialTime {
			return nil
		}
	}
	return fmt.Errorf("more time than the limit, %d times", denialTries)
}

// manyCallers checks the report of many short processes, each with a denied call: it names
// them, and no other.
func (l *lab) manyCallers(way []string) error {
	const callers = 10000
	script := fmt.Sprintf(`for (1 .. %d) {
		my $child = fork // die;
		if (!$child) { $0 = "caller"; my $p = "/x"; %s; exit 0 }
		waitpid $child, 0 if $_ %% 8 == 0;
	} 1 while wait > 0`, callers, deniedCall)
	begin := time.Now()
	report, err := exec.Command(way[0], slices.Concat(way[1:], []string{l.image, "perl", "-e", script})...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w: %s", way, err, report)
	}
	count := func(line string) (n int) {
		if found := regexp.MustCompile(line).FindSubmatch(report); found != nil {
			n, _ = strconv.Atoi(string(found[1]))
		}
		return n
	}
	lost := count(`(?m)^minirun: (\d+) refused calls were lost`) // on a busy machine
	fmt.Printf("%d processes with a denied call each, with %s: %.1f s, %d lost\n", callers, way[1], time.Since(begin).Seconds(), lost)
	reports := regexp.MustCompile(`(?m)^minirun: denied: .*$`).FindAll(report, -1)
	total := count(`(?m)^minirun: (\d+) times in all: acct by caller$`)
	if len(reports) != 1 || !bytes.Contains(reports[0], []byte(" by caller (PID ")) || total+lost != callers {
		return fmt.Errorf("the report is another: %s", report)
	}
	return nil
}
