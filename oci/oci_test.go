package oci

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher"
)

func TestCalled(t *testing.T) {
	for _, test := range []struct {
		args, rest []string
		ok         bool
	}{
		{[]string{"minirun", "oci", "state", "x"}, []string{"state", "x"}, true},
		{[]string{"/usr/bin/minirun-runtime", "--root", "r", "list"}, []string{"--root", "r", "list"}, true},
		{[]string{"minirun-runtime"}, []string{}, true},
		{[]string{"minirun", "debian", "oci"}, nil, false},
		{[]string{"minirun"}, nil, false},
		{nil, nil, false},
	} {
		rest, ok := Called(test.args)
		if ok != test.ok || cmp.Diff(test.rest, rest) != "" {
			t.Errorf("%q: %q %v", test.args, rest, ok)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]unix.Signal{"9": 9, "KILL": 9, "sigterm": 15, "0": 0, "34": 34, "TERM": 15} {
		if got, err := parseSignal(text); err != nil || got != want {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	if _, err := parseSignal("NOSUCH"); err == nil || err.Error() != `unknown signal "NOSUCH"` {
		t.Error(err)
	}
}

func TestSubCgroups(t *testing.T) {
	for _, test := range []struct {
		list []string
		want map[string]string
		err  string
	}{
		{nil, map[string]string{}, ""},
		{[]string{"a/b"}, map[string]string{"": "a/b"}, ""},
		{[]string{"cpu,memory:a", "pids:b"}, map[string]string{"cpu": "a", "memory": "a", "pids": "b"}, ""},
		{[]string{"a", "b"}, nil, "--cgroup a: one of several names its controllers, as in cpu,memory:PATH"},
		{[]string{"cpu:a", "cpu:b"}, nil, "--cgroup cpu:b: a controller is empty, or named twice"},
		{[]string{":a"}, nil, "--cgroup :a: a controller is empty, or named twice"},
	} {
		got, err := subCgroups(test.list)
		if text(err) != test.err || cmp.Diff(test.want, got) != "" {
			t.Errorf("%q: %v %v", test.list, got, err)
		}
	}
}

func TestSetUser(t *testing.T) {
	for _, test := range []struct {
		text   string
		groups []int64
		want   specs.User
		err    string
	}{
		{"", nil, specs.User{UID: 1, GID: 2}, ""},
		{"7", nil, specs.User{UID: 7, GID: 2}, ""},
		{"7:8", []int64{9}, specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{9}}, ""},
		{"me", nil, specs.User{}, "--user me: the user is a number"},
		{"7:us", nil, specs.User{}, "--user 7:us: the group is a number"},
		{"", []int64{-1}, specs.User{}, "--additional-gids -1: no group has that number"},
	} {
		u := specs.User{UID: 1, GID: 2}
		err := setUser(&u, test.text, test.groups)
		if text(err) != test.err || err == nil && cmp.Diff(test.want, u) != "" {
			t.Errorf("%q %v: %v %v", test.text, test.groups, u, err)
		}
	}
}

// An ambient capability has to be inheritable.
func TestAddCapabilities(t *testing.T) {
	p := &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}}}
	addCapabilities(p, []string{"CAP_CHOWN"})
	want := &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL", "CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"}, Permitted: []string{"CAP_CHOWN"}}
	if diff := cmp.Diff(want, p.Capabilities); diff != "" {
		t.Error(diff)
	}
	p.Capabilities = &specs.LinuxCapabilities{Inheritable: []string{}}
	addCapabilities(p, []string{"CAP_CHOWN"})
	if diff := cmp.Diff([]string{"CAP_CHOWN"}, p.Capabilities.Ambient); diff != "" {
		t.Error(diff)
	}
}

func TestCheckConsole(t *testing.T) {
	socket := os.Stdin
	for _, test := range []struct {
		terminal bool
		e        launcher.Engine
		ok       bool
	}{
		{false, launcher.Engine{}, true},
		{true, launcher.Engine{Console: socket}, true},
		{true, launcher.Engine{Foreground: true}, true},
		{true, launcher.Engine{}, false},
		{false, launcher.Engine{Console: socket}, false},
		{true, launcher.Engine{Console: socket, Foreground: true}, false},
	} {
		if err := checkConsole(test.terminal, &test.e); (err == nil) != test.ok {
			t.Errorf("%v %+v: %v", test.terminal, test.e, err)
		}
	}
}

