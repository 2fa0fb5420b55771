package matrix

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/seccomp/analyze"
)

// tab is the page, open in a headless Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	events []string // requests that the page made, errors that it had
}

// open shows a page. When the test ends, the page has asked for nothing but
// itself, and no script of it has failed or was refused.
func open(t *testing.T, m *analyze.Matrix) *tab {
	t.Helper()
	file := filepath.Join(t.TempDir(), "matrix.html")
	if err := os.WriteFile(file, []byte(html(t, m)), 0o644); err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.ExecPath(testenv.Program(t, "chromium", "chromium-browser", "google-chrome")), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true), chromedp.WindowSize(1100, 700))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, p.note); err != nil {
		t.Fatal(err)
	}
	// As in a window that has the keyboard: without, a focus set by script is no event.
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.Navigate("file://" + file))
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if want := []string{"request file://" + file}; !slices.Equal(p.events, want) {
			t.Errorf("the page did %q, want %q", p.events, want)
		}
	})
	return p
}

func (p *tab) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.events = append(p.events, "request "+e.Request.URL)
	case *runtime.EventExceptionThrown:
		p.events = append(p.events, "exception "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		p.events = append(p.events, "log "+e.Entry.Text)
	}
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// eval gives what an expression of JavaScript comes to in the page.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (p *tab) keys(keys string, modifiers ...chromedp.Modifier) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
}

func (p *tab) detail() string {
	p.t.Helper()
	return eval[string](p, `document.getElementById('detail').textContent`)
}

// visible lists the calls that are shown.
func (p *tab) visible() []string {
	p.t.Helper()
	return eval[[]string](p, `[...document.querySelectorAll('tbody tr')].filter((tr) => tr.offsetHeight > 0).map((tr) => tr.querySelector('th').firstChild.data)`)
}

// Every cell shows the matrix's verdict, in words for who does not see it.
func TestCells(t *testing.T) {
	for name, m := range map[string]*analyze.Matrix{"one profile": page1(t), "two profiles": page2(t)} {
		t.Run(name, func(t *testing.T) {
			var want []string
			for _, r := range m.Rows {
				for c := range m.Columns {
					line := fmt.Sprintf("%s %d %s", r.Call, r.Number, m.Columns[c])
					for _, cells := range r.Cells {
						line += " " + strings.Replace(cells[c].Verdict, analyze.Depends, "depends on arguments", 1)
					}
					if len(r.Differs) > 0 && r.Differs[c] {
						line += " the profiles differ"
					}
					want = append(want, line)
				}
			}
			p := open(t, m)
			got := eval[[]string](p, `(() => {
				const heads = [...document.querySelectorAll('thead th')].map((th) => th.textContent);
				return [...document.querySelectorAll('tbody tr')].flatMap((tr) => [...tr.querySelectorAll('td')].map((td) => {
					const th = tr.querySelector('th');
					return [th.firstChild.data, th.querySelector('small').textContent, heads[td.cellIndex],
						...[...td.querySelectorAll('span')].map((s) => s.ariaLabel), td.getAttribute('aria-description')].filter(Boolean).join(' ');
				}));
			})()`)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-matrix +page)\n%s", diff)
			}
		})
	}
}

// Verdicts that differ look different, by letter and by colour.
func TestLegend(t *testing.T) {
	p := open(t, page1(t))
	got := eval[[][]string](p, `[...document.querySelectorAll('#legend li')].map((li) => {
		const s = li.querySelector('span');
		return [li.lastChild.data, s.textContent, getComputedStyle(s).backgroundColor];
	})`)
	var names, looks []string
	for _, item := range got {
		names = append(names, item[0])
		looks = append(looks, item[1])
	}
	want := []string{
		"ALLOW", "depends on arguments", "ERRNO(ENOSYS)", "ERRNO(ENOTSUP)", "ERRNO(EPERM)",
		"KILL_PROCESS", "LOG", "NOTIFY", "TRACE(1)", "TRAP",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	slices.Sort(looks)
	if unique := slices.Compact(slices.Clone(looks)); len(unique) != len(looks) {
		t.Errorf("two verdicts have the same letter: %q", looks)
	}
	colours := map[string][]string{}
	for _, item := range got {
		colours[item[2]] = append(colours[item[2]], item[0])
	}
	if len(colours) != 6 {
		t.Errorf("%d colours, want 6 (other actions share one, errnos too): %v", len(colours), colours)
	}
}

func TestHover(t *testing.T) {
	p := open(t, page1(t))
	for _, tt := range []struct{ call, column, want string }{
		{"chown", "1", "chown, none\nERRNO(EPERM): rules name it, but none of them applies: the default action (gated.json:2:19)"},
		{"chown", "2", "chown, with CAP_AUDIT_CONTROL\nALLOW: the rule decides (gated.json:11:3)\n  for auditors"},
		{"bind", "1", "bind, none\nLOG: the rule decides (gated.json:5:3)"},
		{"accept", "2", "accept, with CAP_AUDIT_CONTROL\nERRNO(EPERM): no rule names it: the default action (gated.json:2:19)"},
	} {
		at := eval[[]float64](p, `(() => {
			const tr = [...document.querySelectorAll('tbody tr')].find((tr) => tr.querySelector('th').firstChild.data === '`+tt.call+`');
			tr.scrollIntoView({block: 'center'});
			const box = tr.cells[`+tt.column+`].getBoundingClientRect();
			return [box.x + box.width / 2, box.y + box.height / 2];
		})()`)
		p.do(chromedp.MouseEvent("mouseMoved", at[0], at[1]))
		if got := p.detail(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.call, got, tt.want)
		}
	}
}

