package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What inspect says of a container that docker's does not: the profile, and what it was
// resolved for.
func TestInspectContainer(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction": "SCMP_ACT_ALLOW"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := runs(t, "--rm=false", "--seccomp", profile, "--cap-drop", "ALL", "--cap-add", "CHOWN", "-v", "/srv:/srv")
	var d []struct {
		ID, Name     string
		State        struct{ Pid int }
		Capabilities []string
		Seccomp      struct {
			Profile, Digest string
			Edited          bool
			Instructions    int
		}
	}
	if err := json.Unmarshal([]byte(says(t, 0, "[", "", "inspect", c.name, c.name)), &d); err != nil || len(d) != 2 {
		t.Fatal(err, len(d))
	}
	s := d[0].Seccomp
	if d[0].Name != "/"+c.name || d[0].State.Pid != c.pid1 || len(d[0].ID) != 64 || strings.Join(d[0].Capabilities, "") != "CAP_CHOWN" ||
		s.Profile != profile || s.Digest != "sha256:e658ea75c64a718d229c4cf3b6e5107a18758bbba86bfa0dd402149b65b91bc5" || s.Edited || s.Instructions == 0 {
		t.Errorf("%+v", d[0])
	}

	// Damage is said once, with the file's name, and the others are listed.
	other := c.name + "-other"
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", other).Run() })
	says(t, 0, "\n", "", "-d", "--name", other, "debian", "sleep", "1000")
	launch := filepath.Join(testBed.root, "containers", c.name, "launch.json")
	if err := os.WriteFile(launch, []byte(`{"process": 1`), 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, 1, "[]", launch+": unexpected end of JSON input", "inspect", c.name)
	says(t, 0, other+"\n", launch, "ps", "--format", "{{.Names}}", "-f", "name=^"+other+"$")
	says(t, 0, c.name+"\n", launch, "ps", "--format", "{{.Names}}", "-f", "name=^"+c.name+"$")
	says(t, 1, "", launch, "exec", c.name, "true")
	says(t, 0, c.name+"\n", "", "kill", c.name)
	state := filepath.Join(filepath.Dir(launch), "state.json")
	if err := os.WriteFile(state, []byte(`{"name": "another"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	says(t, 0, other+"\n", state+`: it is of a container "another"`, "ps", "--format", "{{.Names}}", "-f", "name=^"+other+"$")
	for _, verb := range []string{"inspect", "stop", "rm", "logs", "top", "wait"} {
		says(t, 1, map[string]string{"inspect": "[]"}[verb], state+": it is of a container \"another\"\nhint: 'minirun rm -f "+c.name+"' removes", verb, c.name)
	}
	says(t, 0, "", state, "debian", "true") // which removes nothing that it cannot read
	says(t, 0, c.name+"\n", "", "rm", "-f", c.name)
	says(t, 0, other+"\n", "", "rm", "-f", other)
}

// A paused container is not lost silently, and leaves nothing, when its launcher is killed.
func TestPausedLifeOfKilledLauncher(t *testing.T) {
	for name, keep := range map[string]bool{"gone": false, "kept": true} {
		t.Run(name, func(t *testing.T) {
			c := launch(t, []string{"--rm=" + map[bool]string{true: "false", false: "true"}[keep]}, patient...)
			says(t, 0, c.name+"\n", "", "pause", c.name)
			says(t, 0, "Up ", "", "ps", "-f", "status=paused", "-f", "name="+c.name)
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = c.Wait()
			says(t, 0, "Exited (137)", "container "+c.name+" has ended: its minirun was killed", "ps", "-a", "-f", "name="+c.name)
			if keep {
				says(t, 0, c.name+"\n", "", "rm", c.name)
			} else if err := minirun(t, "debian", "true").Run(); err != nil { // which sweeps
				t.Fatal(err)
			}
			eventually(t, "PID 1 dies", func() bool { return gone(c.pid1) })
			wantNothing(t, c)
		})
	}
}

// A container that changes its links all the time leads cp nowhere outside of its root, and
// links of /proc to what others have open are not followed.
func TestHostileCopy(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := containerName(t)
	t.Cleanup(func() { _ = minirun(t, "rm", "-f", name).Run() })
	says(t, 0, "\n", "", "-d", "--pid", "host", "--name", name, "debian", "sh", "-c", `mkdir -p /a/b`+outside+`; ln -s /proc/1/root /a/host; ln -s ../../../../../../../.. /a/up; >/ready
while :; do mv /a/b /a/c; ln -s /proc/1/root /a/b; rm /a/b; ln -s / /a/b; rm /a/b; mv /a/c /a/b; done`)
	eventually(t, "the container is ready", func() bool { return minirun(t, "exec", name, "test", "-e", "/ready").Run() == nil })
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := t.TempDir()
	for range 30 {
		for _, link := range []string{"/a/host", "/a/up", "/a/b", "/proc/1/root", "/proc/self/root"} {
			_ = minirun(t, "cp", name+":"+link+secret, got).Run()
			_ = minirun(t, "cp", file, name+":"+link+secret).Run()
			_ = minirun(t, "cp", file, name+":"+link+outside).Run()
		}
	}
	if text, _ := os.ReadFile(filepath.Join(got, "secret")); string(text) == "secret" { // it may be the container's own
		t.Error("a file of the host was read")
	}
	text, err := os.ReadFile(secret)
	if names, _ := os.ReadDir(outside); err != nil || string(text) != "secret" || len(names) != 1 {
		t.Errorf("the host has %q, %v, %d files", text, err, len(names))
	}
}
