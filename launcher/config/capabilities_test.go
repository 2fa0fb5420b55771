package config

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/internal/hint"
)

func TestBoundingSet(t *testing.T) {
	defaults := slices.Clone(defaultCapabilities[:])
	plus := func(set []string, names ...string) []string {
		set = append(slices.Clone(set), names...)
		slices.Sort(set)
		return set
	}
	all := capname.All()
	slices.Sort(all)
	for _, tt := range []struct {
		name       string
		add, drop  []string
		privileged bool
		want       []string
	}{
		{name: "none", want: defaults},
		{name: "add", add: []string{"CAP_AUDIT_CONTROL"}, want: plus(defaults, "CAP_AUDIT_CONTROL")},
		{name: "without prefix, lower case", add: []string{"sys_admin"}, want: plus(defaults, "CAP_SYS_ADMIN")},
		{name: "add what is there", add: []string{"CHOWN"}, want: defaults},
		{name: "drop", drop: []string{"CHOWN"}, want: without(defaults, []string{"CAP_CHOWN"})},
		{name: "add and drop the same", add: []string{"SYS_ADMIN"}, drop: []string{"SYS_ADMIN"}, want: plus(defaults, "CAP_SYS_ADMIN")},
		{name: "drop all", drop: []string{"ALL"}, want: []string{}},
		{name: "drop all, add", add: []string{"KILL"}, drop: []string{"all"}, want: []string{"CAP_KILL"}},
		{name: "add all", add: []string{"ALL"}, want: all},
		{name: "add all, drop", add: []string{"ALL"}, drop: []string{"KILL"}, want: without(all, []string{"CAP_KILL"})},
		{name: "add all, drop all", add: []string{"ALL"}, drop: []string{"ALL"}, want: all},
		{name: "privileged", drop: []string{"ALL"}, privileged: true, want: all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := BoundingSet(tt.add, tt.drop, tt.privileged)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.Transformer("empty", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBoundingSetUnknown(t *testing.T) {
	for typed, want := range map[string]string{
		"CAP_AUDIT_CONTRL": "did you mean CAP_AUDIT_CONTROL?",
		"sysadmin":         "did you mean CAP_SYS_ADMIN?",
		"CAP_ALL":          "did you mean ALL?",
		"frobnicate":       "capabilities(7) lists them all",
	} {
		_, err := BoundingSet([]string{typed}, nil, false)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: got %v", typed, err)
			continue
		}
		if hint.Text(err) != want || !strings.Contains(e.Error(), typed) {
			t.Errorf("%s: got %q, hint %q", typed, e, hint.Text(err))
		}
	}
}
