package launcher

import (
	"bytes"
	"testing"
)

// The keys to detach are found wherever reads divide what is typed, and what only begins
// like them is passed on.
func TestDetachKeys(t *testing.T) {
	for _, tt := range []struct {
		keys, typed, rest string
		complete          bool
	}{
		{"\x10\x11", "ls\n\x10\x11rest", "ls\n", true},
		{"\x10\x11", "\x10x\x10\x10\x11", "\x10x\x10", true},
		{"\x10\x11", "\x10", "", false},
		{"\x10\x11", "\x11\x10", "\x11", false},
		{"xy", "xxxy", "xx", true},
		{"aab", "aaxaab", "aax", true},
		{"", "\x10\x11", "\x10\x11", false},
	} {
		for cut := range len(tt.typed) {
			k := detachKeys{keys: []byte(tt.keys)}
			rest, complete := k.find([]byte(tt.typed[:cut]))
			rest = bytes.Clone(rest)
			if !complete {
				var more []byte
				more, complete = k.find([]byte(tt.typed[cut:]))
				rest = append(rest, more...)
			}
			if string(rest) != tt.rest || complete != tt.complete {
				t.Errorf("%q in %q, cut at %d: %q, %v", tt.keys, tt.typed, cut, rest, complete)
			}
		}
	}
}

// Whatever bytes come, a frame is one that writeFrame writes, or an error.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("i\x00\x00\x00\x02hi"))
	f.Add([]byte("w\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		kind, data, err := readFrame(bytes.NewReader(stream))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFrame(&again, kind, data); err != nil || !bytes.HasPrefix(stream, again.Bytes()) {
			t.Errorf("%q, %v from %q", again.Bytes(), err, stream)
		}
	})
}
