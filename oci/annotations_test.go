package oci

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const gated = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
{"names":["chown"],"action":"SCMP_ACT_ERRNO"},
{"names":["mount"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_ADMIN"]}}]}`

// A profile's rules are those for the container's own capabilities; only what the
// administrator allows counts, and only files below the directory of profiles.
func TestAnnotated(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("profiles/gated.json", gated, 0o644)
	write("profiles/broken.json", "{", 0o644)
	write("secret.json", gated, 0o600)
	if err := os.Symlink("../secret.json", filepath.Join(dir, "profiles/out.json")); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo.json")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	allowed := write("allowed.json", `{"annotations":["org.minirun.seccomp-profile"],"profiles":"`+dir+`/profiles"}`, 0o644)
	for _, test := range []struct {
		name, settings string
		annotations    map[string]string
		caps           []string
		names          string // of the rules' calls
		err            string
	}{
		{"none", allowed, nil, nil, "engine", ""},
		{"others", allowed, map[string]string{"org.other": "x"}, nil, "engine", ""},
		{"no file", filepath.Join(dir, "missing"), profile("gated.json"), nil, "", "annotation org.minirun.seccomp-profile is not allowed here"},
		{"not listed", write("empty.json", `{}`, 0o644), profile("gated.json"), nil, "", "is not allowed here"},
		{"unknown annotation", allowed, map[string]string{"org.minirun.nosuch": ""}, nil, "", "annotation org.minirun.nosuch is not allowed here"},
		{"without", allowed, profile("gated.json"), []string{"CAP_KILL"}, "chown mount", ""},
		{"with", allowed, profile("gated.json"), []string{"CAP_SYS_ADMIN"}, "chown", ""},
		{"sandbox", allowed, map[string]string{profileAnnotation: "gated.json", "io.kubernetes.cri.container-type": "sandbox"}, nil, "engine", ""},
		{"broken", allowed, profile("broken.json"), nil, "", "broken.json:1:"},
		{"outside", allowed, profile("../secret.json"), nil, "", "no such file"},
		{"link outside", allowed, profile("out.json"), nil, "", "no such file"},
		{"unconfined", allowed, profile("unconfined"), nil, "", "no such file"},
		{"directory", allowed, profile("."), nil, "", "is not a regular file"},
		{"writable by others", write("open.json", `{}`, 0o666), profile("gated.json"), nil, "", "others than root can write it"},
		{"a FIFO", fifo, profile("gated.json"), nil, "", "fifo.json: not a regular file"},
		{"misspelt key", write("misspelt.json", `{"annotation":[]}`, 0o644), profile("gated.json"), nil, "", `unknown field "annotation"`},
		{"misspelt annotation", write("name.json", `{"annotations":["org.minirun.seccomp"]}`, 0o644), profile("gated.json"), nil, "", "is none of minirun's"},
		{"relative", write("relative.json", `{"profiles":"x"}`, 0o644), profile("gated.json"), nil, "", "is not an absolute path"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := &specs.Spec{
				Annotations: test.annotations,
				Process:     &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: test.caps}},
				Linux:       &specs.Linux{Seccomp: &specs.LinuxSeccomp{Syscalls: []specs.LinuxSyscall{{Names: []string{"engine"}}}}},
			}
			list, err := resolved(spec, test.settings)
			if err != nil {
				if test.err == "" || !strings.Contains(err.Error(), test.err) {
					t.Error(err)
				}
				return
			}
			var names []string
			for _, rule := range list.Syscalls {
				names = append(names, rule.Names...)
			}
			if got := strings.Join(slices.Sorted(slices.Values(names)), " "); test.err != "" || got != test.names {
				t.Errorf("%s", got)
			}
		})
	}
	list, err := resolved(&specs.Spec{Annotations: profile("default"), Process: &specs.Process{}, Linux: &specs.Linux{}}, allowed)
	if err != nil || list.DefaultAction != specs.ActErrno {
		t.Errorf("default: %v %v", list, err)
	}
}

func profile(name string) map[string]string { return map[string]string{profileAnnotation: name} }

