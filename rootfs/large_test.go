package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// An image that is small when packed is refused once it exceeds a limit, in whatever way.
func TestLimits(t *testing.T) {
	var files []tarEntry
	for i := range 20 {
		files = append(files, file(fmt.Sprint(i), ""))
	}
	sparse := t.TempDir() + "/sparse.tar"
	run(t, "sh", "-ec", `cd "$(dirname "$1")"; truncate -s 40M hole; tar --sparse --format=pax -cf "$1" hole`, "sh", sparse)
	hole, err := os.ReadFile(sparse)
	if err != nil {
		t.Fatal(err)
	}
	zeros := append(makeTar(t, file("a", "")), make([]byte, 40<<20)...)
	small := Limits{Bytes: 10 << 20, Files: 10}
	for name, c := range map[string]struct {
		layers [][]byte
		limits Limits
		want   string
	}{
		"a file":              {[][]byte{makeTar(t, file("a", strings.Repeat("a", 11<<20)))}, small, "the image has more than 10485760 bytes"},
		"zeros after the end": {[][]byte{zeros}, small, "more than 10485760 bytes"},
		"a hole":              {[][]byte{hole}, small, "more than 10485760 bytes"},
		"files":               {[][]byte{makeTar(t, files...)}, small, "more than 10 files"},
		"two layers":          {[][]byte{makeTar(t, files[:6]...), makeTar(t, files[6:12]...)}, small, "more than 10 files"},
		"enough":              {[][]byte{zeros, hole, makeTar(t, files...)}, Limits{Bytes: 100 << 20, Files: 23}, ""},
		"by default":          {[][]byte{zeros, hole}, Limits{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			image := &content{names: []string{"docker.io/library/x:latest"}, base: configFile{OS: "linux", Architecture: "amd64"}, limits: c.limits}
			for _, data := range c.layers {
				image.layers = append(image.layers, layerSource{open: func(context.Context) (io.ReadCloser, error) {
					return io.NopCloser(bytes.NewReader(compress(t, "gzip", data))), nil
				}})
			}
			s := newStore(t)
			_, err := s.add(t.Context(), image, nil)
			var known *Error
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &known) || known.Cause != CauseTooLarge):
				t.Errorf("%v; want %q", err, c.want)
			}
			if c.want != "" {
				isEmpty(t, s)
			}
		})
	}
}
