package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// ociRuntime is a runtime as an engine calls it: create, start and delete, each a process of
// its own.
type ociRuntime struct {
	name string
	call []string // the program and its first arguments

	wall, cpu []time.Duration // create, start and delete, by round
	crowds    []time.Duration // many created and started at once
	own, rss  int             // KiB of a created container, whose init waits
}

// crowded is how many containers are started at once.
const crowded = 100

// engines measures what engines call, in each layout of cgroups. What comes between the calls
// is not counted.
func (l *lab) engines(rounds int) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "create+start+delete\twall ms\tcpu ms\twall/crun\twall/runc\tcpu/runc\t%d at once, s\twaits: own KiB\tRSS KiB\t\n", crowded)
	link := l.path("minirun-runtime")
	if err := os.Symlink(l.minirun, link); err != nil {
		return err
	}
	for _, layout := range layouts(l.path("run")) {
		var all []*ociRuntime
		for _, program := range []string{link, l.crun, "runc"} {
			r := &ociRuntime{name: filepath.Base(program) + version(program)}
			r.call = []string{program, "--root", l.path("run/engine-" + filepath.Base(program))}
			if err := layout.do(func() error { return l.cycle(r, true) }); err != nil {
				fmt.Printf("%s, cgroup %s: left out: %v\n", r.name, layout.name, err)
				continue
			}
			r.wall, r.cpu = nil, nil
			all = append(all, r)
		}
		for round := range rounds {
			for i := range all {
				time.Sleep(settle)
				if err := layout.do(func() error { return l.cycle(all[(i+round)%len(all)], false) }); err != nil {
					return err
				}
			}
		}
		for range 3 { // the kernel may be busy with the network namespaces of those before
			for _, r := range all {
				if err := l.atOnce(layout, r); err != nil {
					return err
				}
			}
		}
		enginesTable(w, layout, all)
	}
	return w.Flush()
}

func enginesTable(w *tabwriter.Writer, layout *layout, all []*ociRuntime) {
	of := func(name string) *ociRuntime {
		if i := slices.IndexFunc(all, func(r *ociRuntime) bool { return strings.HasPrefix(r.name, name) }); i >= 0 {
			return all[i]
		}
		return &ociRuntime{}
	}
	fmt.Fprintf(w, "cgroup %s\t\t\t\t\t\t\t\t\t\n", layout.name)
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%.1f\t%d\t%d\t\n", r.name, ms(median(r.wall)), ms(median(r.cpu)),
			compared(r.wall, of("crun").wall), compared(r.wall, of("runc").wall), compared(r.cpu, of("runc").cpu), slices.Min(r.crowds).Seconds(), r.own, r.rss)
	}
}

// run runs a verb. A container keeps the standard files, which are none of ours.
func (r *ociRuntime) run(args ...string) (wall, cpu time.Duration, err error) {
	cmd := exec.Command(r.call[0], slices.Concat(r.call[1:], args)...)
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		cmd = exec.Command(cmd.Path, cmd.Args[1:]...)
		var said bytes.Buffer
		cmd.Stderr = &said
		cmd.WaitDelay = time.Second
		_ = cmd.Run() // again, for what it says
		return 0, 0, fmt.Errorf("%v: %w: %s", args, err, bytes.TrimSpace(said.Bytes()))
	}
	return time.Since(begin), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// cycle is one container's life.
func (l *lab) cycle(r *ociRuntime, first bool) error {
	id := fmt.Sprintf("bench-%d-%d", os.Getpid(), l.next.Add(1))
	pidFile := l.path("run/" + id)
	wall, cpu, err := r.run("create", "--bundle", l.bundle("/bin/true"), "--pid-file", pidFile, id)
	if err != nil {
		return err
	}
	pidfd, pid, err := openPIDFile(pidFile)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	if first {
		values, err := numbers(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return err
		}
		r.own, r.rss = values["Pss_Anon"], values["Rss"]
	}
	wall2, cpu2, err := r.run("start", id)
	if err != nil {
		return err
	}
	if err := ended(pidfd); err != nil {
		return err
	}
	wall3, cpu3, err := r.run("delete", id)
	r.wall, r.cpu = append(r.wall, wall+wall2+wall3), append(r.cpu, cpu+cpu2+cpu3)
	return err
}

func openPIDFile(name string) (pidfd, pid int, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, err
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		return 0, 0, err
	}
	pidfd, err = unix.PidfdOpen(pid, 0)
	return pidfd, pid, os.NewSyscallError("pidfd_open", err)
}

// ended waits for the end of a process. Its parent is not this one.
func ended(pidfd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
		if err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
}

// atOnce creates and starts many containers at the same time, and then ends them.
func (l *lab) atOnce(layout *layout, r *ociRuntime) error {
	errs := make([]error, crowded)
	ids := make([]string, crowded)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range errs {
		ids[i] = fmt.Sprintf("bench-%d-%d", os.Getpid(), l.next.Add(1))
		all.Go(func() {
			errs[i] = layout.do(func() error {
				if _, _, err := r.run("create", "--bundle", l.bundle("/bin/true"), ids[i]); err != nil {
					return err
				}
				_, _, err := r.run("start", ids[i])
				return err
			})
		})
	}
	all.Wait()
	r.crowds = append(r.crowds, time.Since(begin))
	err := errors.Join(errs...)
	return errors.Join(err, layout.do(func() error {
		for _, id := range ids {
			_, _, derr := r.run("delete", "--force", id)
			err = errors.Join(err, derr)
		}
		return err
	}))
}
