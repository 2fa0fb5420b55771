package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"text/tabwriter"
	"time"
)

// maxRecording is what a recorded run may take, as a ratio to the same run without --record.
const maxRecording = 1.2

// recording measures what runs take with --record, and beside it with strace -f, in
// processor time of all processes: it depends less on what else the machine does.
func (l *lab) recording(rounds int) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "\nms of processor time\tplain\t--record\tratio\tstrace -f\tratio\n")
	const host = "/usr:/usr:ro" // the image has no compiler
	var slow []string
	for _, job := range []struct {
		name, script string
		flags        []string
	}{
		{"find", "for i in 1 2 3 4 5 6 7 8; do find /usr > /dev/null; done", nil},
		{"apt dry run", "for i in 1 2 3 4 5 6 7 8; do apt-get -s check > /dev/null; done", nil},
		{"compile", `for i in 1 2 3 4; do printf '#include <stdio.h>\nint main(void) { return puts("x"); }\n' | gcc -O2 -x c -c -o /tmp/x.o -; done`, []string{"-v", host}},
	} {
		row, took, err := l.recordedJob(append(job.flags, l.image, "sh", "-c", job.script), rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", job.name, err)
		}
		fmt.Fprintf(out, "%s\t%s\n", job.name, row)
		if took > maxRecording {
			slow = append(slow, job.name)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if len(slow) > 0 {
		return fmt.Errorf("recording took more than %.1f times the run: %q", maxRecording, slow)
	}
	return nil
}

// recordedJob measures one job, in turn in each of the ways.
func (l *lab) recordedJob(args []string, rounds int) (row string, recorded float64, err error) {
	ways := [][]string{{l.minirun}, {l.minirun, "--record", l.path("recorded.json")}, {"strace", "-f", "-o", os.DevNull, l.minirun}}
	if _, err := exec.LookPath("strace"); err != nil {
		ways = ways[:2]
	}
	times := make([][]time.Duration, len(ways))
	for round := range rounds + 1 {
		for i, way := range ways {
			cmd := exec.Command(way[0], slices.Concat(way[1:], args)...)
			_, cpu, err := timed(cmd)
			if err != nil {
				return "", 0, err
			}
			if round > 0 { // the first fills caches
				times[i] = append(times[i], cpu)
			}
		}
	}
	recorded = ratio(times[1], times[0])
	row = fmt.Sprintf("%s\t%s\t%.2f", ms(median(times[0])), ms(median(times[1])), recorded)
	if len(times) < 3 {
		return row + "\tnot installed\t", recorded, nil
	}
	return fmt.Sprintf("%s\t%s\t%.2f", row, ms(median(times[2])), ratio(times[2], times[0])), recorded, nil
}