func TestFilters(t *testing.T) {
	p := open(t, page2(t))
	all := len(p.visible())
	enter := func(text string) {
		t.Helper()
		p.do(chromedp.Evaluate[chromedp.Void](`document.getElementById('search').select()`), chromedp.KeyEvent(kb.Backspace), chromedp.SendKeys(chromedp.ID("search"), text))
	}
	wantVisible := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, p.visible()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
		count := eval[string](p, `document.getElementById('count').textContent`)
		if want := fmt.Sprintf("%d of %d calls", len(want), all); count != want {
			t.Errorf("%s: it says %q, want %q", what, count, want)
		}
	}
	enter("chOWn ")
	wantVisible("by name", "chown", "fchown", "fchownat", "lchown")
	enter("92")
	wantVisible("by number", "chown")
	enter("nosuch")
	wantVisible("nothing", []string{}...)
	enter("chown")
	p.do(chromedp.Click(chromedp.ID("varies")))
	wantVisible("changed by a capability", "chown")
	p.do(chromedp.Click(chromedp.ID("varies")), chromedp.Click(chromedp.ID("differs")))
	wantVisible("the profiles differ", "chown", "fchown", "fchownat", "lchown")
	enter("chown")
	p.do(chromedp.Click(chromedp.ID("differs")))
	enter("")
	p.do(chromedp.Evaluate[chromedp.Void](`(() => {
		const s = document.getElementById('verdict');
		s.value = 'KILL_PROCESS';
		s.dispatchEvent(new Event('input', {bubbles: true}));
	})()`))
	wantVisible("by verdict", "acct")
}

// focused is the call and the column of the cell that has the keyboard's focus.
func (p *tab) focused() string {
	p.t.Helper()
	return eval[string](p, `(() => {
		const td = document.activeElement;
		if (td.tagName !== 'TD') return td.id || td.tagName;
		return td.parentElement.querySelector('th').firstChild.data + ' ' + td.cellIndex;
	})()`)
}

func TestKeyboard(t *testing.T) {
	p := open(t, page1(t))
	last := p.visible()[len(p.visible())-1]
	step := func(keys, want string, modifiers ...chromedp.Modifier) {
		t.Helper()
		p.keys(keys, modifiers...)
		if got := p.focused(); got != want {
			t.Fatalf("%+q leads to %s, want %s", keys, got, want)
		}
		if !strings.Contains(want, " ") {
			return
		}
		if !strings.HasPrefix(p.detail(), strings.Fields(want)[0]+", ") {
			t.Errorf("%s has the focus, but what is told is %q", want, p.detail())
		}
		// It can be seen: nothing covers its edges, and it has an outline.
		if covered := eval[string](p, `(() => {
			const td = document.activeElement, b = td.getBoundingClientRect();
			const x = (b.left + b.right) / 2, y = (b.top + b.bottom) / 2;
			for (const [px, py] of [[x, b.top + 2], [x, b.bottom - 2], [b.left + 2, y], [b.right - 2, y]]) {
				const top = document.elementFromPoint(px, py);
				if (!top || !td.contains(top)) return (top ? top.outerHTML : 'the edge').slice(0, 80);
			}
			const style = getComputedStyle(td);
			return style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2 ? '' : 'no outline';
		})()`); covered != "" {
			t.Errorf("%s has the focus, but is hidden: %s", want, covered)
		}
	}
	step(kb.Tab, "search")
	step(kb.Tab, "verdict")
	step(kb.Tab, "varies")
	step(kb.Tab, "_sysctl 1")
	step(kb.ArrowLeft, "_sysctl 1")
	step(kb.ArrowUp, "_sysctl 1")
	step(kb.ArrowRight, "_sysctl 2")
	step(kb.ArrowRight, "_sysctl 2")
	step(kb.ArrowDown, "accept 2")
	step(kb.PageDown, p.visible()[11]+" 2")
	step(kb.Home, p.visible()[11]+" 1")
	step(kb.PageDown, p.visible()[21]+" 1")
	step(kb.PageDown, p.visible()[31]+" 1")
	step(kb.PageDown, p.visible()[41]+" 1")
	step(kb.ArrowUp, p.visible()[40]+" 1")
	step(kb.PageUp, p.visible()[30]+" 1")
	step(kb.End, p.visible()[30]+" 2")
	step(kb.End, last+" 2", chromedp.ModifierCtrl)
	step(kb.ArrowDown, last+" 2")
	step(kb.Home, "_sysctl 1", chromedp.ModifierCtrl)

	// Rows that are filtered out are passed over, and Tab finds the first that is left.
	step(kb.Tab, "varies", chromedp.ModifierShift)
	p.keys(" ")
	step(kb.Tab, "chown 1")
	step(kb.ArrowDown, "chown 1")
	step(kb.Tab, "varies", chromedp.ModifierShift)
	p.keys(" ")
	step(kb.Tab, "_sysctl 1")
}

