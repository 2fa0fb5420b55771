package integration

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	inprocess "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// robustRounds returns how many processes a test kills: few, or MINIRUN_ROBUST_ROUNDS
// (make test-robust).
func robustRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("MINIRUN_ROBUST_ROUNDS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// robust is a store that is treated badly, and a registry with two images that share a
// layer. The program in them is minirun itself, which is static.
type robust struct {
	*testing.T
	store string
	a, b  string
}

func newRobust(t *testing.T, store string) *robust {
	t.Helper()
	server := httptest.NewServer(inprocess.New(inprocess.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	program, err := os.ReadFile(testBed.minirun)
	if err != nil {
		t.Fatal(err)
	}
	shared := layerOf(t, map[string][]byte{"minirun": program})
	r := &robust{t, store, host + "/a:latest", host + "/b:latest"}
	for _, ref := range []string{r.a, r.b} {
		files := map[string][]byte{}
		for i := range 400 {
			files[fmt.Sprintf("opt/%d/%d", i/50, i)] = []byte(strings.Repeat(ref, 1+i))
		}
		pushRobust(t, ref, shared, layerOf(t, files), layerOf(t, map[string][]byte{"etc/name": []byte(ref)}))
	}
	return r
}

func layerOf(t *testing.T, files map[string][]byte) v1.Layer {
	t.Helper()
	return tarLayer(t, func(w *tar.Writer) error {
		for name, content := range files {
			if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
				return err
			}
			if _, err := w.Write(content); err != nil {
				return err
			}
		}
		return nil
	})
}

// tarLayer returns a layer of what write writes.
func tarLayer(t *testing.T, write func(w *tar.Writer) error) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(write(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// imageOf returns an image for this machine.
func imageOf(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

func pushRobust(t *testing.T, ref string, layers ...v1.Layer) {
	t.Helper()
	image := imageOf(t, layers...)
	parsed, err := name.ParseReference(ref)
	if err == nil {
		err = remote.Write(parsed, image)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *robust) minirun(args ...string) *exec.Cmd {
	return minirun(r.T, append([]string{"--root", r.store}, args...)...)
}

// works fails the test unless the store verifies and starts a container.
func (r *robust) works(after string) {
	r.Helper()
	if out, err := r.minirun("verify").CombinedOutput(); err != nil {
		r.Fatalf("%s: verify: %v: %s", after, err, out)
	}
	r.starts(after)
}

func (r *robust) starts(after string) {
	r.Helper()
	if out, err := r.minirun("run", "-q", r.a, "/minirun", "version").CombinedOutput(); err != nil {
		r.Fatalf("%s: run: %v: %s", after, err, out)
	}
}

// tidy fails the test if anything is left once the images are removed.
func (r *robust) tidy() {
	r.Helper()
	if out, err := r.minirun("rmi", "-f", r.a, r.b).CombinedOutput(); err != nil {
		r.Errorf("rmi: %v: %s", err, out)
	}
	for _, dir := range []string{"layers/sha256", "blobs/sha256", "tmp"} {
		if left, err := os.ReadDir(filepath.Join(r.store, dir)); err != nil || len(left) > 0 {
			r.Errorf("%s has %v, %v", dir, left, err)
		}
	}
}

// some returns a pull or a removal of an image.
func (r *robust) some() *exec.Cmd {
	ref := []string{r.a, r.b}[rand.IntN(2)]
	if rand.IntN(3) == 0 {
		return r.minirun("rmi", "-f", ref)
	}
	return r.minirun("pull", "-q", ref)
}

// Pulls and removals are killed at random moments, one by one and twenty at once.
func TestKilledPulls(t *testing.T) {
	r := newRobust(t, filepath.Join(t.TempDir(), "store"))
	begin := time.Now()
	r.starts("nothing")
	whole := time.Since(begin)
	kill := func(many int) {
		killed := make([]*exec.Cmd, many)
		for i := range killed {
			killed[i] = r.some()
			if err := killed[i].Start(); err != nil {
				t.Fatal(err)
			}
		}
		for _, cmd := range killed {
			<-time.After(rand.N(whole)) // the moment is the test's input
			_ = cmd.Process.Signal(syscall.SIGKILL)
			_ = cmd.Wait()
		}
	}
	for i := range robustRounds(t) {
		kill(1)
		r.works(fmt.Sprint("kill ", i))
	}
	kill(20)
	r.works("20 kills at once")
	r.tidy()
}

// A pull waits for another one that fetches the same layer, and fetches it itself once
// that one is killed.
func TestPullTakesOver(t *testing.T) {
	requests, opened := make(chan struct{}, 100), make(chan struct{})
	registry := inprocess.New(inprocess.Logger(log.New(io.Discard, "", 0)))
	ref, layer := "", ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodGet && layer != "" && strings.HasSuffix(q.URL.Path, layer) {
			requests <- struct{}{}
			select {
			case <-opened:
			case <-q.Context().Done():
			}
		}
		registry.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	ref = strings.TrimPrefix(server.URL, "http://") + "/a:latest"
	only := layerOf(t, map[string][]byte{"a": []byte("a")})
	pushRobust(t, ref, only)
	digest, err := only.Digest()
	if err != nil {
		t.Fatal(err)
	}
	layer = digest.String()
	r := &robust{T: t, store: filepath.Join(t.TempDir(), "store"), a: ref, b: ref}

	first, second := r.minirun("pull", "-q", ref), r.minirun("pull", ref)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-requests
	said, err := second.StderrPipe()
	if err == nil {
		err = second.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	if !lines.Scan() || !strings.Contains(lines.Text(), "waiting for another minirun") {
		t.Errorf("the second pull says %q", lines.Text())
	}
	_ = first.Process.Kill()
	_ = first.Wait()
	<-requests
	close(opened)
	for lines.Scan() { // to its end
	}
	if err := second.Wait(); err != nil {
		t.Errorf("the second pull: %v", err)
	}
	if len(requests) > 0 {
		t.Error("the layer was fetched again")
	}
	r.tidy()
}

// A pull that fills the disk fails, and the store goes on working.
func TestPullFillsDisk(t *testing.T) {
	const size = 256<<20 + 64<<20 // what unpacking leaves free, and room for one image
	disk := testenv.Disk(t, fmt.Sprintf("size=%d", size))
	r := newRobust(t, filepath.Join(disk, "store"))
	r.starts("nothing")
	noise := make([]byte, 50<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	large := strings.TrimSuffix(r.a, "a:latest") + "large"
	pushRobust(t, large, layerOf(t, map[string][]byte{"a": noise[:10<<20]}), layerOf(t, map[string][]byte{"b": noise}))
	out, err := r.minirun("pull", "-q", large).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("the file system of the store is full")) || bytes.Count(out, []byte("\n")) != 2 {
		t.Errorf("pull: %v: %s", err, out)
	}
	r.works("a full disk")
	// Somebody else takes all that is left.
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil {
		t.Fatal(err)
	}
	fill := filepath.Join(disk, "fill")
	if err := os.WriteFile(fill, make([]byte, int64(st.Bavail)*st.Bsize), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := r.minirun("pull", "-q", r.b).CombinedOutput(); err == nil {
		t.Errorf("pull: %s", out)
	}
	if out, err := r.minirun("rmi", r.a).CombinedOutput(); err != nil {
		t.Errorf("rmi on a full disk: %v: %s", err, out)
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	r.works("a disk that was full")
	r.tidy()
}

// Nothing can be pulled while the file system is read-only, and nothing is lost.
func TestPullReadOnly(t *testing.T) {
	disk := testenv.Disk(t, "size=1g")
	r := newRobust(t, filepath.Join(disk, "store"))
	r.starts("nothing")
	for _, flags := range []uintptr{unix.MS_RDONLY, 0} {
		if err := unix.Mount("", disk, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
		if flags == 0 {
			break
		}
		for _, args := range [][]string{{"pull", "-q", r.b}, {"rmi", r.a}} {
			out, err := r.minirun(args...).CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("read-only file system")) {
				t.Errorf("%v: %v: %s", args, err, out)
			}
		}
		if out, err := r.minirun("verify").CombinedOutput(); err != nil {
			t.Errorf("verify: %v: %s", err, out)
		}
	}
	r.works("a read-only file system")
	r.tidy()
}

// Any file of an image is damaged: verify says so, and a pull mends it.
func TestPullMends(t *testing.T) {
	r := newRobust(t, filepath.Join(t.TempDir(), "store"))
	r.starts("nothing")
	var files []string
	for _, pattern := range []string{"blobs/sha256/*", "layers/sha256/*.tar", "layers/sha256/*.size", "layers/sha256/*/etc/name", "layers/sha256/*/opt/3/155"} {
		found, err := filepath.Glob(filepath.Join(r.store, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		for how, damage := range map[string]func([]byte) []byte{
			"changed":   func(data []byte) []byte { data[len(data)/2] ^= 1; return data },
			"truncated": func(data []byte) []byte { return data[:len(data)/2] },
		} {
			short, _ := filepath.Rel(r.store, file)
			data, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file, damage(data), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			after := short + " " + how
			if out, err := r.minirun("verify").CombinedOutput(); err == nil {
				t.Errorf("%s: verify: %s", after, out)
			}
			if out, err := r.minirun("pull", "-q", r.a).CombinedOutput(); err != nil {
				t.Errorf("%s: pull: %v: %s", after, err, out)
			}
			r.works(after)
		}
	}
	r.tidy()
}
