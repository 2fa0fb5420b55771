package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// benchUser is an ordinary user that is created to start containers.
const benchUser = "minirun-bench"

// rootless measures starts by an ordinary user beside podman's and bwrap's, and by root.
func (l *lab) rootless(rounds int, interrupted <-chan os.Signal) error {
	if out, err := exec.Command("useradd", "--create-home", benchUser).CombinedOutput(); err != nil {
		return fmt.Errorf("useradd: %w: %s", err, bytes.TrimSpace(out))
	}
	as, home, err := asUser(benchUser)
	defer func() {
		if as != nil {
			_ = as("podman", "system", "migrate").Run() // ends the process that keeps its namespace
		}
		_ = exec.Command("userdel", "--force", "--remove", benchUser).Run()
	}()
	if err != nil {
		return err
	}
	var working []*peer
	// What Podman's starts leave to be written slows others: minirun's come first.
	for _, group := range []func(as func(args ...string) *exec.Cmd, home string) ([]*peer, error){l.usersPeers, l.podmans} {
		peers, err := group(as, home)
		if err != nil {
			return err
		}
		if peers, err = able(peers); err != nil {
			return err
		}
		if err := inTurn(peers, rounds, interrupted, (*peer).measure); err != nil {
			return err
		}
		working = append(working, peers...)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "as a user\twall ms\tcpu ms\twall/minirun as root\t\n")
	for _, p := range working {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\n", p.name, ms(median(p.wall)), ms(median(p.cpu)), compared(p.wall, p.same(working[0].wall)))
	}
	return w.Flush()
}

// asUser returns what runs a program as a user, and the user's directory.
func asUser(name string) (as func(args ...string) *exec.Cmd, home string, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, "", err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, "", err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, "", err
	}
	run := filepath.Join(u.HomeDir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		return nil, "", err
	}
	return func(args ...string) *exec.Cmd {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = u.HomeDir
		cmd.Env = []string{"HOME=" + u.HomeDir, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + run, "MINIRUN_NETWORK=" + os.Getenv("MINIRUN_NETWORK")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		return cmd
	}, u.HomeDir, os.Chown(run, int(uid), int(gid))
}

// able returns the peers that start containers.
func able(peers []*peer) (able []*peer, err error) {
	for _, p := range peers {
		if err := p.start(); errors.Is(err, errLeftOut) {
			fmt.Printf("%s: %v\n", p.name, err)
		} else if err != nil {
			return nil, err
		} else {
			able = append(able, p)
		}
	}
	return able, nil
}

// usersArchive is the image in a user's directory.
func usersArchive(home string) string { return filepath.Join(home, "image.tar") }

// usersPeers are minirun as root and as the user, and bwrap, with the same image. The first
// is the base of the ratios.
func (l *lab) usersPeers(as func(args ...string) *exec.Cmd, home string) ([]*peer, error) {
	// The program is in a directory of its own: overlayfs, which seals it, takes no layer that is below another.
	program, archive, root := filepath.Join(home, "bin", "minirun"), usersArchive(home), filepath.Join(home, "root")
	for _, args := range [][]string{
		{"mkdir", filepath.Dir(program)},
		{"cp", l.minirun, program},
		{l.minirun, "save", "--output", archive, l.image},
		{"cp", "-a", l.path("rootfs"), root},
		{"chmod", "a+rX", archive, root},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%v: %w: %s", args, err, bytes.TrimSpace(out))
		}
	}
	if out, err := as(program, "load", "--quiet", "--input", archive).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("minirun load: %w: %s", err, bytes.TrimSpace(out))
	}
	unix.Sync() // or the kernel writes all that while starts are measured
	return []*peer{
		{name: "minirun as root", command: func(args ...string) *exec.Cmd {
			return exec.Command(l.minirun, append([]string{l.image}, args...)...)
		}},
		{name: "minirun", command: behind(as, program, l.image)},
		{name: "bwrap" + version("bwrap"), command: behind(as, "bwrap", "--unshare-all", "--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev")},
	}, nil
}

// podmans are the user's Podman with each runtime.
func (l *lab) podmans(as func(args ...string) *exec.Cmd, home string) (peers []*peer, err error) {
	_ = as("podman", "load", "--quiet", "--input", usersArchive(home)).Run() // where that fails, so does its first start
	for _, runtime := range []string{l.crun, "runc"} {
		peers = append(peers, &peer{
			name:    "podman" + version("podman") + " with " + filepath.Base(runtime),
			slow:    true,
			command: behind(as, "podman", "--cgroup-manager", "cgroupfs", "--runtime", runtime, "run", "--rm", "-i", "--network", "none", l.image),
		})
	}
	return peers, nil
}

// behind puts the words of a launch in front of a command.
func behind(as func(args ...string) *exec.Cmd, front ...string) func(args ...string) *exec.Cmd {
	return func(args ...string) *exec.Cmd { return as(append(front[:len(front):len(front)], args...)...) }
}
