package launcher

import (
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzExecutable looks at the first bytes of a file of an image, which may be anything.
func FuzzExecutable(f *testing.F) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		f.Fatal(err)
	}
	defer self.Close()
	head, err := io.ReadAll(io.LimitReader(self, headSize))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(head)
	f.Add(head[:64])
	f.Add([]byte("#!/bin/sh\r\n"))
	f.Add([]byte("#! \t"))
	root, err := os.OpenFile(f.TempDir(), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		f.Fatal(err)
	}
	defer root.Close()
	f.Fuzz(func(t *testing.T, head []byte) {
		x := &executable{head: head[:min(len(head), headSize)]}
		for _, errno := range []unix.Errno{unix.ENOENT, unix.ENOEXEC, unix.EACCES} {
			if why := x.explain(root, errno, 4); len(why) > 4*headSize {
				t.Errorf("%v: %d bytes of explanation", errno, len(why))
			}
		}
	})
}