// What an engine shows its user is one line.
func TestMessage(t *testing.T) {
	err := errors.Join(errors.New("a"), hint.With(errors.New("b"), "do this"))
	if got := message(err); got != "a; b (hint: do this)" {
		t.Error(got)
	}
	for _, status := range []int{launcher.StatusNotExecutable, launcher.StatusError} {
		want := "run /etc: is a directory"
		if status == launcher.StatusNotExecutable {
			want += ": permission denied"
		}
		if got := message(&launcher.Error{Op: "run /etc", Err: unix.EISDIR, Code: status}); got != want {
			t.Errorf("status %d: %q, want %q", status, got, want)
		}
	}
}

func TestOpenBundle(t *testing.T) {
	for config, want := range map[string]string{
		``:                      "unexpected end of JSON input",
		`{}`:                    "root.path is missing",
		`{"root":{"path":"r"}}`: "process is missing",
		`{"root":{"path":"r"},"process":{"cwd":"x","args":["a"]}}`: `process.cwd "x" is not an absolute path`,
		`{"root":{"path":"r"},"process":{"cwd":"/"}}`:              "process.args is empty",
		`{"root":{"path":"r"},"process":{"cwd":"/","args":["a"]}}`: "",
	} {
		dir := t.TempDir()
		t.Chdir(dir)
		if err := os.WriteFile(configFile, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		if want != "" {
			want = filepath.Join(dir, configFile) + ": " + want
		}
		b, err := openBundle(".")
		if text(err) != want {
			t.Errorf("%s: %v", config, err)
		}
		if err == nil && (b.spec.Root.Path != filepath.Join(dir, "r") || b.spec.Linux == nil) {
			t.Errorf("%s: %+v", config, b.spec)
		}
	}
}

// A list that nothing can start under, or that nobody answers, is refused with its place.
func TestNewFilter(t *testing.T) {
	allow := func(rules ...specs.LinuxSyscall) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: rules}
	}
	errno := uint(1 << 20)
	for _, test := range []struct {
		list *specs.LinuxSeccomp
		want string
	}{
		{allow(specs.LinuxSyscall{Names: []string{"execve"}, Action: specs.ActErrno}), "linux.seccomp: the profile denies execve (ERRNO(EPERM)), so no command can be started"},
		{allow(specs.LinuxSyscall{Names: []string{"mkdir"}, Action: specs.ActNotify}), "linux.seccomp: SCMP_ACT_NOTIFY needs a listenerPath"},
		{allow(specs.LinuxSyscall{Names: []string{"mkdir"}, Action: specs.ActErrno, ErrnoRet: &errno}), "linux.seccomp: config.json: linux.seccomp.syscalls[0]: errno 1048576: a filter returns 16 bits"},
	} {
		if _, err := newFilter(test.list, rulePositions(filepath.Join(t.TempDir(), configFile))); text(err) != test.want {
			t.Errorf("%v", err)
		}
	}
	if f, err := newFilter(nil, nil); err != nil || f.instructions != nil {
		t.Errorf("%v %v", f, err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCgroupManager(t *testing.T) {
	for _, test := range []struct {
		args            []string
		systemd, nobody bool
		err             string
	}{
		{nil, false, false, ""},
		{[]string{"--systemd-cgroup"}, true, false, ""},
		{[]string{"--cgroup-manager", "systemd"}, true, false, ""},
		{[]string{"--cgroup-manager", "disabled"}, false, true, ""},
		{[]string{"--systemd-cgroup", "--cgroup-manager", "disabled"}, false, true, ""},
		{[]string{"--cgroup-manager", "runc"}, false, false, "--cgroup-manager runc: use cgroupfs, systemd or disabled"},
	} {
		c := &command{stdout: os.Stdout, stderr: os.Stderr}
		app := c.app()
		app.Action = func(*ucli.Context) error { return nil }
		err := app.Run(append([]string{BinaryName}, test.args...))
		if text(err) != test.err || c.systemd != test.systemd || c.noCgroup != test.nobody {
			t.Errorf("%q: %v, systemd %v, none %v", test.args, err, c.systemd, c.noCgroup)
		}
	}
}

func TestIgnoreNoTasks(t *testing.T) {
	for _, test := range []struct {
		version string
		limit   int64
		ignored bool
	}{
		{"1.0.2-dev", 0, true},
		{"1.2.1", 0, true},
		{"1.3.0", 0, false},
		{"2.0.0", 0, false},
		{"", 0, false},
		{"1.0.2", 1, false},
		{"1.0.2", -1, false},
	} {
		r := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &test.limit}}
		if ignoreNoTasks(test.version, r); (r.Pids == nil) != test.ignored {
			t.Errorf("%s, %d: %v", test.version, test.limit, r.Pids)
		}
	}
	ignoreNoTasks("1.0.2", nil)
	ignoreNoTasks("1.0.2", &specs.LinuxResources{Pids: &specs.LinuxPids{}})
}
