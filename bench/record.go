package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"text/tabwriter"
	"time"
)

// maxRecording is what a command may take with --record, as a ratio to the same command without.
const maxRecording = 1.2

// recordedTimes are processor times of all processes of runs: without --record, with it, and
// without it under strace -f.
type recordedTimes [3][]time.Duration

// recording measures what --record costs, and beside it strace -f. It takes processor time, which
// depends less on what else the machine does. The whole run is compared, and the command alone:
// a start takes longer with --record, however much there is to record.
func (l *lab) recording(rounds int) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "\nms of processor time\tplain\t--record\tratio\tcommand alone\tstrace -f\tratio\n")
	const host = "/usr:/usr:ro" // the image has no compiler
	var starts recordedTimes
	var slow []string
	for _, job := range []struct {
		name, script string
		flags        []string
	}{
		{"start", "true", nil},
		{"find", "for i in 1 2 3 4 5 6 7 8; do find /usr > /dev/null; done", nil},
		{"apt dry run", "for i in 1 2 3 4 5 6 7 8; do apt-get -s check > /dev/null; done", nil},
		{"compile", `for i in 1 2 3 4; do printf '#include <stdio.h>\nint main(void) { return puts("x"); }\n' | gcc -O2 -x c -c -o /tmp/x.o -; done`, []string{"-v", host}},
	} {
		times, err := l.recorded(append(job.flags, l.image, "sh", "-c", job.script), rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", job.name, err)
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t", job.name, ms(median(times[0])), ms(median(times[1])), compared(times[1], times[0]))
		if starts[0] == nil {
			starts = times
			fmt.Fprint(out, "-")
		} else {
			alone := ratio(beyond(times[1], starts[1]), beyond(times[0], starts[0]))
			fmt.Fprintf(out, "%.2f", alone)
			if alone > maxRecording {
				slow = append(slow, job.name)
			}
		}
		if len(times[2]) == 0 {
			fmt.Fprintln(out, "\tnot installed\t-")
			continue
		}
		fmt.Fprintf(out, "\t%s\t%s\n", ms(median(times[2])), compared(times[2], times[0]))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if len(slow) > 0 {
		return fmt.Errorf("recording took more than %.1f times the command: %q", maxRecording, slow)
	}
	return nil
}

// beyond returns what runs took beyond a start.
func beyond(runs, starts []time.Duration) []time.Duration {
	rest := slices.Clone(runs)
	for i := range rest {
		rest[i] -= median(starts)
	}
	return rest
}

// recorded measures a run, in turn in each of the ways.
func (l *lab) recorded(args []string, rounds int) (times recordedTimes, err error) {
	ways := [][]string{{l.minirun}, {l.minirun, "--record", l.path("recorded.json")}, {"strace", "-f", "-o", os.DevNull, l.minirun}}
	if _, err := exec.LookPath("strace"); err != nil {
		ways = ways[:2]
	}
	for round := range rounds + 2 {
		for i, way := range ways {
			cmd := exec.Command(way[0], slices.Concat(way[1:], args)...)
			_, cpu, err := timed(cmd)
			if err != nil {
				return times, err
			}
			if round > 1 { // the first two fill caches
				times[i] = append(times[i], cpu)
			}
		}
	}
	return times, nil
}
