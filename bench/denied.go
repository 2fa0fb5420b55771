package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
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

// limits of what 100000 equal denials may take with --explain.
const (
	manyDenials   = 100000
	maxDenialTime = 2 * time.Second
	maxReport     = 1024
)

// denied measures what a call costs with and without --explain, and under strace -f.
func (l *lab) denied(rounds int) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "\nus a call\tplain\t--explain\tstrace -f\n")
	for _, row := range []struct {
		name, call string
		calls      [3]int
	}{
		{"allowed", allowedCall, [3]int{1000000, 1000000, 10000}},
		{"denied", deniedCall, [3]int{1000000, manyDenials, 10000}},
	} {
		fmt.Fprintf(out, "%s", row.name)
		for i, command := range [3][]string{{l.minirun}, {l.minirun, "--explain"}, {"strace", "-f", "-o", os.DevNull, l.minirun}} {
			each, err := l.perCall(command, row.call, row.calls[i], rounds)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "\t%s", each)
		}
		fmt.Fprintln(out)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return l.manyDenied()
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
	script := `my $p = "/x"; for (my $i = 0; $i < ` + strconv.Itoa(calls) + `; $i++) { ` + call + ` }`
	cmd := exec.Command(command[0], slices.Concat(command[1:], []string{l.image, "perl", "-e", script})...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	if err != nil {
		return 0, nil, fmt.Errorf("%v: %w: %s", command, err, stderr.Bytes())
	}
	return took, stderr.Bytes(), nil
}

// manyDenied checks the report of many equal denials.
func (l *lab) manyDenied() error {
	took, report, err := l.loop([]string{l.minirun, "--explain"}, deniedCall, manyDenials)
	if err != nil {
		return err
	}
	fmt.Printf("%d equal denials with --explain: %.1f s (limit %.0f), %d bytes of report (limit %d)\n",
		manyDenials, took.Seconds(), maxDenialTime.Seconds(), len(report), maxReport)
	if took > maxDenialTime || len(report) > maxReport {
		return fmt.Errorf("more than the limit")
	}
	return nil
}
