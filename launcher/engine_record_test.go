package launcher

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// C carries out only what it knows all words of.
func TestEngineCall(t *testing.T) {
	for line, want := range map[string]string{
		"/usr/bin/minirun-runtime --root /r start a":                                   "start a",
		"minirun-runtime --root /r --log /l --log-format json --systemd-cgroup kill a": "kill a",
		"minirun oci --root=/r --log=/l --log-format=text delete --force a":            "delete a",
		"x oci --cgroup-manager disabled --rootless auto --root /r kill -a a+b 9":      "kill a+b",

		"minirun-runtime --root /r state a": "state a",

		"":                                 "",
		"minirun-runtime":                  "",
		"minirun-runtime start a":          "", // the root depends on the environment
		"minirun-runtime --root":           "",
		"minirun-runtime --root /r":        "",
		"minirun-runtime --root r start a": "",
		"minirun-runtime --root /r --root /q start a":                 "",
		"minirun-runtime --roots /r start a":                          "",
		"minirun-runtime --root /r --log":                             "",
		"minirun-runtime --root /r --debug start a":                   "",
		"minirun-runtime --root /r --log-format xml start a":          "",
		"minirun-runtime --root /r --cgroup-manager x start a":        "",
		"minirun-runtime --root /r -- start a":                        "",
		"minirun-runtime --root /r start":                             "",
		"minirun-runtime --root /r start --help":                      "",
		"minirun-runtime --root /r start a b":                         "",
		"minirun-runtime --root /r start ../a":                        "",
		"minirun-runtime --root /r start .a":                          "",
		"minirun-runtime --root /r start --force a":                   "",
		"minirun-runtime --root /r delete a --force":                  "",
		"minirun-runtime --root /r delete a b":                        "",
		"minirun-runtime --root /r kill a KILL x":                     "",
		"minirun-runtime --root /r start " + strings.Repeat("a", 256): "",
		"minirun --root /r start a":                                   "",
	} {
		verb, id := engineCall(strings.Fields(line))
		if got := strings.TrimSpace(verb + " " + id); got != want {
			t.Errorf("%q: %q, not %q", line, got, want)
		}
	}
}

// A name is what Go takes it for, or left to Go.
func TestEngineSignal(t *testing.T) {
	for n := 1; n < 32; n++ {
		name := unix.SignalName(unix.Signal(n))
		for _, text := range []string{strconv.Itoa(n), name, strings.ToLower(name), strings.TrimPrefix(name, "SIG")} {
			if got := engineSignal(text); got != n && (got != -1 || text == strconv.Itoa(n)) {
				t.Errorf("%q: %d, not %d", text, got, n)
			}
		}
	}
	if engineSignal("kill") != 9 || engineSignal("SIGTERM") != 15 {
		t.Error("KILL or TERM is not known")
	}
	for _, text := range []string{"", "0", "-9", "9 ", "9x", "65", "99999999999999999999", "SIG", "RTMIN", "SIGSIGKILL", "SIG9"} {
		if got := engineSignal(text); got != -1 {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func engineExample(t testing.TB) []byte {
	t.Helper()
	c := &Container{dir: "/r/containers/a", state: State{Name: "a", ID: strings.Repeat("0123456789abcdef", 4), RunRoot: "/r/libcontainer", PID: 7, Boot: "b"}}
	show := func(s State) ([]byte, error) { return []byte("it is " + s.Status), nil }
	r, err := c.engineRecord(&launched{o: Options{Engine: &Engine{Show: show}}, cgroup: &ownCgroup{Manager: keptCgroup{}, config: &cgroups.Cgroup{}}})
	if err != nil {
		t.Fatal(err)
	}
	return r.bytes()
}

func TestEngineRecord(t *testing.T) {
	data := engineExample(t)
	if !engineWhole(data) {
		t.Fatal("what was written is not whole")
	}
	for n := range data {
		if engineWhole(data[:n:n]) {
			t.Errorf("%d of %d bytes are whole", n, len(data))
		}
	}
	for _, text := range []string{"/r/libcontainer/.0123456789ab.json", "/r/libcontainer/a/exec.fifo", "minirun-0123456789ab/cgroup.freeze", `"status":"running"`, "it is created", "it is stopped"} {
		if !bytes.Contains(data, []byte(text)) {
			t.Errorf("%s is not in it", text)
		}
	}
	c := &Container{state: State{RunRoot: "/r\x00"}}
	if _, err := c.engineRecord(&launched{o: Options{Engine: &Engine{}}}); err == nil {
		t.Error("a text with a NUL byte was written")
	}
}

func FuzzEngineRecord(f *testing.F) {
	f.Add(engineExample(f))
	f.Fuzz(func(_ *testing.T, data []byte) {
		exact := bytes.Clone(data)
		engineWhole(exact[:len(exact):len(exact)])
	})
}
