package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/testenv"
)

// changes are those of `docker import` whose effect is compared. (dockerd 20.10 does not
// have STOPSIGNAL there.)
var changes = [...]string{
	`CMD ["a", "b c"]`, `ENTRYPOINT run  it`, `ENV A=1 B="2 3" C='4 "5"' D=6\ 7`, `ENV A some words`, `LABEL a=b "c d"="e f"`,
	`EXPOSE 80 53/UDP 8000-8002`, `VOLUME ["/a b"]`, `VOLUME /c /d`, `WORKDIR /a`, `WORKDIR b`, `USER 1:2`, `ONBUILD RUN a b`,
}

// smallRoot makes the tarball of a root file system.
func smallRoot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	outputOf(t, exec.Command("sh", "-ec", `cd "$1"; mkdir -p root/etc root/bin; echo one >root/etc/one; ln -s one root/etc/link; ln root/etc/one root/two
		head -c 300000 /dev/urandom >root/random; chmod 4755 root/random; mkfifo root/fifo; tar -C root -cf root.tar .`, "sh", dir))
	return filepath.Join(dir, "root.tar")
}

// inspected returns `inspect` of an image by docker or minirun, without what is empty,
// which clients before 28 print too.
func inspected(t *testing.T, command ...string) map[string]any {
	t.Helper()
	var images []map[string]any
	out := outputOf(t, exec.Command(command[0], command[1:]...))
	if err := json.Unmarshal([]byte(out), &images); err != nil || len(images) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return withoutEmpty(images[0]).(map[string]any)
}

func withoutEmpty(v any) any {
	fields, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for name, value := range fields {
		switch value := withoutEmpty(value).(type) {
		case nil:
			delete(fields, name)
		case string:
			if value == "" {
				delete(fields, name)
			}
		case bool:
			if !value {
				delete(fields, name)
			}
		case []any:
			if len(value) == 0 {
				delete(fields, name)
			}
		case map[string]any:
			if len(value) == 0 && name != "80/tcp" && !strings.Contains(name, "/") {
				delete(fields, name)
			}
		}
	}
	return fields
}

// TestImagesAsDocker compares what minirun and a dockerd make of the same images, and
// what each says of those that the other has saved.
func TestImagesAsDocker(t *testing.T) {
	host := startDockerd(t)
	store, root := t.TempDir(), smallRoot(t)
	docker := func(args ...string) []string { return append([]string{"docker", "-H", host}, args...) }
	minirun := func(args ...string) []string { return append([]string{testBed.minirun, "--root", store}, args...) }
	call := func(command []string) string {
		t.Helper()
		return outputOf(t, exec.Command(command[0], command[1:]...))
	}
	var flags []string
	for _, change := range changes {
		flags = append(flags, "-c", change)
	}
	imported := slices.Concat([]string{"import"}, flags, []string{root, "imported:1"})
	call(docker(imported...))
	call(minirun(append(imported[:len(imported):len(imported)], "-q")...))
	theirs, ours := inspected(t, docker("image", "inspect", "imported:1")...), inspected(t, minirun("inspect", "imported:1")...)
	// Docker counts the files of a layer, minirun its tar; the others are Docker's own.
	for _, field := range []string{"Id", "Created", "Size", "VirtualSize", "GraphDriver", "Metadata", "DockerVersion", "ContainerConfig", "Descriptor"} {
		delete(theirs, field)
		delete(ours, field)
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("docker -, minirun +:\n%s", diff)
	}

	archive := filepath.Join(t.TempDir(), "x.tar")
	for from, to := range map[string]struct{ save, load, id, otherID, history, otherHistory []string }{
		"docker":  {docker("save", "-o", archive, "imported:1"), minirun("load", "-q", "-i", archive), docker("image", "inspect", "-f", "{{.Id}}", "imported:1"), minirun("inspect", "-f", "{{.Id}}", "imported:1"), docker("history", "imported:1"), minirun("history", "imported:1")},
		"minirun": {minirun("save", "-o", archive, "imported:1"), docker("load", "-i", archive), minirun("inspect", "-f", "{{.Id}}", "imported:1"), docker("image", "inspect", "-f", "{{.Id}}", "imported:1"), minirun("history", "imported:1"), docker("history", "imported:1")},
	} {
		call(to.save)
		if out := call(to.load); !strings.HasSuffix(out, "Loaded image: imported:1\n") {
			t.Errorf("from %s: %q", from, out)
		}
		if was, is := call(to.id), call(to.otherID); was != is {
			t.Errorf("from %s: image %s became %s", from, was, is)
		}
		format := []string{"--format", "{{.ID}} {{.CreatedAt}} {{.CreatedBy}} {{.Comment}}"}
		if was, is := call(append(to.history, format...)), call(append(to.otherHistory, format...)); was != is {
			t.Errorf("from %s: history %q became %q", from, was, is)
		}
	}
}

// TestSaveForSkopeo copies what minirun saved with skopeo, in both of its forms.
func TestSaveForSkopeo(t *testing.T) {
	_, err := exec.LookPath("skopeo")
	testenv.Need(t, "skopeo", err == nil)
	store, dir := t.TempDir(), t.TempDir()
	id := strings.TrimSpace(outputOf(t, exec.Command(testBed.minirun, "--root", store, "import", "-q", smallRoot(t), "app:1")))
	archive := filepath.Join(dir, "x.tar")
	outputOf(t, exec.Command(testBed.minirun, "--root", store, "save", "-o", archive, "app:1"))
	for _, source := range []string{"oci-archive:" + archive + ":1", "docker-archive:" + archive + ":app:1"} {
		to := filepath.Join(dir, source[:10])
		outputOf(t, exec.Command("skopeo", "copy", "--insecure-policy", source, "dir:"+to))
		data, err := os.ReadFile(filepath.Join(to, "manifest.json"))
		if err != nil || !strings.Contains(string(data), id) {
			t.Errorf("%s: %v: %s has no configuration %s", source, err, data, id)
		}
	}
}
