package launcher

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestInitPageTooLong(t *testing.T) {
	if _, err := newInitPage(maxInstructions+1, nil, nil, nil); err == nil || !strings.Contains(err.Error(), "4097 instructions") {
		t.Errorf("%v", err)
	}
}

// A text with a NUL byte would be two.
func TestInitPageNUL(t *testing.T) {
	if _, err := newInitPage(0, nil, []string{"echo", "a\x00b"}, nil); err == nil || err.Error() != `"a\x00b" has a NUL byte, which ends an argument (execve(2))` {
		t.Errorf("%v", err)
	}
}

// parked is PAGE_PARKED of page.h.
const parked = 2

// testPage is a page in which no init is, and which waits only for a moment.
func testPage(t *testing.T) *initPage {
	t.Helper()
	page, err := newInitPage(1, nil, []string{"true"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { page.Close() })
	page.patience = 20 * time.Millisecond
	return page
}

// An init that does not get on, or does not answer, is given up.
func TestInitStuck(t *testing.T) {
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	page := testPage(t)
	if err := page.waitParked(); err == nil || err.Error() != "container init does not get ready" {
		t.Errorf("%v", err)
	}
	if err := page.arm(filter, 0); err == nil || !strings.Contains(err.Error(), "container init is not ready") {
		t.Errorf("%v", err)
	}
	if page.state() != 0 {
		t.Errorf("the page was written to: state %d", page.state())
	}
	page.shared.state = parked
	if err := page.arm(filter, 0); err == nil || err.Error() != "the arming thread does not answer" {
		t.Errorf("%v", err)
	}
}

// The end of an init is noticed at once, in whatever state it was.
func TestInitDies(t *testing.T) {
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	for name, wait := range map[string]func(*initPage) error{
		"before it is ready": (*initPage).waitParked,
		"under way": func(p *initPage) error {
			p.shared.state = parked
			return p.arm(filter, 0)
		},
		"armed": (*initPage).run,
	} {
		t.Run(name, func(t *testing.T) {
			page := testPage(t)
			page.patience = time.Hour
			page.started() // nobody has the other end
			if err := wait(page); !errors.Is(err, errInitDied) {
				t.Errorf("%v", err)
			}
		})
	}
}
