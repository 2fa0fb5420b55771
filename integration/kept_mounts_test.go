package integration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is mounted in a container is what the host has at that path now: where it is another
// file than before Go makes the launch, and what is in it changes as it likes.
func TestKeptMounts(t *testing.T) {
	b := newKept(t, "grep", "-q", "this", "/mnt/file")
	dir := filepath.Dir(b.profile)
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) error { return os.WriteFile(in(name), []byte(text), 0o600) }
	if err := errors.Join(os.Mkdir(in("one"), 0o755), os.Mkdir(in("two"), 0o755), write("one/file", "this"), write("two/file", "other"), os.Symlink("one", in("link"))); err != nil {
		t.Fatal(err)
	}
	b.flags = []string{"--network", "none", "-v", in("link") + ":/mnt"}
	b.keep(0)
	for _, c := range []struct {
		name   string
		change func() error
		status int
		inGo   bool
	}{
		{"another text", func() error { return write("one/file", "other") }, 1, false},
		{"another file", func() error { return errors.Join(os.Remove(in("one/file")), write("one/file", "this")) }, 0, false},
		{"the link leads elsewhere", func() error { return errors.Join(os.Remove(in("link")), os.Symlink("two", in("link"))) }, 1, true},
		{"another directory", func() error {
			return errors.Join(os.Rename(in("two"), in("three")), os.Mkdir(in("two"), 0o755), write("two/file", "this"))
		}, 0, true},
		{"nobody may enter it", func() error { return os.Chmod(in("two"), 0) }, 0, true},
		{"nothing", func() error { return os.Remove(in("link")) }, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.T = t
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			if inGo := b.launch(c.status); inGo != c.inGo {
				t.Errorf("in Go: %v", inGo)
			}
			b.keep(c.status)
		})
	}
	b.T = t
	b.tidy()
}

// A container of that name is found: Go says so, and what is there is not touched.
func TestKeptName(t *testing.T) {
	b := newKept(t, "true")
	b.flags = []string{"--network", "none", "--name", "kept_name"}
	b.keep(0)
	other := *b
	other.flags = []string{"--network", "none", "--name", "kept_name", "-i"}
	other.command = []string{"sh", "-c", "echo ready; cat"}
	printed, hold, ended := make(chan string, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := holdOpen(other.cmd(), printed, hold)
		ended <- err
	}()
	if text := <-printed; text != "ready" {
		t.Errorf("%q", text)
	}
	if !b.launch(125) {
		t.Error("two containers have the same name")
	}
	close(hold)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if b.launch(0) {
		t.Error("the launch is not kept any more")
	}
	b.tidy()
}

// An image whose links lead out of the root, where the container's own files go: no launch
// writes there, and all give the same container.
func TestKeptHostileImage(t *testing.T) {
	needsKept(t)
	outside := t.TempDir()
	k := &keptBed{T: t, run: filepath.Join(t.TempDir(), "run")}
	for name, script := range map[string]string{
		"directories": `ln -s ../../../../../..$2 etc; ln -s $2 run`,
		"files":       `mkdir etc run; for f in hosts hostname resolv.conf; do ln -s ../../../../../../..$2/$f etc/$f; done`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			outputOf(t, exec.Command("sh", "-ec", `mkdir -p $1/root/usr $1/root/proc $1/root/dev $1/root/sys; cd $1/root; ln -s usr/bin usr/lib usr/lib64 .; `+script+`; tar -cf ../root.tar .`, "sh", dir, outside))
			k.T = t
			k.ask("import", "-q", filepath.Join(dir, "root.tar"), "kept:hostile")
			defer k.ask("rmi", "kept:hostile")
			k.settle()
			var first string
			for i := range 3 {
				cmd := exec.Command(testBed.minirun, "-h", "box", "-v", "/usr:/usr:ro", "kept:hostile", "sh", "-c", "cat /etc/hostname; grep -c . /etc/hosts; ls / /etc/")
				cmd.Env = append(os.Environ(), "MINIRUN_RUN_ROOT="+k.run, "MINIRUN_NETWORK=bridge")
				out, _ := cmd.CombinedOutput() // it may be refused
				if i == 0 {
					first = string(out)
				}
				if string(out) != first {
					t.Errorf("launch %d: %s, the first: %s", i+1, out, first)
				}
			}
			if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
				t.Errorf("outside of the root: %v, %v", left, err)
			}
			if !strings.HasPrefix(first, "box\n") {
				t.Errorf("%s", first)
			}
		})
	}
	k.T = t
	k.tidy()
}
