package spelling

import "testing"

func TestNearest(t *testing.T) {
	candidates := []string{"cap-add", "cap-drop", "seccomp", "env", "env-file", "tty", "chown", "fchown", "größe"}
	for word, want := range map[string]string{
		"cap-ad":   "cap-add",
		"cap-dorp": "cap-drop",
		"sec":      "seccomp",
		"secomp":   "seccomp",
		"env-fiel": "env-file",
		"chwon":    "chown",
		"chow":     "chown",
		"tt":       "tty",
		"grösse":   "größe",
		"volumes":  "",
		"x":        "",
		"":         "",
	} {
		if got := Nearest(word, candidates); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"abc", "abc", 0},
		{"kitten", "sitting", 3},
		{"ab", "ba", 1},
		{"ca", "abc", 3},
		{"flaw", "lawn", 2},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance(%q, %q) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
