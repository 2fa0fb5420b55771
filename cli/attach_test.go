package cli

import "testing"

func TestDetachKeys(t *testing.T) {
	for text, want := range map[string]string{
		"": "\x10\x11", "ctrl-p,ctrl-q": "\x10\x11", "x,y": "xy", "ctrl-a,d": "\x01d", "ctrl-@,ctrl-_": "\x00\x1f", "ctrl-[": "\x1b", "-": "-",
	} {
		if keys, err := parseDetachKeys(text); err != nil || string(keys) != want {
			t.Errorf("%q: %q, %v; want %q", text, keys, err, want)
		}
	}
	for _, text := range []string{"foo", "ctrl-", "ctrl-A", "ctrl-ab", "a,,b", "ctrl-1", ","} {
		if keys, err := parseDetachKeys(text); err == nil {
			t.Errorf("%q: %q", text, keys)
		}
	}
}
