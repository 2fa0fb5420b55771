package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/minirun/minirun/rootfs"
)

// redraw is how often a bar is drawn anew at most.
const redraw = 50 * time.Millisecond

// progress draws one bar for all layers of an image.
type progress struct {
	ui     *ui
	label  string
	layers map[string]rootfs.Event
	drawn  time.Time
}

// progress gives what rootfs tells its steps to, nil where nobody would see a
// bar, and a function that takes the bar away.
func (a *app) progress(label string, quiet bool) (tell rootfs.Progress, done func()) {
	if quiet || !a.ui.terminal {
		return nil, func() {}
	}
	p := &progress{ui: a.ui, label: printable(label), layers: map[string]rootfs.Event{}}
	return p.tell, func() { p.ui.bar("") }
}

func (p *progress) tell(e rootfs.Event) {
	p.layers[e.Layer] = e
	if now := time.Now(); now.Sub(p.drawn) >= redraw {
		p.drawn = now
		p.ui.bar(p.text())
	}
}

// text is `pull debian [====>    ] 12MB/48MB, 1 of 3 layers`.
func (p *progress) text() string {
	var done, total int64
	var count, finished int
	for layer, e := range p.layers {
		if layer == "" {
			continue
		}
		count++
		switch e.Status {
		case "done", "exists":
			finished++
			done, total = done+e.Total, total+e.Total
		default:
			done, total = done+e.Done, total+max(e.Total, e.Done)
		}
	}
	text := p.label
	if total > 0 {
		text += fmt.Sprintf(" %s %s/%s", gauge(done, total, 24), units.HumanSize(float64(done)), units.HumanSize(float64(total)))
	}
	if count > 0 {
		text += fmt.Sprintf(", %d of %d layers", finished, count)
	}
	return text
}

// gauge is a bar of so many columns.
func gauge(done, total int64, columns int) string {
	full := int(min(done, total) * int64(columns) / total)
	bar := strings.Repeat("=", full)
	if full < columns {
		bar += ">"
	}
	return fmt.Sprintf("[%-*s]", columns, bar)
}
