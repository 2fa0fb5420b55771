package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// daemon is an engine that calls OCI runtimes: a client asks it for containers.
type daemon struct {
	name    string
	command []string
	ready   []string
	prepare func() error
	client  func(runtime, id string, detach bool, command ...string) []string
	remove  func(id string) []string
}

// runtimeName is the name of a runtime for dockerd.
func runtimeName(program string) string { return "bench-" + filepath.Base(program) }

func (l *lab) daemons(runtimes []string) []*daemon {
	docker, containerd := "unix://"+l.path("run/docker.sock"), l.path("run/containerd.sock")
	dockerd := []string{
		"dockerd", "-H", docker, "--iptables=false", "--ip6tables=false", "--bridge=none", "--data-root", l.path("run/docker"),
		"--exec-root", l.path("run/docker-exec"), "--pidfile", l.path("run/docker.pid"),
	}
	for _, r := range runtimes {
		dockerd = append(dockerd, "--add-runtime", runtimeName(r)+"="+r)
	}
	ctr := []string{"ctr", "-a", containerd}
	return []*daemon{
		{
			name: "docker run", command: dockerd, ready: []string{"docker", "-H", docker, "version"},
			prepare: func() error { return importTo(l.path("rootfs"), "docker", "-H", docker) },
			client: func(runtime, id string, detach bool, command ...string) []string {
				args := []string{"docker", "-H", docker, "run", "--name", id, "--network", "none", "--runtime", runtimeName(runtime)}
				if detach {
					args = append(args, "-d")
				} else {
					args = append(args, "--rm")
				}
				return slices.Concat(args, []string{benchImage}, command)
			},
			remove: func(id string) []string { return []string{"docker", "-H", docker, "rm", "-f", id} },
		},
		{
			name: "ctr run", command: []string{"containerd", "-c", l.path("run/containerd.toml")}, ready: slices.Concat(ctr, []string{"version"}),
			prepare: func() error { return nil },
			client: func(runtime, id string, detach bool, command ...string) []string {
				args := slices.Concat(ctr, []string{"run", "--seccomp", "--runc-binary", runtime, "--rootfs"})
				if detach {
					args = append(args, "-d")
				} else {
					args = append(args, "--rm")
				}
				return slices.Concat(args, []string{l.path("rootfs"), id}, command)
			},
			remove: func(id string) []string { return slices.Concat(ctr, []string{"task", "delete", "-f", id}) },
		},
	}
}

// underDaemons measures containers as users of engines start them, in each layout of cgroups.
func (l *lab) underDaemons(rounds int) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\nby an engine's client\twall ms\twall/crun\twall/runc\tits own/crun\tits own/runc\tshim waits: own KiB\t\n")
	link := l.path("minirun-runtime")
	if err := os.Symlink(l.minirun, link); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	runtimes := []string{link, l.crun, runc, l.path("empty-runtime")}
	if err := compile("empty.c", runtimes[3]); err != nil {
		return err
	}
	for _, layout := range layouts(l.path("run")) {
		for _, d := range l.daemons(runtimes) {
			err := layout.do(func() error { return l.underDaemon(w, layout.name, d, runtimes, rounds) })
			if err != nil {
				fmt.Printf("%s, cgroup %s: left out: %v\n", d.name, layout.name, err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return l.waiters(runtimes[:2])
}

func (l *lab) underDaemon(w *tabwriter.Writer, layout string, d *daemon, runtimes []string, rounds int) error {
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n",
		l.path("run/containerd"), l.path("run/containerd-state"), l.path("run/containerd.sock"))
	if err := os.WriteFile(l.path("run/containerd.toml"), []byte(config), 0o600); err != nil {
		return err
	}
	stop, err := d.start()
	if err != nil {
		return err
	}
	defer stop()
	if err := d.prepare(); err != nil {
		return err
	}
	walls, own := make([][]time.Duration, len(runtimes)), make([]int, len(runtimes))
	for i, r := range runtimes[:3] { // the last has nothing that waits
		if own[i], err = d.waiting(r, l.id()); err != nil {
			return err
		}
	}
	for round := range rounds {
		for k := range runtimes {
			i := (k + round) % len(runtimes)
			time.Sleep(settle)
			args := d.client(runtimes[i], l.id(), false, "/bin/true")
			wall, _, err := timed(exec.Command(args[0], args[1:]...))
			if err != nil {
				return err
			}
			walls[i] = append(walls[i], wall)
		}
	}
	fmt.Fprintf(w, "%s, cgroup %s\t\t\t\t\t\t\t\n", d.name, layout)
	for i, r := range runtimes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n", filepath.Base(r)+version(r), ms(median(walls[i])), compared(walls[i], walls[1]), compared(walls[i], walls[2]),
			share(walls[i], walls[1], walls[3]), share(walls[i], walls[2], walls[3]), own[i])
	}
	return nil
}

// share is the ratio of what two runtimes add to the time that an engine takes without a container. Medians are
// subtracted, since rounds differ by more than what a runtime adds.
func share(a, b, engine []time.Duration) string {
	added, compared := median(a)-median(engine), median(b)-median(engine)
	if compared <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(added)/float64(compared))
}

func (l *lab) id() string { return fmt.Sprintf("bench-%d-%d", os.Getpid(), l.next.Add(1)) }

// start starts the daemon and waits until it answers.
func (d *daemon) start() (stop func(), err error) {
	cmd := exec.Command(d.command[0], d.command[1:]...)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	for begin := time.Now(); exec.Command(d.ready[0], d.ready[1:]...).Run() != nil; time.Sleep(settle) {
		if time.Since(begin) > time.Minute {
			stop()
			return nil, fmt.Errorf("%s does not answer", d.command[0])
		}
	}
	return stop, nil
}

// waiting returns how much memory of their own, in KiB, the processes have that hold a container which waits.
func (d *daemon) waiting(runtime, id string) (own int, err error) {
	args := d.client(runtime, id, true, "/bin/sleep", "1000")
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%v: %w: %s", args, err, out)
	}
	defer func() {
		args := d.remove(id)
		_ = exec.Command(args[0], args[1:]...).Run()
	}()
	if number := strings.TrimSpace(string(out)); number != "" { // dockerd's own identifier
		id = number
	}
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		text, _ := os.ReadFile(file) // it may have ended
		if words := strings.Split(string(text), "\x00"); strings.Contains(words[0], "containerd-shim") && slices.Contains(words, id) {
			values, err := numbers(filepath.Join(filepath.Dir(file), "smaps_rollup"))
			own += values["Pss_Anon"]
			if err != nil {
				return 0, err
			}
		}
	}
	return own, nil
}
