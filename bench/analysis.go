package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"text/tabwriter"
	"time"
)

// analyses are the commands that take longest: each compiles profiles for several
// sets of capabilities, and analyzes every call for all arguments.
func (l *lab) analyses() [][]string {
	mine := l.path("mine.json")
	return [][]string{
		{"seccomp", "diff", "--all-caps", "default", mine},
		{"seccomp", "matrix", "default"},
		{"seccomp", "matrix", "default", mine},
		{"seccomp", "explain"},
		{"seccomp", "explain", "clone"},
		{"seccomp", "lint", "default"},
	}
}

// analyze prints the absolute times of the analyses, since they have no peer. If l.old
// is another build of minirun, it prints that one's times too, and the ratios.
func (l *lab) analyze(rounds int) error {
	gated, err := exec.Command(l.minirun, "seccomp", "edit", "--gate", "CAP_AUDIT_CONTROL=@chown").Output()
	if err != nil {
		return fmt.Errorf("minirun seccomp edit: %w", err)
	}
	if err := os.WriteFile(l.path("mine.json"), gated, 0o600); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\nminirun\twall ms")
	if l.old != "" {
		fmt.Fprint(w, "\told\tnew/old")
	}
	fmt.Fprintln(w)
	for _, args := range l.analyses() {
		var mine, before []time.Duration
		for range rounds {
			mine, err = analysis(mine, l.minirun, args)
			if err == nil && l.old != "" {
				before, err = analysis(before, l.old, args)
			}
			if err != nil {
				return err
			}
		}
		shown := append([]string{}, args...)
		for i, word := range shown {
			if word == l.path("mine.json") {
				shown[i] = "mine.json"
			}
		}
		fmt.Fprintf(w, "%v\t%s", shown, ms(median(mine)))
		if l.old != "" {
			fmt.Fprintf(w, "\t%s\t%.2f", ms(median(before)), ratio(mine, before))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// analysis appends the time of one run. Status 1 is not a failure: there are differences.
func analysis(times []time.Duration, program string, args []string) ([]time.Duration, error) {
	begin := time.Now()
	err := exec.Command(program, args...).Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("%s %v: %w", program, args, err)
	}
	return append(times, time.Since(begin)), nil
}
