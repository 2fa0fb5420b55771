package userns

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlainLaunch(t *testing.T) {
	t.Setenv("MINIRUN_NETWORK", "")
	for _, c := range []struct {
		line string
		want bool
	}{
		{"minirun debian", true},
		{"./minirun debian true", true},
		{"/usr/bin/minirun run debian true", true},
		{"minirun -it --rm -v /m:/c debian sh -c id", true},
		{"minirun --network none --cap-drop ALL debian sh -m", true},
		{"minirun run ps", true},
		{"minirun debian ps", true},
		{"minirun -- debian --memory", true},
		{"minirun", false},
		{"runc debian true", false},
		{"userns.test -test.v", false},
		{"minirun ps", false},
		{"minirun -D ps", false},
		{"minirun exec debian true", false},
		{"minirun --help", false},
		{"minirun run --help", false},
		{"minirun --memory 64m debian", false},
		{"minirun -m64m debian", false},
		{"minirun -itm 64m debian", false},
		{"minirun -c 2 debian", false},
		{"minirun -v /a:/a -m 64m debian true", false},
		{"minirun -v /a:/a -e A=1 --pids-limit=20 debian true", false},
		{"minirun --root /tmp debian", false},
		{"minirun --network container:a debian", false},
		{"minirun --net=container:a debian", false},
	} {
		if got := PlainLaunch(strings.Fields(c.line)); got != c.want {
			t.Errorf("%s: %v", c.line, got)
		}
	}
	t.Setenv("MINIRUN_NETWORK", "container:a")
	if PlainLaunch([]string{"minirun", "debian"}) {
		t.Error("MINIRUN_NETWORK=container:a: true")
	}
}

func TestFindPlain(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "newuidmap")
	if err := os.WriteFile(tool, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	const alice = "root:x:0:0::/:/bin/sh\nbad\nalice:x:1000:1000::/:/bin/sh\nsecond:x:1000:1000::/:/bin/sh\n"
	for _, c := range []struct {
		name, passwd, subid, path, want string
	}{
		{name: "by name", passwd: alice, subid: "bob:1:2\nalice:100000:65536\nalices:5:5\n", want: "1 100000 65536"},
		{name: "by number", passwd: alice, subid: "1000:100000:65536\n10001:5:5\n", want: "1 100000 65536"},
		{name: "two ranges", passwd: alice, subid: "alice:100000:65536\n1000:300000:10\n", want: "1 100000 65536 65537 300000 10"},
		{name: "the largest", passwd: alice, subid: "alice:4294967295:1\n", want: "1 4294967295 1"},
		{name: "a second directory", passwd: alice, subid: "alice:1:2\n", path: "/nowhere:" + dir, want: "1 1 2"},
		{name: "no ranges", passwd: alice, subid: "bob:1:2\n"},
		{name: "no user", passwd: "bob:x:1001:1001::/:/bin/sh\n", subid: "1000:1:2\n"},
		{name: "a user of NIS", passwd: "+alice:x:1000:1000::/:/bin/sh\n", subid: "1000:1:2\n"},
		{name: "an empty range", passwd: alice, subid: "alice:1:0\n"},
		{name: "no number", passwd: alice, subid: "alice:1:a\n"},
		{name: "a negative one", passwd: alice, subid: "alice:-1:2\n"},
		{name: "too large", passwd: alice, subid: "alice:4294967296:1\n"},
		{name: "more fields", passwd: alice, subid: "alice:1:2:3\n"},
		{name: "no end of line", passwd: alice, subid: "alice:1:2"},
		{name: "more than there is room for", passwd: alice, subid: strings.Repeat("alice:100000:65536\n", 100)},
		{name: "no tool", passwd: alice, subid: "alice:1:2\n", path: "/nowhere"},
		{name: "a relative directory", passwd: alice, subid: "alice:1:2\n", path: "." + ":" + dir},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATH", dir)
			if c.path != "" {
				t.Setenv("PATH", c.path)
			}
			passwd, subid := filepath.Join(dir, "passwd"), filepath.Join(dir, "subuid")
			for file, text := range map[string]string{passwd: c.passwd, subid: c.subid} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want := ""
			if c.want != "" {
				want = tool + " 0 7 1 " + c.want
			}
			if got := strings.ReplaceAll(findPlain(passwd, subid, "newuidmap", 1000, 7), "\n", " "); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
