package rootfs

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func compress(t testing.TB, tool string, data []byte) []byte {
	t.Helper()
	if tool == "gzip" {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(data); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	command := exec.Command(tool, "-c")
	command.Stdin = bytes.NewReader(data)
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s (a package of that name is needed): %v", tool, err)
	}
	return out
}

func TestUnpackCompressed(t *testing.T) {
	plain := makeTar(t, file("a", "hello"))
	for _, tool := range []string{"gzip", "zstd", "xz", "bzip2"} {
		packed := compress(t, tool, plain)
		dir, got, err := unpackIn(t, packed)
		if err != nil {
			t.Fatalf("%s: %v", tool, err)
		}
		if got.diffID != digestOf(plain) || got.digest != digestOf(packed) || got.size != int64(len(plain)) || got.noEnd {
			t.Errorf("%s: %v", tool, got)
		}
		if data, err := os.ReadFile(filepath.Join(dir, "a")); string(data) != "hello" {
			t.Errorf("%s: %q, %v", tool, data, err)
		}
	}
}

func TestUnpackRefusesLargeWindows(t *testing.T) {
	for _, c := range []struct{ log, want string }{{"--long=27", ""}, {"--long=28", "the window of the zstd stream is larger than 128 MiB"}} {
		command := exec.Command("zstd", c.log, "-c")
		command.Stdin = bytes.NewReader(makeTar(t, file("a", "x"))) // by a pipe, so of unknown size
		data, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := unpackIn(t, data); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.log, err)
		}
	}
}
