package rootfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/testenv"
)

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// A registry that answers with more than it should is not read to the end: of its 64 MiB it
// can send only what minirun reads and what sockets hold.
func TestPullReadsNoMoreThanItTakes(t *testing.T) {
	const all, most = 64 << 20, 24 << 20
	digest := digestOf([]byte("x"))
	manifest := func(size int) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, ociManifest, digest, size)
	}
	for name, c := range map[string]struct {
		manifest string // "": endless
		index    bool   // the endless manifest is in an index
		redirect bool
		want     string
	}{
		"manifest":                      {want: "the manifest is larger than 4 MiB"},
		"manifest of an index":          {index: true, want: "the manifest is larger than 4 MiB"},
		"manifest from elsewhere":       {redirect: true, want: "the manifest is larger than 4 MiB"},
		"configuration":                 {manifest: manifest(2), want: "error verifying sha256 checksum after reading 2 bytes"},
		"configuration of unknown size": {manifest: manifest(-1), want: "the manifest gives the configuration -1 bytes"},
		"large configuration":           {manifest: manifest(maxConfig + 1), want: "the configuration is larger than 8 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DOCKER_CONFIG", t.TempDir())
			var sent atomic.Int64
			endless := func(w http.ResponseWriter) {
				chunk := []byte(strings.Repeat(" ", 64<<10))
				for sent.Load() < all {
					n, err := w.Write(chunk)
					if sent.Add(int64(n)); err != nil {
						return
					}
				}
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", ociManifest)
				switch {
				case r.URL.Path == "/v2/":
				case c.redirect && r.URL.Path != "/elsewhere":
					http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
				case c.index && strings.HasSuffix(r.URL.Path, "/manifests/latest"):
					w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
					fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ociManifest, digest, all)
				case c.manifest != "" && strings.Contains(r.URL.Path, "/manifests/"):
					fmt.Fprint(w, c.manifest)
				default:
					endless(w)
				}
			}))
			defer server.Close()
			s := newStore(t)
			_, err := s.Pull(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/tool", ResolveOptions{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			server.CloseClientConnections()
			server.Close() // waits for the handlers
			if n := sent.Load(); n > most {
				t.Errorf("%d MiB were sent", n>>20)
			}
			isEmpty(t, s)
		})
	}
}

// withDictionary makes the header of an xz stream ask for a dictionary of a size
// (xz-file-format.txt, sections 3.1 and 5.3.1).
func withDictionary(t *testing.T, packed []byte, bits byte) []byte {
	t.Helper()
	const block = 12 // after the stream's header
	data := slices.Clone(packed)
	size := (int(data[block]) + 1) * 4
	header := data[block : block+size]
	if i := slices.Index(header, 0x21); i < 0 || header[i+1] != 1 { // the filter LZMA2, with one byte of properties
		t.Fatalf("not the header of a block: %x", header)
	} else {
		header[i+2] = bits
	}
	binary.LittleEndian.PutUint32(header[size-4:], crc32.ChecksumIEEE(header[:size-4]))
	return data
}

func TestUnpackRefusesLargeDictionaries(t *testing.T) {
	testenv.Program(t, "xz")
	packed := compress(t, "xz", makeTar(t, file("a", "x")))
	for _, c := range []struct {
		bits byte
		want string
	}{
		{28, ""}, // 64 MiB, as of xz -9
		{32, "the dictionary of the xz stream is larger than 160 MiB"}, // 256 MiB
		{40, "the dictionary of the xz stream is larger than 160 MiB"}, // 4 GiB
	} {
		_, _, err := unpackIn(t, withDictionary(t, packed, c.bits))
		if (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%d: %v; want %q", c.bits, err, c.want)
		}
	}
	if _, _, err := unpackIn(t, packed[:len(packed)-20]); err == nil || !strings.Contains(err.Error(), "Unexpected end of input") {
		t.Errorf("a cut stream: %v", err)
	}
	t.Setenv("PATH", "")
	if _, _, err := unpackIn(t, packed); hint.Text(err) != "apt-get install xz-utils" {
		t.Errorf("without xz: %v", err)
	}
}

