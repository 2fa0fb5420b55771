// Bench launches /bin/true with minirun and with its peers, in turn within one run,
// each on an idle machine and under the same seccomp filter, and prints the medians
// and minirun's ratio to each. Quote the ratios: absolute times depend on the machine
// and its load. Then it prints the memory that minirun needs to pull some tarballs, two
// of which are made to need much.
//
//	bench -minirun PATH -image NAME [-n ROUNDS] [-old PATH] [-analysis]
//
// Last it times the analyses of profiles, beside an older build of minirun if one is
// given; -analysis does only that, and needs no root.
//
// Needs root. A peer that is not installed, or that cannot start a container here, is
// listed with the reason and skipped.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	minirun := flag.String("minirun", "./minirun", "the `binary` to measure")
	image := flag.String("image", "debian", "a local `image` that has /bin/true")
	rounds := flag.Int("n", 30, "`rounds`, each of which starts every peer once")
	old := flag.String("old", "", "another build of minirun: the `binary` to compare the analyses with")
	only := flag.Bool("analysis", false, "time the analyses of profiles only")
	flag.Parse()
	if err := bench(*minirun, *image, *old, *rounds, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(minirun, image, old string, rounds int, only bool) error {
	if only {
		dir, err := os.MkdirTemp("", "minirun-bench-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		return (&lab{minirun: minirun, dir: dir}).analyze(old, rounds)
	}
	// A signal ends the program being measured; the deferred functions clean up.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)

	lab, err := newLab(minirun, image)
	if err != nil {
		return err
	}
	defer lab.close()
	if err := launches(lab, rounds, interrupted); err != nil {
		return err
	}
	return lab.analyze(old, min(rounds, 5))
}

func launches(lab *lab, rounds int, interrupted <-chan os.Signal) error {
	var peers []*peer
	for _, p := range lab.peers() {
		if err := p.start(); err != nil {
			fmt.Printf("%s: left out: %v\n", p.name, err)
			continue
		}
		peers = append(peers, p)
	}
	for round := range rounds {
		for i := range peers { // each round starts with another one
			p := peers[(i+round)%len(peers)]
			if err := p.measure(); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			select {
			case <-interrupted:
				return errors.New("interrupted")
			default:
			}
		}
	}
	if err := report(peers); err != nil {
		return err
	}
	return lab.reportMemory()
}

// peer is one way to start /bin/true in a container.
type peer struct {
	name    string
	command func() *exec.Cmd
	before  func() error // not measured; may be nil
	wall    []time.Duration
	cpu     []time.Duration // of all processes that the command waited for
}

// start runs the peer once: it warms caches and shows whether it works here.
func (p *peer) start() error {
	if p.before != nil {
		if err := p.before(); err != nil {
			return err
		}
	}
	cmd := p.command()
	if cmd.Err != nil {
		return cmd.Err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %s", err, lines[len(lines)-1])
	}
	return nil
}

// settle is the time for the kernel, and a daemon, to remove the previous peer's
// container, so that each start is measured on an idle machine.
const settle = 50 * time.Millisecond

func (p *peer) measure() error {
	if p.before != nil {
		if err := p.before(); err != nil {
			return err
		}
	}
	cmd := p.command()
	time.Sleep(settle)
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return err
	}
	p.wall = append(p.wall, time.Since(begin))
	p.cpu = append(p.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	return nil
}

// report prints a row for each peer, and compares the first one with the others.
func report(peers []*peer) error {
	if len(peers) == 0 {
		return errors.New("nothing could be measured")
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\twall ms\tmin\tmax\tcpu ms\t%[1]s/peer wall\t%[1]s/peer cpu\t\n", peers[0].name)
	for _, p := range peers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.2f\t%.2f\t\n", p.name,
			ms(median(p.wall)), ms(slices.Min(p.wall)), ms(slices.Max(p.wall)), ms(median(p.cpu)),
			ratio(peers[0].wall, p.wall), ratio(peers[0].cpu, p.cpu))
	}
	return w.Flush()
}

// ratio returns the median of the ratios of each round: a drift of the machine's speed
// affects both sides of a ratio.
func ratio(a, b []time.Duration) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = float64(a[i]) / float64(max(b[i], 1))
	}
	return median(ratios)
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
