package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// pulls compares pulling and unpacking two images: the image of the lab as one layer,
// and the same with eleven layers of 21 MB of small files on top. They come from
// Debian's docker-registry on the loopback. The floor is tar(1), which unpacks the
// same layers one after the other.
//
// Each pull is on a file system of its own: ext4 looks long for inodes where others were
// removed shortly before. minirun syncs what it has unpacked and its peers do not, so each
// row has two times: until the command ends, and until the file system is synced as well.
// dockerd keeps to its own place.
func (l *lab) pulls(rounds int, interrupted <-chan os.Signal) error {
	registry, stop, err := l.startRegistry()
	if err != nil {
		fmt.Printf("\npulls: left out: %v\n", err)
		return nil
	}
	defer stop()
	layers, err := l.packLayers()
	if err != nil {
		return err
	}
	for _, image := range []struct {
		name   string
		layers []string
	}{{"one-layer", layers[:1]}, {"twelve-layers", layers}} {
		ref := registry + "/bench/" + image.name + ":latest"
		if err := pushImage(ref, image.layers); err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
		if err := l.pull(ref, image.layers, rounds, interrupted); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) pull(ref string, layers []string, rounds int, interrupted <-chan os.Signal) error {
	all := l.pullers(ref, layers)
	var peers []*puller
	for _, p := range all {
		if err := p.measure(l); err != nil { // warms caches
			fmt.Printf("%s: left out: %v\n", p.name, err)
			continue
		}
		p.wall, p.synced = nil, nil
		peers = append(peers, p)
	}
	if len(peers) == 0 || peers[0] != all[0] {
		return errors.New("minirun cannot pull")
	}
	for round := range rounds {
		for i := range peers {
			p := peers[(i+round)%len(peers)]
			if err := p.measure(l); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if stopped(interrupted) {
				return errInterrupted
			}
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\npull and unpack of %d layers\twall ms\tand synced\tminirun/peer\tand synced\t\n", len(layers))
	for _, p := range peers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.2f\t%.2f\t\n", p.name, ms(median(p.wall)), ms(median(p.synced)),
			ratio(peers[0].wall, p.wall), ratio(peers[0].synced, p.synced))
	}
	return w.Flush()
}

// puller is one way to get an image unpacked: commands that run one after the other,
// and one that may fail, before and afterwards.
type puller struct {
	name         string
	commands     [][]string
	undo         []string
	wall, synced []time.Duration
}

// pullers returns the ways to pull an image, minirun first.
func (l *lab) pullers(ref string, layers []string) []*puller {
	dir := l.path("pulled/store")
	podman := []string{"podman", "--root", dir, "--runroot", l.path("pulled/run"), "--storage-driver", "overlay"}
	floor := &puller{name: "tar xzf"}
	for i, layer := range layers {
		to := filepath.Join(dir, fmt.Sprint(i))
		floor.commands = append(floor.commands, []string{"mkdir", "-p", to}, []string{"tar", "-C", to, "-xpzf", layer})
	}
	return []*puller{
		{name: "minirun", commands: [][]string{{l.minirun, "--root", dir, "pull", "-q", ref}}},
		{name: "podman", commands: [][]string{append(podman, "pull", "-q", "--tls-verify=false", ref)}, undo: append(podman, "rmi", "-a", "-f")},
		{name: "skopeo and umoci", commands: [][]string{
			{"skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + ref, "oci:" + dir + ":bench"},
			{"umoci", "unpack", "--image", dir + ":bench", filepath.Join(dir, "bundle")},
		}},
		{name: "docker", commands: [][]string{{"docker", "pull", "-q", ref}}, undo: []string{"docker", "rmi", "-f", ref}},
		floor,
	}
}

func (p *puller) measure(l *lab) error {
	p.clean()
	unmount, err := l.mountFresh()
	if err != nil {
		return err
	}
	defer unmount()
	defer p.clean()
	begin := time.Now()
	for _, args := range p.commands {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", args[0], err, lastLine(out))
		}
	}
	p.wall = append(p.wall, time.Since(begin))
	if err := syncDisk(l.path("pulled")); err != nil {
		return err
	}
	p.synced = append(p.synced, time.Since(begin))
	return nil
}

func (p *puller) clean() {
	if len(p.undo) > 0 {
		_ = exec.Command(p.undo[0], p.undo[1:]...).Run() // there may be nothing
	}
}

// mountFresh mounts a new file system.
func (l *lab) mountFresh() (unmount func(), err error) {
	disk, dir := l.path("disk"), l.path("pulled")
	unmount = func() {
		_ = unix.Unmount(filepath.Join(dir, "store", "overlay"), unix.MNT_DETACH) // podman's
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		_ = os.Remove(disk)
	}
	for _, args := range [][]string{
		{"truncate", "-s", "8G", disk},
		{"mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", disk},
		{"mkdir", "-p", dir},
		{"mount", "-o", "loop", disk, dir},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			unmount()
			return nil, fmt.Errorf("%s: %w: %s", args[0], err, lastLine(out))
		}
	}
	return unmount, syncDisk(l.dir)
}

func syncDisk(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// startRegistry starts Debian's docker-registry on a free port of the loopback.
func (l *lab) startRegistry() (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = listener.Addr().String()
	if err := listener.Close(); err != nil { // the registry takes it over
		return "", nil, err
	}
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n",
		l.path("registry"), address)
	if err := os.WriteFile(l.path("registry.yml"), []byte(config), 0o600); err != nil {
		return "", nil, err
	}
	command := exec.Command("docker-registry", "serve", l.path("registry.yml"))
	if err := command.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(settle) {
		if c, err := net.Dial("tcp", address); err == nil {
			return address, stop, c.Close()
		}
	}
	stop()
	return "", nil, errors.New("docker-registry does not answer")
}

// packLayers writes the layers of the images, packed with gzip.
func (l *lab) packLayers() ([]string, error) {
	base := l.path("layer-0.tar.gz")
	if out, err := exec.Command("tar", "-C", l.path("rootfs"), "-czf", base, ".").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("tar: %w: %s", err, lastLine(out))
	}
	layers := []string{base}
	for i := 1; i < 12; i++ {
		packed, err := pack(func(w *tar.Writer) error { return smallFiles(w, i) })
		if err != nil {
			return nil, err
		}
		layers = append(layers, l.path(fmt.Sprintf("layer-%d.tar.gz", i)))
		if err := os.WriteFile(layers[i], packed, 0o600); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

// smallFiles writes 21 MB in files of up to 8 KiB, whose bytes are like those of text.
func smallFiles(w *tar.Writer, layer int) error {
	random := rand.New(rand.NewPCG(uint64(layer), 0))
	words := make([]byte, 64<<10)
	for i := range words {
		words[i] = "etaoin shrdlu\n"[random.IntN(14)]
	}
	for i, left := 0, 21<<20; left > 0; i++ {
		content := words[random.IntN(len(words)/2):][:min(left, 1+random.IntN(8<<10))]
		left -= len(content)
		h := tar.Header{Name: fmt.Sprintf("opt/layer%d/%d/%d", layer, i/100, i), Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1700000000, 0)}
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		if _, err := io.Copy(w, bytes.NewReader(content)); err != nil {
			return err
		}
	}
	return nil
}

func pushImage(ref string, files []string) error {
	image := empty.Image
	for _, file := range files {
		layer, err := tarball.LayerFromFile(file, tarball.WithCompressionLevel(gzip.DefaultCompression))
		if err != nil {
			return err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	return remote.Write(parsed, image)
}
