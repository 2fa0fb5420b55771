package cli

import (
	"fmt"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docker/go-units"

	"github.com/minirun/minirun/rootfs"
)

// redraw is the shortest time between two redraws of a bar.
const redraw = 50 * time.Millisecond

// progress shows how an image is fetched: on a terminal a bar for each layer and one for all
// of them, else a line for each layer; and a line at the end.
type progress struct {
	ui     *ui
	image  string
	now    func() time.Time
	layers map[string]rootfs.Event
	order  []string // of the layers
	remote bool     // the image is pulled, not read from a file
	start  time.Time
	drawn  time.Time
}

// progress returns the function for the events of rootfs, nil if quiet, and one that must be
// called with the outcome.
func (a *app) progress(image string, quiet bool) (report rootfs.Progress, done func(error)) {
	if quiet {
		return nil, func(error) {}
	}
	p := &progress{ui: a.ui, image: printable(image), now: time.Now, layers: map[string]rootfs.Event{}}
	return p.report, p.done
}

func (p *progress) report(e rootfs.Event) {
	if p.start.IsZero() {
		p.start = p.now()
	}
	p.remote = p.remote || e.Status == "pulling"
	if e.Layer != "" {
		if _, known := p.layers[e.Layer]; !known {
			p.order = append(p.order, e.Layer)
		}
		p.layers[e.Layer] = e
	}
	if !p.ui.terminal {
		p.line(e)
	} else if now := p.now(); now.Sub(p.drawn) >= redraw {
		p.drawn = now
		p.ui.bars(p.bars(p.ui.width()-1, p.ui.height()-1)...)
	}
}

// bars returns a line for each layer, and one for all. If the terminal has too few
// rows, layers that are finished are left out first.
func (p *progress) bars(columns, rows int) []string {
	var bars []string
	shown := p.order
	if len(shown) == 1 {
		shown = nil // the line for all layers is enough
	}
	leave := len(shown) - max(rows-1, 0)
	for _, name := range shown {
		if e := p.layers[name]; leave > 0 && (e.Status == "done" || e.Status == "exists") {
			leave--
			continue
		}
		bars = append(bars, p.layer(p.layers[name], columns))
	}
	return append(bars[max(leave, 0):], p.text(columns))
}

// layer returns `0123456789ab [====>    ] 12MB/48MB`, or as much of it as fits.
func (p *progress) layer(e rootfs.Event, columns int) string {
	name, size := shortLayer(e.Layer), units.HumanSize(float64(e.Done))
	switch {
	case e.Status == "exists":
		return fitting(columns, name+" already in the store", name)
	case e.Status == "waiting":
		return fitting(columns, name+" waits for another minirun that fetches it", name)
	case e.Status == "done":
		return fitting(columns, name+" done, "+size, name)
	case e.Total > 0:
		size += "/" + units.HumanSize(float64(e.Total))
		return fitting(columns, name+" "+gauge(e.Done, e.Total, 24)+" "+size, name+" "+size, size)
	}
	return fitting(columns, name+" "+size, size)
}

// line prints that a layer is finished, or that it is waited for.
func (p *progress) line(e rootfs.Event) {
	switch e.Status {
	case "done":
		p.ui.say("layer %s: %s", shortLayer(e.Layer), units.HumanSize(float64(e.Done)))
	case "exists":
		p.ui.say("layer %s: already in the store", shortLayer(e.Layer))
	case "waiting":
		p.ui.say("layer %s: waiting for another minirun that fetches it", shortLayer(e.Layer))
	}
}

// shortLayer returns the part of a digest that Docker shows, or a layer's number.
func shortLayer(layer string) string {
	if strings.Contains(layer, ":") {
		return shortID(layer)
	}
	return layer
}

// done removes the bar, and prints how much was fetched, if anything was.
func (p *progress) done(err error) {
	if p.ui.terminal {
		p.ui.bars()
	}
	if err != nil || len(p.layers) == 0 {
		return
	}
	verb := "unpacked"
	if p.remote {
		verb = "pulled"
	}
	s := p.sum()
	if s.found == len(p.layers) {
		p.ui.say("%s: all layers are already in the store", p.image)
		return
	}
	p.ui.say("%s %s: %s in %.1f s", verb, p.image, units.HumanSize(float64(s.read)), p.now().Sub(p.start).Seconds())
}

// sums are the bytes of all layers: those read now, those read or found in the store, and the
// total as far as it is known.
type sums struct {
	read, done, total int64
	finished, found   int // layers that are unpacked, and those of them that the store had
}

func (p *progress) sum() sums {
	var s sums
	for _, e := range p.layers {
		switch e.Status {
		case "exists":
			s.finished, s.found = s.finished+1, s.found+1
			s.done, s.total = s.done+e.Total, s.total+e.Total
			continue
		case "done":
			s.finished++
		}
		s.read, s.done, s.total = s.read+e.Done, s.done+e.Done, s.total+max(e.Total, e.Done)
	}
	return s
}

// text returns `pull debian [====>    ] 12MB/48MB, 10MB/s, 4s left, 1 of 3 layers`,
// or as much of it as fits the columns.
func (p *progress) text(columns int) string {
	verb := "unpack"
	if p.remote {
		verb = "pull"
	}
	s := p.sum()
	label := verb + " " + p.image
	size := fmt.Sprintf("%s/%s", units.HumanSize(float64(s.done)), units.HumanSize(float64(s.total)))
	if s.total == s.done { // the size of the rest is not known
		size = units.HumanSize(float64(s.done))
	}
	rate, left := p.rate(s)
	layers := ""
	if len(p.layers) > 1 {
		layers = fmt.Sprintf(", %d of %d layers", s.finished, len(p.layers))
	}
	if s.total == 0 {
		return fitting(columns, label, verb+" "+path.Base(p.image), verb)
	}
	bar := gauge(s.done, s.total, 24)
	return fitting(columns,
		label+" "+bar+" "+size+rate+left+layers,
		label+" "+bar+" "+size+rate+left,
		label+" "+size+rate+left,
		label+" "+size+rate,
		verb+" "+path.Base(p.image)+" "+size+rate,
		verb+" "+size+rate,
		size+rate,
		size,
	)
}

// rate returns `, 10MB/s` and `, 4s left`, each empty if it is not known.
func (p *progress) rate(s sums) (rate, left string) {
	seconds := p.now().Sub(p.start).Seconds()
	if seconds < 0.2 || s.read == 0 {
		return "", ""
	}
	perSecond := float64(s.read) / seconds
	rate = ", " + units.HumanSize(perSecond) + "/s"
	if s.total > s.done {
		left = fmt.Sprintf(", %.0fs left", float64(s.total-s.done)/perSecond)
	}
	return rate, left
}

// fitting returns the first text that fits the columns, or the last.
func fitting(columns int, texts ...string) string {
	for _, text := range texts {
		if utf8.RuneCountInString(text) <= columns {
			return text
		}
	}
	return texts[len(texts)-1]
}

// gauge returns a bar of that many columns.
func gauge(done, total int64, columns int) string {
	full := int(min(done, total) * int64(columns) / total)
	bar := strings.Repeat("=", full)
	if full < columns {
		bar += ">"
	}
	return fmt.Sprintf("[%-*s]", columns, bar)
}
