package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"text/tabwriter"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	oci "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// running measures starts while other containers of the same runtime run.
func (l *lab) running(rounds int, full bool) error {
	found := layouts(l.path("run"))
	if len(found) == 0 {
		return nil
	}
	layout := found[len(found)-1]
	counts := []int{0, 1, 100}
	if full {
		counts = append(counts, 500)
	}
	peers, err := working(layout, slices.DeleteFunc(l.peers(layout), func(p *peer) bool {
		return p.name != "minirun" && p.name != "minirun, -old" && !isCrun(p)
	}))
	if err != nil {
		return err
	}
	w := growthTable("running, cgroup " + layout.name)
	first := map[string]*peer{}
	for _, count := range counts {
		for _, p := range peers {
			p.wall, p.cpu = nil, nil
			err := p.crowd(layout, count, func() error {
				for range rounds {
					if err := layout.do(p.measure); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			growthRow(w, first, p, count)
		}
	}
	return w.Flush()
}

func growthTable(of string) *tabwriter.Writer {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%s\t\twall ms\tcpu ms\twall/first\tcpu/first\t\n", of)
	return w
}

// growthRow compares a row with the first of the same peer.
func growthRow(w *tabwriter.Writer, first map[string]*peer, p *peer, count int) {
	if first[p.name] == nil {
		begin := *p
		first[p.name] = &begin
	}
	base := first[p.name]
	fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t\n", count, p.name, ms(median(p.wall)), ms(median(p.cpu)), compared(p.wall, base.wall), compared(p.cpu, base.cpu))
}

// layers measures starts on images of many layers, from an OCI layout.
func (l *lab) layers(rounds int) error {
	counts := []int{1, 20, 100}
	if err := l.writeImages(counts); err != nil {
		return err
	}
	var peers []*peer
	for _, count := range counts {
		image := fmt.Sprintf("oci:%s:%d", l.path("layout"), count)
		peers = append(peers, &peer{name: "minirun", command: func(args ...string) *exec.Cmd {
			return exec.Command(l.minirun, append([]string{"--root", l.path("store"), image}, args...)...)
		}})
	}
	for _, p := range peers {
		if err := p.start(); err != nil {
			return err
		}
	}
	for range rounds {
		for _, p := range peers {
			if err := p.measure(); err != nil {
				return err
			}
		}
	}
	w := growthTable("layers")
	first := map[string]*peer{}
	for i, p := range peers {
		growthRow(w, first, p, counts[i])
	}
	return w.Flush()
}

// writeImages writes an OCI layout with an image of each count of layers.
func (l *lab) writeImages(counts []int) error {
	base := l.path("base.tar")
	if out, err := exec.Command("tar", "-C", l.path("rootfs"), "-cf", base, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	layer, err := tarball.LayerFromFile(base, tarball.WithCompression(compression.None))
	if err != nil {
		return err
	}
	layout, err := oci.Write(l.path("layout"), empty.Index)
	if err != nil {
		return err
	}
	all := []v1.Layer{layer}
	for _, count := range counts {
		for len(all) < count {
			more, err := smallLayer(len(all))
			if err != nil {
				return err
			}
			all = append(all, more)
		}
		image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux"})
		if err != nil {
			return err
		}
		if image, err = mutate.AppendLayers(image, all...); err != nil {
			return err
		}
		tag := oci.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": fmt.Sprint(count)})
		if err := layout.AppendImage(image, tag); err != nil {
			return err
		}
	}
	return nil
}

// smallLayer is a layer with one file.
func smallLayer(number int) (v1.Layer, error) {
	data, err := pack(func(w *tar.Writer) error {
		return headers(w, 1, func(int) *tar.Header { return &tar.Header{Name: fmt.Sprint("layer", number), Mode: 0o644} })
	})
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
}
