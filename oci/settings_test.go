package oci

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
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
			list, _, err := annotated(spec, test.settings)
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
	list, _, err := annotated(&specs.Spec{Annotations: profile("default"), Process: &specs.Process{}, Linux: &specs.Linux{}}, allowed)
	if err != nil || list.DefaultAction != specs.ActErrno {
		t.Errorf("default: %v %v", list, err)
	}
}

func profile(name string) map[string]string { return map[string]string{profileAnnotation: name} }
