package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A damaged state is an error that names its file, and never another container's.
func FuzzReadState(f *testing.F) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	f.Add([]byte(`{"name":"box","id":"` + id + `","owner":"launcher","status":"stopped","runRoot":"/run/minirun","keep":true}`))
	f.Add([]byte(`{"name":"box","id":"../../../../etc/x","runRoot":"/run"}`))
	f.Add([]byte(`{"name":"../box","id":"` + id + `","runRoot":"/run"}`))
	f.Add([]byte(`{"name":"box","id":"` + id + `","runRoot":"/run","pid":-1,"boot":"x"}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(t.TempDir(), "box")
		file := filepath.Join(dir, stateFile)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, data, 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := readState(dir)
		var damaged *DamagedError
		if err != nil && (!errors.As(err, &damaged) || damaged.File != file || damaged.Name != "box" || !strings.HasPrefix(err.Error(), file+": ")) {
			t.Errorf("%v", err)
		}
		if err == nil && (s.Name != "box" || filepath.Dir(s.path("launch.json", ".launch.json")) != dir && filepath.Dir(s.file()) != filepath.Clean(s.RunRoot)) {
			t.Errorf("%+v", s)
		}
		c := &Container{dir: dir, state: s}
		if err := os.WriteFile(filepath.Join(dir, "launch.json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if s.lasting() {
			if _, err := c.Launch(); err != nil && !errors.As(err, &damaged) {
				t.Error(err)
			}
		}
	})
}