// What is closed before its end leaves no process behind.
func TestXzCloses(t *testing.T) {
	testenv.Program(t, "xz")
	packed := compress(t, "xz", make([]byte, 1<<20))
	r, err := startXz(&again{data: packed})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if state := r.(*program).command.ProcessState; state == nil {
		t.Error("xz runs on")
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) && !errors.Is(err, io.EOF) {
		t.Errorf("a read after Close: %v", err)
	}
}

// again reads the same data over and over.
type again struct {
	data []byte
	at   int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.data[a.at:])
	a.at = (a.at + n) % len(a.data)
	return n, nil
}

func TestErrorsAreShort(t *testing.T) {
	long := strings.Repeat("name\n", 800)
	deep := strings.Repeat("ä/", 2000)
	for name, c := range map[string]struct {
		err         error
		first, last string
	}{
		"a name that is quoted":    {fmt.Errorf("the entry %s: %w", quote(long), unix.ENOSPC), `layer sha256:x: the entry "name\nname`, "no space left on device"},
		"a path by a library":      {&os.PathError{Op: "mkdir", Path: "/" + deep, Err: unix.ENOSPC}, "layer sha256:x: mkdir /ä/ä", "no space left on device"},
		"control characters alone": {errors.New(strings.Repeat("\x1b", 5000) + "end"), "layer sha256:x:", "end"},
	} {
		got := (&Error{Op: "layer sha256:x", Err: c.err}).Error()
		if len(got) > maxMessage+len("...") || !strings.HasPrefix(got, c.first) || !strings.HasSuffix(got, c.last) {
			t.Errorf("%s: %d bytes: %s", name, len(got), got)
		}
	}
	_, _, err := unpackIn(t, makeTar(t, file(strings.Repeat("d/", 1900)+"x", ""), symlink("..", "x")))
	if err == nil || len(err.Error()) > 2*maxQuoted {
		t.Errorf("%v", err)
	}
	_, _, err = unpackIn(t, makeTar(t, symlink(strings.Repeat("d/", 2000)+"x", strings.Repeat("x", maxName+1))))
	if err == nil || len(err.Error()) > 2*maxQuoted || !strings.HasSuffix(err.Error(), "the target is longer than 4096 bytes") {
		t.Errorf("%v", err)
	}
}

// The user's umask changes neither the files of a layer, nor its implied directories, nor
// what the store notes of it.
func TestPullUnderUmask(t *testing.T) {
	testenv.Root(t)
	host := newRegistry(t, nil)
	push(t, host+"/tool:v1", testImage(t, here, "implied/by/a", "b"))
	var before []string
	for _, mask := range []int{0o022, 0o077, 0} {
		old := syscall.Umask(mask)
		s := newStore(t)
		image := resolve(t, s, host+"/tool:v1")
		syscall.Umask(old)
		var now []string // without times, as those of implied directories are of now
		for _, layer := range image.Layers {
			for _, line := range describe(t, layer, "?") {
				fields := strings.Fields(line)
				now = append(now, strings.Join(slices.Delete(fields, 3, min(4, len(fields))), " "))
			}
			now = append(now, fmt.Sprint(s.isIntact("sha256:"+layer[strings.LastIndexByte(layer, '/')+1:])))
		}
		if before != nil && !slices.Equal(now, before) {
			t.Errorf("under umask %03o:\n%s\nwas\n%s", mask, strings.Join(now, "\n"), strings.Join(before, "\n"))
		}
		before = now
	}
	if text := strings.Join(before, "\n"); !strings.Contains(text, "implied 40755") || !strings.Contains(text, "implied/by 40755") {
		t.Errorf("the layers are\n%s", text)
	}
}
