package rootfs

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// hostile are layers that are small when packed. Each writes what would take
// half a gigabyte or more if it was kept.
var hostile = map[string]func(w *tar.Writer, raw io.Writer) error{
	"a chain of extended headers": func(_ *tar.Writer, raw io.Writer) error {
		return repeat(400, raw, metaHeader(tar.TypeXHeader, 1<<20-1024))
	},
	"a chain of long names": func(_ *tar.Writer, raw io.Writer) error {
		return repeat(400, raw, metaHeader(tar.TypeGNULongName, 1<<20))
	},
	"a chain of long links": func(_ *tar.Writer, raw io.Writer) error {
		return repeat(400, raw, metaHeader(tar.TypeGNULongLink, 1<<20))
	},
	"large headers of directories": func(w *tar.Writer, _ io.Writer) error {
		comment := strings.Repeat("x", 1<<19)
		for i := range 1024 {
			h := tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprint(i), PAXRecords: map[string]string{"comment": comment}}
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
		}
		return nil
	},
	"large attributes": func(w *tar.Writer, _ io.Writer) error {
		value := strings.Repeat("x", 32<<10)
		for i := range 1 << 14 {
			h := tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprint(i), PAXRecords: map[string]string{xattrRecord + "user.x": value}}
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
		}
		return nil
	},
	"many directories": func(w *tar.Writer, _ io.Writer) error {
		long := strings.Repeat("long/", 90)
		return endlessly(func(i int) *tar.Header { return &tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprint(long, i)} }, w)
	},
	"many opaque directories": func(w *tar.Writer, _ io.Writer) error {
		long := strings.Repeat("long/", 90)
		return endlessly(func(i int) *tar.Header {
			return &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint(long, i, "/", opaqueWhiteout)}
		}, w)
	},
}

// metaHeader is a header that describes the next entry, with content.
func metaHeader(kind byte, size int) []byte {
	block := make([]byte, 512)
	copy(block, "x")
	copy(block[100:], fmt.Sprintf("0000644\x000000000\x000000000\x00%011o\x0000000000000\x00", size))
	block[156] = kind
	if kind == tar.TypeXHeader {
		copy(block[257:], "ustar\x0000")
		return append(checksummed(block), fmt.Sprintf("%d comment=%s\n", size, strings.Repeat("x", size-len(fmt.Sprint(size))-10))...)
	}
	copy(block[257:], "ustar  \x00")
	return append(checksummed(block), strings.Repeat("x", size)...)
}

func repeat(n int, w io.Writer, data []byte) error {
	for range n {
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return nil
}

type hostileArguments struct{ Name, Dir string }

// hostileChild unpacks a hostile layer. A million directories are not made: for those only
// what is kept of them is looked at.
func hostileChild() error {
	var a hostileArguments
	if err := json.NewDecoder(os.Stdin).Decode(&a); err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() {
		out := tar.NewWriter(w)
		err := hostile[a.Name](out, w)
		if err == nil {
			err = out.Close()
		}
		w.CloseWithError(err)
	}()
	if strings.HasPrefix(a.Name, "many") {
		var kept aftercare
		return eachEntry(r, func(h *tar.Header, _ io.Reader) error {
			plain, err := plainHeader(h)
			if err == nil {
				_, err = kept.entry(plain, h.PAXRecords)
			}
			return err
		})
	}
	space, err := newSpace(a.Dir)
	if err == nil {
		_, err = unpackLayer(context.Background(), r, a.Dir, space)
	}
	return err
}

// maxUnpackMemory is what unpacking any layer may take.
const maxUnpackMemory = 320 << 20

func TestUnpackMemory(t *testing.T) {
	for name := range hostile {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "layer")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			command := childCommand(t, "hostile", hostileArguments{name, dir})
			out, err := command.CombinedOutput()
			var ended *exec.ExitError
			if err != nil && (!errors.As(err, &ended) || ended.ExitCode() != 1) {
				t.Fatalf("%v: %s", err, out)
			}
			used := command.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
			t.Logf("%d MiB: %s", used>>20, out)
			if used > maxUnpackMemory {
				t.Errorf("took %d MiB: %s", used>>20, out)
			}
		})
	}
}

// smallDisk mounts a file system that holds little more than the reserve, unpacks
// an archive into it and says what is left.
func smallDiskChild() error {
	var a hostileArguments
	if err := json.NewDecoder(os.Stdin).Decode(&a); err != nil {
		return err
	}
	options := fmt.Sprintf("size=%d,nr_inodes=%d", reserve+(4<<20), reserveNodes+500)
	if err := unix.Mount("tmpfs", a.Dir, "tmpfs", 0, options); err != nil {
		return err
	}
	var before, after unix.Statfs_t
	if err := unix.Statfs(a.Dir, &before); err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() {
		out := tar.NewWriter(w)
		err := greedy[a.Name](out)
		if err == nil {
			err = out.Close()
		}
		w.CloseWithError(err)
	}()
	space, err := newSpace(a.Dir)
	if err != nil {
		return err
	}
	_, err = unpackTar(r, a.Dir, space)
	if statErr := unix.Statfs(a.Dir, &after); statErr != nil {
		return statErr
	}
	switch {
	case !errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("no error about space: %w", err)
	case after.Bavail*uint64(after.Bsize) < reserve || after.Ffree < reserveNodes:
		return fmt.Errorf("%d bytes and %d inodes are left: %w", after.Bavail*uint64(after.Bsize), after.Ffree, err)
	case before.Bfree-after.Bfree < 100 && before.Ffree-after.Ffree < 100:
		return fmt.Errorf("refused too early: %w", err)
	}
	return nil
}

// greedy are layers that want all of a disk.
var greedy = map[string]func(w *tar.Writer) error{
	"empty files": func(w *tar.Writer) error {
		return endlessly(func(i int) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint(i)} }, w)
	},
	"directories": func(w *tar.Writer) error {
		return endlessly(func(i int) *tar.Header { return &tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprint(i)} }, w)
	},
	"links": func(w *tar.Writer) error {
		return endlessly(func(i int) *tar.Header {
			return &tar.Header{Typeflag: tar.TypeSymlink, Name: fmt.Sprint(i), Linkname: strings.Repeat("x", 4000)}
		}, w)
	},
	"implied directories": func(w *tar.Writer) error {
		return endlessly(func(i int) *tar.Header {
			return &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%d%s/x", i, strings.Repeat("/d", 10+i%50))}
		}, w)
	},
	"whiteouts": func(w *tar.Writer) error {
		return endlessly(func(i int) *tar.Header {
			return &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%d/%s%d", i, whiteoutPrefix, i)}
		}, w)
	},
	"opaque directories": func(w *tar.Writer) error {
		return endlessly(func(i int) *tar.Header {
			return &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%d/%s", i, opaqueWhiteout)}
		}, w)
	},
}

func endlessly(entry func(i int) *tar.Header, w *tar.Writer) error {
	for i := range 1 << 18 {
		if err := w.WriteHeader(entry(i)); err != nil {
			return err
		}
	}
	return nil
}

func TestUnpackKeepsReserve(t *testing.T) {
	testenv.Root(t)
	for name := range greedy {
		t.Run(name, func(t *testing.T) {
			command := childCommand(t, "small disk", hostileArguments{name, t.TempDir()})
			command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
