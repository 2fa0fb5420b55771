package cli

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/minirun/minirun/rootfs"
)

const someLayer = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// newTestProgress returns a progress whose clock advances by a second at each look.
func newTestProgress(image string, terminal bool, width int) (*progress, *bytes.Buffer) {
	var out bytes.Buffer
	clock := time.Unix(0, 0)
	p := &progress{
		ui:     &ui{w: &out, terminal: terminal, width: func() int { return width }, height: func() int { return 5 }},
		image:  image,
		layers: map[string]rootfs.Event{},
		now: func() time.Time {
			clock = clock.Add(time.Second)
			return clock
		},
	}
	return p, &out
}

// What is drawn fits on the terminal, however narrow that is.
func TestProgressWidths(t *testing.T) {
	for _, image := range []string{"debian", "/home/somebody/images/a-rather-long-name.tar.gz", "registry.example.com:5000/größe/tool:v1"} {
		for width := 8; width < 200; width++ {
			p, _ := newTestProgress(image, true, width)
			p.report(rootfs.Event{Layer: someLayer, Status: "unpacking", Done: 12e6, Total: 48e6})
			p.report(rootfs.Event{Layer: "2", Status: "exists", Done: 1e6, Total: 1e6})
			if len(p.ui.drawn) != 3 {
				t.Fatalf("%d columns: %q", width, p.ui.drawn)
			}
			for _, got := range p.ui.drawn {
				if utf8.RuneCountInString(got) >= width || !utf8.ValidString(got) {
					t.Errorf("%d columns: %q", width, got)
				}
			}
			got := p.ui.drawn[2]
			if width >= 20 && !strings.Contains(got, "13MB/49MB") {
				t.Errorf("%d columns: %q does not say how much", width, got)
			}
			if width >= 40 && !strings.Contains(got, "MB/s") {
				t.Errorf("%d columns: %q does not say how fast", width, got)
			}
		}
	}
}

func TestProgressOnTerminal(t *testing.T) {
	p, out := newTestProgress("debian", true, 120)
	p.report(rootfs.Event{Layer: someLayer, Status: "pulling", Done: 12e6, Total: 48e6})
	p.report(rootfs.Event{Layer: "2", Status: "exists", Done: 1e6, Total: 1e6})
	want := []string{
		"0123456789ab [======>                 ] 12MB/48MB", "2 already in the store",
		"pull debian [======>                 ] 13MB/49MB, 3MB/s, 12s left, 1 of 2 layers",
	}
	if !slices.Equal(p.ui.drawn, want) {
		t.Errorf("%q, want %q", p.ui.drawn, want)
	}
	p.done(nil)
	if want := "pulled debian: 12MB in 5.0 s\n"; !strings.HasSuffix(out.String(), fmt.Sprintf(clearBelow, 2)+want) {
		t.Errorf("%q does not end with %q", out, want)
	}
}

// A terminal of 5 rows shows the layers that are not finished.
func TestProgressRows(t *testing.T) {
	p, _ := newTestProgress("debian", true, 120)
	for i, status := range []string{"pulling", "done", "exists", "pulling", "done", "pulling"} {
		p.report(rootfs.Event{Layer: fmt.Sprint(i), Status: status, Done: 1e6, Total: 2e6})
	}
	var got []string
	for _, line := range p.ui.drawn {
		got = append(got, line[:1])
	}
	if want := []string{"0", "3", "5", "p"}; !slices.Equal(got, want) {
		t.Errorf("%q, want lines that start with %q", p.ui.drawn, want)
	}
	p.report(rootfs.Event{Layer: "6", Status: "pulling"})
	if len(p.ui.drawn) != 4 {
		t.Errorf("%q", p.ui.drawn)
	}
}

func TestProgressWithoutTerminal(t *testing.T) {
	p, out := newTestProgress("./root.tar", false, 80)
	p.report(rootfs.Event{Layer: someLayer, Status: "unpacking", Total: 48e6})
	p.report(rootfs.Event{Layer: someLayer, Status: "unpacking", Done: 12e6, Total: 48e6})
	p.report(rootfs.Event{Layer: someLayer, Status: "done", Done: 48e6, Total: 48e6})
	p.report(rootfs.Event{Layer: "2", Status: "waiting"})
	p.report(rootfs.Event{Layer: "2", Status: "exists"})
	p.done(nil)
	if want := "layer 0123456789ab: 48MB\nlayer 2: waiting for another minirun that fetches it\nlayer 2: already in the store\nunpacked ./root.tar: 48MB in 1.0 s\n"; out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
	p, out = newTestProgress("./root.tar", false, 80)
	p.report(rootfs.Event{Layer: someLayer, Status: "unpacking", Total: 48e6})
	p.done(errors.New("it went wrong"))
	if out.Len() > 0 {
		t.Errorf("after an error: %q", out)
	}
}
