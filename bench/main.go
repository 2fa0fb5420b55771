// Bench starts /bin/true with minirun and with its peers, in turn within one run, and
// prints the medians and each one's ratio to crun. The peers have the same root, mounts
// and seccomp filter, and each start is on an idle machine or, for "8 at once", beside
// seven others. Quote the ratios: absolute times depend on the machine and its load.
//
// Starts, what an engine calls (create, start and delete) and what its users call (docker
// run and ctr run) are measured twice: with the cgroups of v1 and with those of v2, each
// mounted in a private mount namespace. A runtime that makes no container (testdata/empty.c)
// shows what of the latter is the engine's own time. Then come the memory of what waits for a container,
// starts by an ordinary user, starts while other containers run, starts on images of many
// layers, pulls of images, denied calls with --explain, runs with --record, networks, and,
// of minirun alone, the memory that it needs to pull some tarballs, two of which are made to
// need much, and the times of analyses.
//
//	bench -minirun PATH -image NAME [-crun PATH] [-old PATH] [-n ROUNDS] [-full] [-only PART]
//
// It needs root, except for -only analyses. A peer that is not installed, that cannot start
// a container here, or that hides its command's exit status, is listed with the reason and
// left out.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func main() {
	l := &lab{}
	flag.StringVar(&l.minirun, "minirun", "./minirun", "the `binary` to measure")
	flag.StringVar(&l.old, "old", "", "another build of minirun: the `binary` to compare with")
	flag.StringVar(&l.crun, "crun", "crun", "the crun to compare with")
	flag.StringVar(&l.image, "image", "debian", "a local `image` that has /bin/true, /bin/false and /bin/cat")
	rounds := flag.Int("n", 10, "`rounds`, each of which starts every peer once")
	full := flag.Bool("full", false, "500 containers beside, and a cold page cache: 3 minutes more")
	only := flag.String("only", "", "measure only `PART`: starts, engines, daemons, rootless, running, layers, pulls, denied, recording, networks or analyses")
	flag.Parse()
	if err := bench(l, *rounds, *full, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// errInterrupted ends a bench that a signal has ended: deferred functions clean up.
var errInterrupted = errors.New("interrupted")

func bench(l *lab, rounds int, full bool, only string) (err error) {
	// As all peers: what networks cost is a part of its own.
	if err := os.Setenv("MINIRUN_NETWORK", "none"); err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	for _, program := range []*string{&l.minirun, &l.old, &l.crun} {
		if path, err := exec.LookPath(*program); err == nil { // a layout has another working directory
			if *program, err = filepath.Abs(path); err != nil {
				return err
			}
		}
	}
	defer l.close()
	if err := l.makeDir(); err != nil {
		return err
	}
	if only != "analyses" && only != "denied" && only != "recording" && only != "networks" {
		if err := l.fill(); err != nil {
			return err
		}
	}
	parts := []struct {
		name    string
		measure func() error
	}{
		{"starts", func() error { return l.starts(rounds, full, interrupted) }},
		{"engines", func() error { return l.engines(rounds) }},
		{"daemons", func() error { return l.underDaemons(rounds) }},
		{"rootless", func() error { return l.rootless(rounds, interrupted) }},
		{"running", func() error { return l.running(rounds, full) }},
		{"layers", func() error { return l.layers(rounds) }},
		{"pulls", func() error { return errors.Join(l.pulls(min(rounds, 5), interrupted), l.reportMemory()) }},
		{"denied", func() error { return l.denied(min(rounds, 5)) }},
		{"recording", func() error { return l.recording(min(rounds, 5)) }},
		{"networks", func() error { return l.networks(rounds) }},
		{"analyses", func() error { return l.analyze(min(rounds, 5)) }},
	}
	for _, part := range parts {
		if only != "" && only != part.name {
			continue
		}
		if err := part.measure(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		if stopped(interrupted) {
			return errInterrupted
		}
	}
	return nil
}

func stopped(interrupted <-chan os.Signal) bool {
	select {
	case <-interrupted:
		return true
	default:
		return false
	}
}

// ratio returns the median of the ratios of each round: a drift of the machine's speed
// affects both sides of a ratio.
func ratio(a, b []time.Duration) float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
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

// compared is a ratio as text.
func compared(a, b []time.Duration) string {
	if len(a) == 0 || len(b) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", ratio(a, b))
}