// resolved is the list of a container's filter.
func resolved(spec *specs.Spec, settingsFile string) (*specs.LinuxSeccomp, error) {
	a, err := readAnnotations(spec, settingsFile)
	if err != nil || a == nil {
		return spec.Linux.Seccomp, err
	}
	p, err := a.profile()
	if err != nil {
		return nil, err
	}
	policy, err := p.resolve(spec.Process.Capabilities)
	if err != nil {
		return nil, err
	}
	return policy.Seccomp, nil
}

// What is asked for by others names nothing outside of the administrator's directories.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	command := []string{"/usr/bin/my cmd"}
	for _, test := range []struct {
		values map[string]string // without the prefix
		want   *watch
		err    string
	}{
		{map[string]string{"seccomp-profile": "default"}, nil, ""},
		{map[string]string{"explain": "stderr"}, &watch{Explain: "stderr"}, ""},
		{map[string]string{"explain": "web.json"}, &watch{Explain: filepath.Join(dir, "web.json")}, ""},
		{map[string]string{"complain": "true"}, &watch{Explain: "stderr", Complain: true}, ""},
		{map[string]string{"complain": "true", "explain": "web"}, &watch{Explain: filepath.Join(dir, "web"), Complain: true}, ""},
		{map[string]string{"complain": "false"}, nil, ""},
		{map[string]string{"record": "r"}, &watch{Record: filepath.Join(dir, "r/my_cmd.json")}, ""},
		{map[string]string{"explain": ""}, nil, `annotation org.minirun.explain: "" is not the name of something in ` + dir},
		{map[string]string{"explain": "../x"}, nil, `annotation org.minirun.explain: "../x" is not the name of something in ` + dir},
		{map[string]string{"explain": ".x"}, nil, `annotation org.minirun.explain: ".x" is not the name of something in ` + dir},
		{map[string]string{"explain": "link"}, nil, "annotation org.minirun.explain: " + dir + "/link is a symbolic link"},
		{map[string]string{"record": "a/b"}, nil, `annotation org.minirun.record: "a/b" is not the name of something in ` + dir},
		{map[string]string{"record": "link"}, nil, "annotation org.minirun.record: " + dir + "/link is a symbolic link"},
		{map[string]string{"complain": ""}, nil, "annotation org.minirun.complain: it is true or false"},
		{map[string]string{"complain": "1"}, nil, `annotation org.minirun.complain: "1": it is true or false`},
	} {
		a := &annotations{settings: &settings{Reports: dir, Records: dir}, values: map[string]string{}}
		for name, value := range test.values {
			a.values[annotationPrefix+name] = value
		}
		got, err := a.watch(&bundle{spec: &specs.Spec{Process: &specs.Process{Args: command}}})
		if test.want != nil {
			test.want.Command = command[0]
		}
		if text(err) != test.err || cmp.Diff(test.want, got) != "" {
			t.Errorf("%v: %+v %v", test.values, got, err)
		}
	}
}

func TestRecordName(t *testing.T) {
	for _, test := range []struct {
		image, command, want string
	}{
		{"", "/bin/sh", "sh.json"},
		{"docker.io/library/nginx:1.27", "/docker-entrypoint.sh", "docker.io_library_nginx_1.27_docker-entrypoint.sh.json"},
		{"../../etc/x", "..", "_._.._etc_x_...json"},
		{strings.Repeat("a", 300), "sh", strings.Repeat("a", 250) + ".json"},
	} {
		annotations := map[string]string{"io.kubernetes.cri.image-name": test.image}
		if got := recordName(annotations, test.command); got != test.want {
			t.Errorf("%q %q: %q", test.image, test.command, got)
		}
	}
}

// A report is a regular file, and no link is followed there.
func TestOpenReport(t *testing.T) {
	dir := t.TempDir()
	for name, make := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink("/dev/null", path) },
		"fifo": func(path string) error { return unix.Mkfifo(path, 0o600) },
		"dir":  func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := filepath.Join(dir, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if f, err := openReport(path); err == nil {
			f.Close()
			t.Errorf("%s: opened", name)
		}
	}
	f, err := openReport(filepath.Join(dir, "new/report"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
