package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"text/tabwriter"
)

// tarballs are the images whose pull is measured.
var tarballs = []struct {
	name  string
	write func(w *tar.Writer) error
}{
	{"one file of 256 MiB", func(w *tar.Writer) error {
		if err := w.WriteHeader(&tar.Header{Name: "file", Size: 256 << 20, Mode: 0o644}); err != nil {
			return err
		}
		block := make([]byte, 1<<20)
		for range 256 {
			if _, err := w.Write(block); err != nil {
				return err
			}
		}
		return nil
	}},
	{"50000 empty files", func(w *tar.Writer) error {
		return headers(w, 50000, func(i int) *tar.Header { return &tar.Header{Name: fmt.Sprint("dir/file", i), Mode: 0o644} })
	}},
	{"1000 directories, each with a header of 1 MiB", func(w *tar.Writer) error {
		comment := map[string]string{"comment": strings.Repeat("x", 1<<20-1024)}
		return headers(w, 1000, func(i int) *tar.Header {
			return &tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprint(i), Mode: 0o755, PAXRecords: comment}
		})
	}},
}

func headers(w *tar.Writer, count int, header func(i int) *tar.Header) error {
	for i := range count {
		if err := w.WriteHeader(header(i)); err != nil {
			return err
		}
	}
	return nil
}

// reportMemory prints minirun's peak memory for the pull of each tarball.
func (l *lab) reportMemory() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\npull of a tarball of\tpacked MiB\tpeak memory MiB\t")
	for _, t := range tarballs {
		packed, err := pack(t.write)
		if err != nil {
			return err
		}
		path := l.path("tarball.tar.gz")
		if err := os.WriteFile(path, packed, 0o600); err != nil {
			return err
		}
		command := exec.Command(l.minirun, "--root", l.path("memory"), "pull", "-q", path)
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("pull %s: %w: %s", t.name, err, out)
		}
		peak := command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
		fmt.Fprintf(w, "%s\t%.1f\t%d\t\n", t.name, float64(len(packed))/(1<<20), peak)
	}
	return w.Flush()
}

func pack(write func(*tar.Writer) error) ([]byte, error) {
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	w := tar.NewWriter(zipped)
	err := write(w)
	for _, c := range []io.Closer{w, zipped} {
		if closed := c.Close(); err == nil {
			err = closed
		}
	}
	return packed.Bytes(), err
}
