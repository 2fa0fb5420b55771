package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/minirun/minirun/rootfs"
)

func TestFilterImages(t *testing.T) {
	at := func(day int) time.Time { return time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC) }
	all := func() []rootfs.ImageInfo {
		return []rootfs.ImageInfo{
			{Name: "docker.io/library/debian:latest", ID: "1", Created: at(1), Labels: map[string]string{"maker": "a"}},
			{Name: "docker.io/library/debian:trixie", ID: "2", Created: at(2), Labels: map[string]string{"maker": "b", "empty": ""}},
			{Name: "example.com/me/tool:v1", ID: "3", Created: at(3)},
			{Name: "sha256:aa", ID: "4", Created: at(4)},
		}
	}
	find := func(name string) (*rootfs.Description, error) {
		if name == "tool" {
			return &rootfs.Description{ID: "3"}, nil
		}
		return nil, errors.New("no such image")
	}
	for _, c := range []struct{ filters, want string }{
		{"", "1234"},
		{"dangling=true", "4"},
		{"dangling=false", "123"},
		{"before=tool", "12"},
		{"since=tool", "4"},
		{"label=maker", "12"},
		{"label=maker=b", "2"},
		{"label=empty=", "2"},
		{"label=maker label=empty", "2"},
		{"reference=debian", "12"},
		{"reference=debian:t*", "2"},
		{"reference=*/*/tool reference=debian:latest", "13"},
		{"reference=debian before=tool label=maker=a", "1"},
		{"reference=none", ""},
		{"dangling=maybe", "neither true nor false"},
		{"label", "no value"},
		{"reference=[a", "syntax error in pattern"},
		{"before=none", "no such image"},
		{"colour=red", "unknown filter"},
	} {
		got, err := filterImages(all(), strings.Fields(c.filters), find)
		ids := ""
		for _, image := range got {
			ids += image.ID
		}
		if failed := err != nil; failed != strings.Contains(c.want, " ") || failed && !strings.Contains(err.Error(), c.want) || !failed && ids != c.want {
			t.Errorf("%s: %q, %v; want %q", c.filters, ids, err, c.want)
		}
	}
}