// TestContrast: WCAG 2.2, 1.4.3: text has a contrast of 4.5 to what is behind it
// at least; 1.4.11: borders of what can be used, and the focus, one of 3.
func TestContrast(t *testing.T) {
	p := open(t, page2(t))
	for _, scheme := range []string{"light", "dark"} {
		params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, params); err != nil {
			t.Fatal(err)
		}
		p.do(chromedp.Evaluate[chromedp.Void](`document.querySelector('tbody td').focus()`))
		pairs := eval[[]colours](p, `(() => {
			const behind = (e) => {
				for (; e; e = e.parentElement) {
					const c = getComputedStyle(e).backgroundColor;
					if (c !== 'rgba(0, 0, 0, 0)' && c !== 'transparent') return c;
				}
				return 'rgb(255, 255, 255)';
			};
			const found = new Map();
			const add = (what, least, front, back) => found.set(what + front + back, {what, least, front, back});
			for (const e of document.querySelectorAll('body, body *')) {
				const style = getComputedStyle(e);
				if (e.offsetHeight === 0 || e.tagName === 'OPTION') continue;
				if ([...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) {
					add(e.tagName + ' ' + e.className, 4.5, style.color, behind(e));
				}
				if (e.matches('input[type=search], select')) add(e.tagName + ' border', 3, style.borderTopColor, behind(e.parentElement));
				if (e.matches('td.differs') && e !== document.activeElement) add('frame', 3, style.outlineColor, behind(e));
			}
			const td = document.activeElement;
			add('focus', 3, getComputedStyle(td).outlineColor, behind(td));
			const search = document.getElementById('search');
			add('placeholder', 4.5, getComputedStyle(search, '::placeholder').color, behind(search));
			return [...found.values()];
		})()`)
		if len(pairs) < 12 {
			t.Fatalf("%s: only %d pairs of colours: %v", scheme, len(pairs), pairs)
		}
		for _, pair := range pairs {
			if got := pair.contrast(t); got < pair.Least {
				t.Errorf("%s: %s: %s on %s has a contrast of %.2f, want %.1f", scheme, pair.What, pair.Front, pair.Back, got, pair.Least)
			}
		}
	}
}

type colours struct {
	What        string  `json:"what"`
	Least       float64 `json:"least"`
	Front, Back string
}

// contrast is WCAG's contrast ratio.
func (c colours) contrast(t *testing.T) float64 {
	t.Helper()
	a, b := luminance(t, c.Front), luminance(t, c.Back)
	return (max(a, b) + 0.05) / (min(a, b) + 0.05)
}

// luminance is WCAG's relative luminance of an opaque colour.
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	var rgb [3]float64
	if _, err := fmt.Sscanf(colour, "rgb(%f, %f, %f)", &rgb[0], &rgb[1], &rgb[2]); err != nil {
		t.Fatalf("colour %q: %v", colour, err)
	}
	for i, v := range rgb {
		if v /= 255; v <= 0.04045 {
			rgb[i] = v / 12.92
		} else {
			rgb[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*rgb[0] + 0.7152*rgb[1] + 0.0722*rgb[2]
}

// A name or a comment that is a script stays text.
func TestStrangersText(t *testing.T) {
	const evil = `</script><script>window.owned = 1</script><img src=x onerror="window.owned = 1">`
	source := strings.Replace(gated, "for auditors", strings.ReplaceAll(evil, `"`, `\"`), 1)
	p := open(t, newMatrix(t, map[string]string{evil: source}, evil))
	if title := eval[string](p, `document.querySelector('h1').textContent`); title != evil {
		t.Errorf("the title is %q", title)
	}
	p.do(chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll('tbody tr')].find((tr) => tr.querySelector('th').firstChild.data === 'chown').cells[2].focus()`))
	if got := p.detail(); !strings.HasSuffix(got, "  "+evil) {
		t.Errorf("the comment is not told: %q", got)
	}
	if eval[bool](p, `'owned' in window || document.querySelector('img') !== null`) {
		t.Error("untrusted text became part of the page")
	}
}
