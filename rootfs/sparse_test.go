package rootfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A sparse file of a few bytes in the stream must not fill the disk.
func TestUnpackRefusesSparseBomb(t *testing.T) {
	dir := t.TempDir()
	run(t, "sh", "-ec", `cd "$1"; truncate -s 15T bomb; tar --sparse --format=pax -cf x.tar bomb`, "sh", dir)
	data, err := os.ReadFile(dir + "/x.tar")
	if err != nil {
		t.Fatal(err)
	}
	var known *Error
	if _, _, err := unpackIn(t, data); !errors.As(err, &known) || known.Cause != CauseTooLarge || !strings.Contains(err.Error(), "bomb") {
		t.Errorf("%v", err)
	}
}

// The holes of a sparse file take no space, in each of GNU tar's formats, and its content
// is the same. Those of a file that is not sparse are written.
func TestUnpackSparse(t *testing.T) {
	dir := t.TempDir()
	run(t, "sh", "-ec", `cd "$1"; truncate -s 40M holes; printf start | dd of=holes conv=notrunc status=none
		printf middle | dd of=holes bs=1 seek=13000001 conv=notrunc status=none; cp --sparse=always holes end; printf end >>end
		truncate -s 1M full; truncate -s 0 nothing; truncate -s 5001 short`, "sh", dir)
	want := describe(t, dir, "?")
	for name, options := range map[string][]string{
		"gnu": {"--sparse", "--format=gnu"}, "0.0": {"--sparse", "--format=pax", "--sparse-version=0.0"},
		"0.1": {"--sparse", "--format=pax", "--sparse-version=0.1"}, "1.0": {"--sparse", "--format=pax"}, "not sparse": {"--exclude=holes", "--exclude=end"},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := exec.Command("tar", append(append([]string{"-C", dir}, options...), "-cf", "-", ".")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := unpackIn(t, data)
			if err != nil {
				t.Fatal(err)
			}
			if name == "not sparse" {
				if used := du(t, filepath.Join(got, "full")); used < 1<<20 {
					t.Errorf("a file that is not sparse takes %d bytes", used)
				}
				return
			}
			if has := describe(t, got, "?"); !slices.Equal(has, want) {
				t.Errorf("unpacked:\n%s\nwant:\n%s", strings.Join(has, "\n"), strings.Join(want, "\n"))
			}
			if used := du(t, got); used > 100<<10 {
				t.Errorf("it takes %d bytes", used)
			}
		})
	}
}

func TestSplitHole(t *testing.T) {
	zero, data := strings.Repeat("\x00", blockSize), strings.Repeat("\x00", blockSize-1)+"x"
	for _, c := range []struct {
		chunk      string
		data, hole int
	}{
		{"", 0, 0},
		{"x", 1, 0},
		{"\x00", 0, 1},
		{zero, 0, blockSize},
		{data, blockSize, 0},
		{zero + data, 0, blockSize},
		{data + zero + zero + data, blockSize, 2 * blockSize},
		{data + data + "\x00", 2 * blockSize, 1},
		{zero + "x", 0, blockSize},
	} {
		if data, hole := splitHole([]byte(c.chunk)); len(data) != c.data || hole != c.hole {
			t.Errorf("%d bytes: %d of data and a hole of %d; want %d and %d", len(c.chunk), len(data), hole, c.data, c.hole)
		}
	}
}
