package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// waiter is what waits for a container.
type waiter struct {
	name  string
	begin func() (pid int, end func() error, err error) // a process of it; after an error nothing is left to end
}

// waiters measures the processes that wait for a container: minirun's own, and conmon,
// which Podman and CRI-O have, with each of the runtimes; their work is done when the container
// runs. Those of containerd are with its clients' figures.
func (l *lab) waiters(runtimes []string) error {
	all := []*waiter{{"minirun", l.foreground}, {"minirun -d", l.background}}
	for _, r := range runtimes {
		all = append(all, &waiter{"conmon, " + filepath.Base(r) + version(r), func() (int, func() error, error) { return l.conmon(r) }})
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\nwaits for a container\town KiB\tRSS KiB\tthreads\t\n")
	layout := layouts(l.path("run"))[0]
	for _, waits := range all {
		err := layout.do(func() error {
			pid, end, err := waits.begin()
			if err != nil {
				return err
			}
			time.Sleep(settle) // until it has done what it does before it waits
			u, err := usageOf(pid)
			if err = errors.Join(err, end()); err == nil {
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t\n", waits.name, u.own, u.resident, u.threads)
			}
			return err
		})
		if err != nil {
			fmt.Printf("%s: left out: %v\n", waits.name, err)
		}
	}
	return w.Flush()
}

// foreground is minirun while its container runs.
func (l *lab) foreground() (pid int, end func() error, err error) {
	h, err := (&peer{command: l.own(l.minirun)}).hold()
	if err != nil {
		return 0, nil, err
	}
	return h.cmd.Process.Pid, h.release, nil
}

// background is minirun -d.
func (l *lab) background() (pid int, end func() error, err error) {
	id := l.id()
	begin := exec.Command(l.minirun, "--run-root", l.path("run/minirun"), "-d", "--name", id, l.image, "sleep", "1000")
	if out, err := begin.CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("%v: %w: %s", begin.Args, err, out)
	}
	end = func() error {
		return exec.Command(l.minirun, "--run-root", l.path("run/minirun"), "rm", "-f", id).Run()
	}
	out, err := exec.Command(l.minirun, "--run-root", l.path("run/minirun"), "inspect", "-f", "{{.State.Pid}}", id).Output()
	if err != nil {
		return 0, nil, errors.Join(err, end())
	}
	if pid, err = parentOf(string(out)); err != nil {
		return 0, nil, errors.Join(err, end())
	}
	return pid, end, nil
}

// conmon is what waits for a container that runtime has made.
func (l *lab) conmon(runtime string) (pid int, end func() error, err error) {
	id := l.id()
	dir, call := l.path("run/"+id), []string{runtime, "--root", l.path("run/conmon-" + filepath.Base(runtime))}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, nil, err
	}
	args := []string{
		"--api-version", "1", "-c", id, "-u", id, "-n", id, "-r", runtime, "-b", l.bundle("/bin/sleep"), "-p", filepath.Join(dir, "pid"),
		"-l", "k8s-file:" + filepath.Join(dir, "log"), "--exit-dir", dir, "--socket-dir-path", dir,
	}
	for _, arg := range call[1:] {
		args = append(args, "--runtime-arg", arg)
	}
	end = func() error { return exec.Command(call[0], append(call[1:], "delete", "--force", id)...).Run() }
	begin := exec.Command("conmon", args...)
	if out, err := begin.CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("%v: %w: %s", begin.Args, err, out)
	}
	text, err := await(filepath.Join(dir, "pid")) // conmon's child creates the container
	if err != nil {
		return 0, nil, errors.Join(err, end())
	}
	start := exec.Command(call[0], append(call[1:], "start", id)...)
	if out, err := start.CombinedOutput(); err != nil {
		return 0, nil, errors.Join(fmt.Errorf("%v: %w: %s", start.Args, err, out), end())
	}
	if pid, err = parentOf(text); err != nil {
		return 0, nil, errors.Join(err, end())
	}
	return pid, end, nil
}

// await returns the content of a file that is about to be written.
func await(path string) (string, error) {
	for begin := time.Now(); ; time.Sleep(settle) {
		text, err := os.ReadFile(path)
		if len(text) > 0 {
			return string(text), nil
		}
		if time.Since(begin) > time.Minute {
			return "", cmp.Or(err, fmt.Errorf("%s stays empty", path))
		}
	}
}

// parentOf returns the parent of a process, which is what waits for it.
func parentOf(pid string) (int, error) {
	values, err := numbers("/proc/" + strings.TrimSpace(pid) + "/status")
	return values["PPid"], err
}
