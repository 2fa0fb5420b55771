package integration

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

	// Straight from the daemon.
	copied := exec.Command(testBed.minirun, "--root", store, "pull", "-q", "docker-daemon:imported:1")
	copied.Env = append(os.Environ(), "DOCKER_HOST="+host)
	outputOf(t, copied)
	if was, is := call(docker("image", "inspect", "-f", "{{.Id}}", "imported:1")), call(minirun("inspect", "-f", "{{.Id}}", "docker-daemon:imported:1")); was != is {
		t.Errorf("image %s became %s", was, is)
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
	testenv.Need(t, "skopeo ('make docker-deps' installs it)", err == nil)
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

// TestPushToRegistry pushes to Debian's docker-registry, with the credentials that
// Docker's client would have stored, and pulls with skopeo.
func TestPushToRegistry(t *testing.T) {
	for _, tool := range []string{"skopeo", "docker-registry"} {
		_, err := exec.LookPath(tool)
		testenv.Need(t, tool+" ('make docker-deps' installs it)", err == nil)
	}
	host, config := startRegistry(t)
	store, archive := t.TempDir(), smallRoot(t)
	minirun := func(args ...string) *exec.Cmd {
		cmd := exec.Command(testBed.minirun, append([]string{"--root", store}, args...)...)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+config)
		return cmd
	}
	id := strings.TrimSpace(outputOf(t, minirun("import", "-q", archive, host+"/app:1")))
	pushed := outputOf(t, minirun("push", host+"/app:1"))
	got := outputOf(t, exec.Command("skopeo", "inspect", "--raw", "--tls-verify=false", "--creds", "me:secret", "docker://"+host+"/app:1"))
	if digest := fmt.Sprintf("%x", sha256.Sum256([]byte(got))); !strings.Contains(pushed, "1: digest: sha256:"+digest+" size: ") || !strings.Contains(got, id) {
		t.Errorf("%q, and the registry has %s, %s", pushed, digest, got)
	}
	outputOf(t, exec.Command("skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", "--src-creds", "me:secret", "docker://"+host+"/app:1", "dir:"+t.TempDir()))

	// What was pulled is pushed with the same digest, in the same registry.
	outputOf(t, minirun("rmi", host+"/app:1"))
	outputOf(t, minirun("pull", "-q", host+"/app:1"))
	outputOf(t, minirun("tag", host+"/app:1", host+"/other/copy:2"))
	again := outputOf(t, minirun("push", host+"/other/copy:2"))
	if strings.TrimPrefix(again, "2") != strings.TrimPrefix(pushed, "1") {
		t.Errorf("%q became %q", pushed, again)
	}

	// Without credentials.
	denied := minirun("push", host+"/app:1")
	denied.Env = append(os.Environ(), "DOCKER_CONFIG="+t.TempDir())
	if out, err := denied.CombinedOutput(); err == nil || !strings.Contains(string(out), "denies access") || !strings.Contains(string(out), "hint: run 'docker login "+host+"' first") {
		t.Errorf("%v: %s", err, out)
	}
}

// startRegistry starts a docker-registry with a user, and returns its address and the
// directory of a config.json with the user's password.
func startRegistry(t *testing.T) (host, config string) {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = listener.Addr().String()
	_ = listener.Close()
	settings := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s/data}}\nhttp: {addr: %q}\nauth: {htpasswd: {realm: test, path: %s/users}}\n", dir, host, dir)
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	const user = "me:$2a$04$hfrXS7oTfIQ/ggcrfL/I/e4WpJIOaTlqpjDpJNKDiVq.vwU.cxRXG\n" // bcrypt of "secret"
	for file, text := range map[string]string{"users": user, "config.yml": settings, "config.json": `{"auths":{"` + host + `":{"auth":"` + auth + `"}}}`} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("docker-registry", "serve", dir+"/config.yml")
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "listening on "+host) {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return host, dir
		}
	}
	t.Fatal("docker-registry does not listen")
	return "", ""
}

// TestManyLayers runs an image with as many layers as overlayfs takes, in a store whose
// paths are together far longer than the page that mount(2) takes.
func TestManyLayers(t *testing.T) {
	const layers = 500
	dir := t.TempDir()
	store := filepath.Join(dir, strings.Repeat("long", 50), "store")
	var archive bytes.Buffer
	out := tar.NewWriter(&archive)
	add := func(name string, data []byte) {
		t.Helper()
		err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(data))})
		if _, failed := out.Write(data); err != nil || failed != nil {
			t.Fatal(err, failed)
		}
	}
	minirun, err := os.ReadFile(testBed.minirun) // static: it runs without a loader
	if err != nil {
		t.Fatal(err)
	}
	var ids, names []string
	for i := range layers {
		name, content := fmt.Sprintf("file%d", i), []byte{}
		if i == 0 {
			name, content = "minirun", minirun
		}
		var layer bytes.Buffer
		in := tar.NewWriter(&layer)
		err := in.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))})
		if _, failed := in.Write(content); err != nil || failed != nil || in.Close() != nil {
			t.Fatal(err, failed)
		}
		ids, names = append(ids, fmt.Sprintf("sha256:%x", sha256.Sum256(layer.Bytes()))), append(names, name+".tar")
		add(name+".tar", layer.Bytes())
	}
	config, _ := json.Marshal(map[string]any{"architecture": runtime.GOARCH, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	add("config.json", config)
	manifest, _ := json.Marshal([]any{map[string]any{"Config": "config.json", "Layers": names}})
	add("manifest.json", manifest)
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "many.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got := outputOf(t, exec.Command(testBed.minirun, "--root", store, "-q", "docker-archive:"+file, "/minirun", "version"))
	if !strings.HasPrefix(got, "minirun ") {
		t.Errorf("%q", got)
	}
}
