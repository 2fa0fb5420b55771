package launcher

/*
#include <stdlib.h>
#include "kept.h"
*/
import "C"

import (
	"maps"
	"path/filepath"
	"slices"
	"time"
	"unsafe"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// racy is how old a change of a file must be for its stamp to show the next one: file
// systems count time in ticks, some in seconds, two of FAT's.
const racy = 2 * time.Second

// Stamps say which files there are at paths, and in what state.
type Stamps map[string]C.struct_kept_stamp

// TakeStamps returns the stamps of files, which need not exist.
func TakeStamps(paths ...string) Stamps {
	all := Stamps{}
	for _, path := range paths {
		all[path], _ = takeStamp(path, C.STAMP_WHOLE) // an error is one later too
	}
	return all
}

func takeStamp(path string, kind C.uint32_t) (s C.struct_kept_stamp, ok bool) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	ok = C.kept_stamp_take(name, &s, kind) == 0
	return s, ok
}

func (w *keptWriter) stamps() {
	var all []C.struct_kept_stamp
	stamp := func(path string, kind C.uint32_t) {
		s, ok := takeStamp(path, kind)
		if before, taken := w.k.Before[path]; !ok || taken && before != s {
			w.fail("%s has changed", path)
		}
		s.path = w.raw(path)
		latest := time.Unix(0, max(int64(s.modified), int64(s.changed)))
		if kind := s.mode & unix.S_IFMT; s.kind == C.STAMP_WHOLE && kind != unix.S_IFREG && kind != unix.S_IFDIR {
			w.fail("%s is no regular file", path)
		}
		if kind == C.STAMP_WHOLE && !keepsTimes(path) {
			w.fail("%s is not on a file system of this machine", path)
		}
		if s.kind == C.STAMP_ABSENT {
			latest = lastChange(filepath.Dir(path))
		}
		if began := time.Unix(0, int64(C.kept_key_time())); kind == C.STAMP_WHOLE && !latest.Before(began.Add(-racy)) {
			w.fail("%s has just changed", path)
		}
		all = append(all, s)
	}
	files := slices.AppendSeq(slices.Clone(w.k.Files), maps.Keys(w.k.Before))
	slices.Sort(files)
	for _, file := range slices.Compact(files) {
		stamp(file, C.STAMP_WHOLE)
	}
	dirs := []string{w.k.root, filepath.Dir(w.c.dir), w.c.state.RunRoot}
	for _, dir := range w.l.cgroup.paths() {
		dirs = append(dirs, filepath.Dir(dir))
	}
	dirs = append(dirs, w.k.Binds...)
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		stamp(dir, C.STAMP_IDENTITY)
	}
	if !cgroups.IsCgroup2UnifiedMode() {
		stamp("/sys/fs/cgroup", C.STAMP_WHOLE)
	}
	w.head.stamps = structs(w, all)
}

// keepsTimes reports whether a path is on a file system that shows each change of a file by
// its times. One that is shared with other machines may show it some seconds later.
func keepsTimes(path string) bool {
	var st unix.Statfs_t
	for unix.Statfs(path, &st) != nil && path != "/" { // there is no such file
		path = filepath.Dir(path)
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.BCACHEFS_SUPER_MAGIC,
		unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, zfsMagic:
		return true
	}
	return false
}

const zfsMagic = 0x2fc12fc1 // of OpenZFS's zfs_vfsops.h

// lastChange is when a directory has changed last, or the one above it if there is none.
func lastChange(dir string) time.Time {
	var st unix.Stat_t
	for unix.Stat(dir, &st) != nil && dir != "/" {
		dir = filepath.Dir(dir)
	}
	return time.Unix(st.Ctim.Unix())
}
