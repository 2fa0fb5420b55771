package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// starts measures single starts, batches, and what waits for a container, in each
// layout of cgroups.
func (l *lab) starts(rounds int, full bool, interrupted <-chan os.Signal) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\twall ms\tmin\tcpu ms\t%d at once\twall/crun\tcpu/crun\tat once/crun\town KiB\tRSS KiB\tthreads\t\n", width)
	for _, layout := range layouts(l.path("run")) {
		peers := l.peers(layout)
		if full {
			peers = append(peers, uncached(peers)...)
		}
		peers, err := working(layout, peers)
		if err != nil {
			return err
		}
		if err := inTurn(peers, rounds, interrupted, func(p *peer) error {
			return layout.do(p.measure)
		}); err != nil {
			return err
		}
		if err := together(layout, peers); err != nil {
			return err
		}
		table(w, layout, peers)
	}
	return w.Flush()
}

// inTurn measures each peer once in each round. Each round starts with another one.
func inTurn(peers []*peer, rounds int, interrupted <-chan os.Signal, measure func(*peer) error) error {
	for round := range rounds {
		for i := range peers {
			p := peers[(i+round)%len(peers)]
			if p.slow && round%seldom != 0 {
				continue
			}
			if err := measure(p); err != nil {
				return err
			}
			if stopped(interrupted) {
				return errInterrupted
			}
		}
	}
	return nil
}

// working returns those that start containers in a layout.
func working(layout *layout, peers []*peer) (working []*peer, err error) {
	for _, p := range peers {
		err := layout.do(p.start)
		if errors.Is(err, errLeftOut) {
			fmt.Printf("%s, cgroup %s: %v\n", p.name, layout.name, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		working = append(working, p)
	}
	if len(working) == 0 {
		return nil, errors.New("nothing can be measured")
	}
	return working, nil
}

// uncached are minirun and crun with nothing of them in the page cache.
func uncached(peers []*peer) (cold []*peer) {
	for _, p := range peers {
		if p.name == "minirun" || isCrun(p) {
			cold = append(cold, &peer{name: p.name + ", cold page cache", command: p.command, before: dropPages, slow: true})
		}
	}
	return cold
}

func isCrun(p *peer) bool { return strings.HasPrefix(p.name, "crun") && !strings.Contains(p.name, ",") }

// dropPages empties the page cache (proc_sys_vm(5), drop_caches).
func dropPages() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

// together measures batches, and what waits for a container. Both are without what
// comes before a start.
func together(layout *layout, peers []*peer) error {
	const batches, count = 3, 24
	for range batches {
		for _, p := range peers {
			if p.before != nil || p.slow {
				continue
			}
			if err := p.batch(layout, count); err != nil {
				return err
			}
		}
	}
	for _, p := range peers {
		if err := layout.do(p.wait); err != nil {
			return err
		}
	}
	return nil
}

// table prints a row for each peer, compared with crun. Memory and threads are those of
// the processes that wait for a container; "8 at once" is the time a start takes then.
func table(w *tabwriter.Writer, layout *layout, peers []*peer) {
	base := &peer{}
	if i := slices.IndexFunc(peers, isCrun); i >= 0 {
		base = peers[i]
	}
	fmt.Fprintf(w, "cgroup %s\t\t\t\t\t\t\t\t\t\t\t\n", layout.name)
	for _, p := range peers {
		cpu, perCPU := ms(median(p.cpu)), compared(p.cpu, p.same(base.cpu))
		if p.remote {
			cpu, perCPU = "-", "-"
		}
		batch := "-"
		if len(p.batches) > 0 {
			batch = ms(median(p.batches))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t\n", p.name,
			ms(median(p.wall)), ms(slices.Min(p.wall)), cpu, batch,
			compared(p.wall, p.same(base.wall)), perCPU, compared(p.batches, base.batches),
			p.waiting.own, p.waiting.resident, p.waiting.threads)
	}
}
