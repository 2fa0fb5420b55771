package launcher

/*
#include "kept.h"
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
)

// Keep has a launch kept (kept.h), so that the same one is carried out without Go. Whoever
// asks for it knows that the launch depends on nothing but the arguments, the
// environment, what is in Files, and the host's properties that kept_key.c lists, and that
// nothing but the command depends on Words.
type Keep struct {
	Before Stamps                          // taken before the first of the files was read that a path may lead to in turn
	Files  []string                        // other paths; they need not exist
	Image  string                          // the file whose lock keeps the layers from being removed
	Binds  []string                        // paths of the host that are mounted in the container
	Words  []string                        // the last of the process's arguments, which follow the image
	Named  bool                            // the container has a name that is not random
	Layers []string                        // of the overlay, the lowest first
	Mount  string                          // the end of its options
	Silent func() bool                     // reports whether the launch has told its user nothing so far
	Only   bool                            // make it, but do not keep it
	Kept   func(l fmt.Stringer, err error) // is told what is kept, or why nothing is; may be nil

	root   string
	key    []byte
	name   string
	bridge C.struct_kept_bridge // taken before the network was made
}

// Begin is called before the calling thread leaves the process's own namespaces. It
// returns nil for a launch that nothing would find again: root is another store than the one
// that a constructor looks in, or the process is not root's.
func (k *Keep) Begin(root string) *Keep {
	if root != C.GoString(C.kept_root()) {
		return nil
	}
	before := len(os.Args) - len(k.Words)
	if !slices.Equal(os.Args[max(before, 0):], k.Words) || !bool(C.kept_key_split(C.size_t(before))) {
		return nil
	}
	var name [17]C.char
	C.kept_key_file(&name[0])
	k.root, k.name = root, C.GoString(&name[0])
	if !k.Only && !k.again() {
		return nil
	}
	var size C.size_t
	key := C.kept_key_end(&size)
	if key == nil {
		return nil
	}
	k.key = C.GoBytes(key, C.int(size))
	return k
}

// againCount is how many launches are remembered that have been made once.
const againCount = 512

// again reports whether the launch has been made before. What is launched once need not be
// kept, which takes as long as a twentieth of a start.
func (k *Keep) again() bool {
	dir := filepath.Join(k.root, C.KEPT_DIRECTORY)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return false
	}
	f, err := os.OpenFile(filepath.Join(dir, "once"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return false
	}
	defer f.Close()
	number, err := strconv.ParseUint(k.name, 16, 64)
	if err != nil {
		return false
	}
	own, there := binary.LittleEndian.AppendUint64(nil, number), make([]byte, 8)
	at := int64(number % againCount * 8)
	if _, err := f.ReadAt(there, at); err == nil && bytes.Equal(own, there) {
		return true
	}
	_, _ = f.WriteAt(own, at)
	return false
}

// keptCount is how many launches are kept.
const keptCount = 128

// keep keeps the launch. That it cannot is no error.
func (c *Container) keep(r *record) {
	k := c.launched.o.Keep
	if k == nil {
		return
	}
	w := &keptWriter{c: c, l: c.launched, k: k}
	err := w.fill(r)
	if err == nil && !k.Only {
		err = k.write(w.bytes())
	}
	if k.Kept != nil {
		k.Kept(w, err)
	}
}

func (k *Keep) write(data []byte) error {
	if len(data) > C.KEPT_LIMIT {
		return errors.New("it is too large")
	}
	dir := filepath.Join(k.root, C.KEPT_DIRECTORY)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	pruneKept(dir)
	path := filepath.Join(dir, k.name)
	_ = os.Remove(path) // its mode may be one that is not trusted
	return atomicfile.Write(path, data, 0o600)
}

// pruneKept removes half of the launches, the oldest, when there are too many, and what a
// killed writer has left.
func pruneKept(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < keptCount {
		return
	}
	age := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			age[e.Name()] = info.ModTime()
		}
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return age[a.Name()].Compare(age[b.Name()]) })
	for _, e := range entries[:len(entries)-keptCount/2] {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}

// These are for tests, which cannot use cgo.

const (
	keptDirectory = C.KEPT_DIRECTORY
	keptHeadSize  = C.sizeof_struct_kept
)

func keptWhole(data []byte) bool {
	return bool(C.kept_whole(unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))))
}

// keptResum makes the size and the sum of a file right.
func keptResum(data []byte) []byte {
	k := (*C.struct_kept)(unsafe.Pointer(unsafe.SliceData(data)))
	k.size = C.uint32_t(len(data))
	k.sum = C.kept_sum(k)
	return data
}

// keptUse reads all of a whole file as a launch would.
func keptUse(data []byte) {
	C.kept_use(unsafe.Pointer(unsafe.SliceData(data)))
}
