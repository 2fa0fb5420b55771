package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// pair are two machines: network namespaces with a veth between them. Nothing leaves them.
type pair struct {
	here, there int // PIDs of processes in them
	undo        []func()
}

func newPair() (p *pair, err error) {
	p = &pair{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for _, pid := range []*int{&p.here, &p.there} {
		holder := exec.Command("unshare", "--net", "cat") // which ends with its input
		in, err := holder.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := holder.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := holder.Start(); err != nil {
			return nil, err
		}
		p.undo = append(p.undo, func() { _, _ = in.Close(), holder.Wait() })
		if _, err := io.WriteString(in, "x"); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil { // it has its namespace
			return nil, err
		}
		*pid = holder.Process.Pid
	}
	for _, step := range []struct {
		pid  int
		args string
	}{
		{p.here, "link set lo up"},
		{p.here, "link add wan0 type veth peer name wan1 netns " + strconv.Itoa(p.there)},
		{p.here, "address add 192.0.2.1/24 dev wan0"},
		{p.here, "link set wan0 up"},
		{p.there, "address add 192.0.2.2/24 dev wan1"},
		{p.there, "link set wan1 up"},
		{p.here, "route add default via 192.0.2.2"},
	} {
		if out, err := in(step.pid, append([]string{"ip"}, strings.Fields(step.args)...)...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip %s: %w: %s", step.args, err, out)
		}
	}
	server := in(p.there, "iperf3", "--server")
	if err := server.Start(); err != nil {
		return nil, err
	}
	p.undo = append(p.undo, func() { _, _ = server.Process.Kill(), server.Wait() })
	return p, nil
}

func (p *pair) close() {
	for _, undo := range p.undo {
		undo()
	}
}

// in is a command in the network namespace of a process.
func in(pid int, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/proc/" + strconv.Itoa(pid) + "/ns/net"}, args...)...)
}

// networks measures starts with each network, and how much goes through: from a container
// to the other machine, and to a container by a published port.
func (l *lab) networks(rounds int) error {
	if _, err := exec.LookPath("iperf3"); err != nil {
		return fmt.Errorf("%w: make deps installs it", err)
	}
	p, err := newPair()
	if err != nil {
		return err
	}
	defer p.close()
	kinds := []string{"none", "host", "bridge", "slirp4netns", "pasta"}
	wall, err := l.networkStarts(p, kinds, rounds)
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "network\tstart ms\tto none\tout Mbit/s\tin Mbit/s\t-p out\t-p in\t\n")
	loopback := in(p.here, "iperf3", "--server")
	if err := loopback.Start(); err != nil {
		return err
	}
	row, err := throughput(func(flags ...string) *exec.Cmd { return in(p.here, client("127.0.0.1", flags...)...) })
	_, _ = loopback.Process.Kill(), loopback.Wait()
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	fmt.Fprintf(out, "no container, loopback\t-\t-\t%s\t-\t-\t\n", row)
	for i, kind := range kinds {
		through := "-\t-"
		if kind != "none" {
			if through, err = throughput(func(flags ...string) *exec.Cmd {
				return in(p.here, l.networked(kind, nil, client("192.0.2.2", flags...)...)...)
			}); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
		published := "-\t-"
		if kind != "host" {
			if published, err = l.published(p, kind); err != nil {
				return fmt.Errorf("%s, -p: %w", kind, err)
			}
		}
		fmt.Fprintf(out, "%s\t%s\t%+.1f\t%s\t%s\t\n", kind, ms(median(wall[i])), float64(median(wall[i])-median(wall[0]))/1e6, through, published)
	}
	return out.Flush()
}

// networked is a launch with a network of a program of this machine's: the image has none.
func (l *lab) networked(kind string, flags []string, args ...string) []string {
	return append(append([]string{l.minirun, "--network", kind, "-v", "/usr:/usr:ro"}, flags...), append([]string{l.image}, args...)...)
}

func client(address string, flags ...string) []string {
	return append([]string{"iperf3", "--client", address, "--time", "2", "--json"}, flags...)
}

// networkStarts measures starts, in turn with each network.
func (l *lab) networkStarts(p *pair, kinds []string, rounds int) ([][]time.Duration, error) {
	wall := make([][]time.Duration, len(kinds))
	for round := range rounds + 1 {
		for i, kind := range kinds {
			time.Sleep(settle)
			took, _, err := timed(in(p.here, l.minirun, "--network", kind, l.image, "/bin/true"))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", kind, err)
			}
			if round > 0 { // the first makes what stays
				wall[i] = append(wall[i], took)
			}
		}
	}
	return wall, nil
}

// throughput returns two cells: what goes out, and what comes in.
func throughput(command func(flags ...string) *exec.Cmd) (string, error) {
	out, err := mbits(command())
	if err != nil {
		return "", err
	}
	in, err := mbits(command("--reverse"))
	return fmt.Sprintf("%.0f\t%.0f", out, in), err
}

func mbits(cmd *exec.Cmd) (float64, error) {
	text, err := cmd.Output()
	var report struct {
		Error string
		End   struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if jerr := json.Unmarshal(text, &report); jerr == nil && report.Error != "" {
		err = errors.New(report.Error)
	}
	return report.End.Received.Bits / 1e6, err
}

// published measures a server in a container, from the machine that it runs on.
func (l *lab) published(p *pair, kind string) (string, error) {
	server := in(p.here, l.networked(kind, []string{"-p", "127.0.0.1:5202:5201"}, "iperf3", "--server")...)
	if err := server.Start(); err != nil {
		return "", err
	}
	defer func() {
		_, _ = server.Process.Signal(os.Interrupt), server.Wait()
	}()
	ask := func(flags ...string) *exec.Cmd {
		return in(p.here, client("127.0.0.1", append(flags, "--port", "5202")...)...)
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // until it listens
		if _, err := mbits(ask("--time", "1")); err == nil {
			break
		} else if time.Now().After(deadline) {
			return "", err
		}
		time.Sleep(settle)
	}
	return throughput(ask)
}
