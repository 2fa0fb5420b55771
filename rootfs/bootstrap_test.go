package rootfs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minirun/minirun/internal/hint"
)

func TestDebianMirrors(t *testing.T) {
	const hub = "http://deb.debian.org/debian"
	for name, c := range map[string]struct{ uris, mirror, security string }{
		"no apt": {"", hub, hub + "-security"},
		"Debian": {
			`'http://mirror.example/debian/dists/bookworm/InRelease' x 0
'http://mirror.example/debian/dists/bookworm-updates/InRelease' x 0
'http://security.example/debian-security/dists/bookworm-security/InRelease' x 0`,
			"http://mirror.example/debian", "http://security.example/debian-security",
		},
		"others with Debian's suites": {
			`'https://download.example/linux/debian/dists/bookworm/InRelease' x 0
'http://packages.example/apt/dists/bookworm-updates/InRelease' x 0
'http://mirror.example/debian/dists/bookworm-updates/main/binary-amd64/Packages.xz' x 0`,
			hub, hub + "-security",
		},
		"Ubuntu": {`'http://archive.example/ubuntu/dists/noble-updates/InRelease' x 0`, hub, hub + "-security"},
	} {
		if mirror, security := debianMirrors([]byte(c.uris)); mirror != c.mirror || security != c.security {
			t.Errorf("%s: %s, %s", name, mirror, security)
		}
	}
}

// fakeMmdebstrap puts a script in the place of mmdebstrap; tar is in $TAR.
func fakeMmdebstrap(t *testing.T, script string, tar []byte) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TAR", write(t, dir+"/tar", tar))
	if err := os.WriteFile(filepath.Join(dir, "mmdebstrap"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestBootstrap(t *testing.T) {
	data := makeTar(t, dirEntry("./", 0o755), file("./bin/ping", "x").xattr("security.capability", pingCapability))
	fakeMmdebstrap(t, `echo "$@" >&2; mount -t tmpfs tmpfs "$TMPDIR" && cat "$TAR"`, data)
	s := newStore(t)
	var log bytes.Buffer
	info, err := s.Bootstrap(context.Background(), BootstrapOptions{Distribution: "debian", Packages: []string{"strace"}, Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"debian", "debian:bookworm", "docker.io/library/debian:latest"} {
		image := resolve(t, s, ref)
		if image.Digest != info.Digest || !slices.Equal(image.Config.Cmd, []string{"bash"}) || !strings.HasPrefix(image.Config.Env[0], "PATH=") {
			t.Errorf("%s: %+v", ref, image)
		}
		if got := xattrsOf(t, image.Layers[0]+"/bin/ping"); !strings.Contains(got, "security.capability=") {
			t.Errorf("ping's capability is lost: %q", got)
		}
	}
	if text := log.String(); !strings.Contains(text, "--variant=minbase") || !strings.Contains(text, ",strace --format=tar --keyring="+debianKeyring+" bookworm - deb http") {
		t.Errorf("mmdebstrap was run with %s", text)
	}
	steps, err := s.History("debian", "")
	if err != nil || len(steps) != 1 || steps[0].Created.IsZero() || !strings.HasSuffix(steps[0].CreatedBy, ",strace bookworm") {
		t.Errorf("its history is %+v, %v", steps, err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); bytes.Contains(mounts, []byte(s.root)) {
		t.Error("mmdebstrap's mounts show on the host")
	}
}

func TestBootstrapFails(t *testing.T) {
	data := makeTar(t, dirEntry("./", 0o755), file("./x", strings.Repeat("x", 100000)))
	for name, c := range map[string]struct{ script, want string }{
		"at once":           {`echo "I: start" >&2; echo "E: no such suite" >&2; exit 25`, "exit status 25: E: no such suite"},
		"half way":          {`head -c 5000 "$TAR"; echo "E: disk" >&2; exit 1`, "exit status 1: E: disk"},
		"after a whole tar": {`cat "$TAR"; echo "E: late" >&2; exit 1`, "exit status 1: E: late"},
		"truncated":         {`head -c 5000 "$TAR"`, "unexpected EOF"},
		"nothing":           {``, "truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			fakeMmdebstrap(t, c.script, data)
			s := newStore(t)
			_, err := s.Bootstrap(context.Background(), BootstrapOptions{Distribution: "debian", Suite: "trixie"})
			if err == nil || !strings.Contains(err.Error(), "bootstrap debian:trixie: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			isEmpty(t, s)
		})
	}
}

func TestBootstrapRefuses(t *testing.T) {
	s := newStore(t)
	t.Setenv("PATH", t.TempDir())
	for _, c := range []struct{ distribution, suite, want, hint string }{
		{"ubuntu", "", "only debian", ""},
		{"debian", "--help", "not the name of a suite", "bookworm"},
		{"debian", "", "not installed", "apt-get install mmdebstrap"},
	} {
		_, err := s.Bootstrap(context.Background(), BootstrapOptions{Distribution: c.distribution, Suite: c.suite})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(hint.Text(err), c.hint) {
			t.Errorf("%s:%s: %v", c.distribution, c.suite, err)
		}
	}
	isEmpty(t, s)
}
