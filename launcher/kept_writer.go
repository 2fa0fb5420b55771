package launcher

/*
#include "kept.h"
*/
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	json "github.com/go-json-experiment/json/v1"
	mobyuserns "github.com/moby/sys/userns"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/arm"
)

// keptWriter makes the file of a launch.
type keptWriter struct {
	c *Container
	l *launched
	k *Keep

	refer *strings.Replacer
	head  C.struct_kept
	data  []byte // what follows head
	shown strings.Builder
	err   error
}

// String lists the steps.
func (w *keptWriter) String() string { return w.shown.String() }

func (w *keptWriter) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *keptWriter) here(align int) C.uint32_t {
	for (int(C.sizeof_struct_kept)+len(w.data))%align != 0 {
		w.data = append(w.data, 0)
	}
	return C.uint32_t(int(C.sizeof_struct_kept) + len(w.data))
}

// text adds a text, with references for what the launch has of its own.
func (w *keptWriter) text(s string) C.uint32_t { return w.raw(w.referring(s)) }

func (w *keptWriter) referring(s string) string {
	if strings.ContainsRune(s, C.REFERENCE) {
		w.fail("%q has the control character that stands for a reference", s)
	}
	return w.refer.Replace(s)
}

func (w *keptWriter) raw(s string) C.uint32_t {
	if strings.ContainsRune(s, 0) {
		w.fail("%q has a NUL byte", s)
	}
	at := w.here(1)
	w.data = append(append(w.data, s...), 0)
	return at
}

func (w *keptWriter) texts(all []string) C.struct_kept_list {
	at := w.here(1)
	for _, s := range all {
		w.text(s)
	}
	return C.struct_kept_list{at: at, count: C.uint32_t(len(all))}
}

func (w *keptWriter) bytes8(data []byte) C.struct_kept_list {
	at := w.here(8)
	w.data = append(w.data, data...)
	return C.struct_kept_list{at: at, count: C.uint32_t(len(data))}
}

// structs adds structs, whose texts have been added before.
func structs[T any](w *keptWriter, all []T) C.struct_kept_list {
	at := w.here(8)
	if len(all) > 0 {
		w.data = append(w.data, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(all))), len(all)*int(unsafe.Sizeof(all[0])))...)
	}
	return C.struct_kept_list{at: at, count: C.uint32_t(len(all))}
}

// bytes returns the file.
func (w *keptWriter) bytes() []byte {
	w.data = append(w.data, 0)
	w.head.size = w.here(8)
	head := unsafe.Slice((*byte)(unsafe.Pointer(&w.head)), C.sizeof_struct_kept)
	all := slices.Concat(head, w.data)
	k := (*C.struct_kept)(unsafe.Pointer(unsafe.SliceData(all)))
	k.sum = C.kept_sum(k)
	return all
}

func (w *keptWriter) fill(r *record) error {
	s := &w.c.state
	own := []string{s.ID, "\x01i", s.shortID(), "\x01s"}
	if !w.k.Named {
		own = append(own, s.Name, "\x01n")
	}
	w.refer = strings.NewReplacer(own...)
	w.head.version = C.KEPT_VERSION
	for i, b := range C.KEPT_MAGIC {
		w.head.magic[i] = C.char(b)
	}
	w.suitable()
	w.head.key = w.bytes8(w.k.key)
	w.stamps()
	w.steps()
	w.joined()
	w.late()
	w.plan()
	w.launchTexts(r)
	w.head.filter, w.head.filter_flags = w.bytes8(instructionBytes(w.l.o.Filter)), C.uint32_t(w.l.o.FilterFlags)
	return w.err
}

// suitable refuses a launch whose own texts would be taken for references, or which needs
// more than a constructor does.
func (w *keptWriter) suitable() {
	l, s := w.l, &w.c.state
	about, err := json.Marshal(l.o.About)
	if err != nil {
		w.fail("%v", err)
	}
	env := slices.DeleteFunc(slices.Clone(l.o.Spec.Process.Env), func(e string) bool { return e == "HOSTNAME="+s.shortID() })
	for _, text := range slices.Concat([]string{string(about), string(w.k.key)}, l.o.Spec.Process.Args, env) {
		if !w.k.Named && strings.Contains(text, s.Name) || strings.Contains(text, s.shortID()) {
			w.fail("a text has the container's name or ID in it by chance")
		}
	}
	exe, err := os.Readlink("/proc/self/exe")
	switch {
	case mobyuserns.RunningInUserNS():
		w.fail("a user namespace")
	case err != nil || strings.ContainsAny(exe+s.RunRoot, `:\`):
		w.fail("overlayfs would take the path of the program for several")
	case l.o.Init || l.o.Log != nil:
		w.fail("--init or a log")
	case len(l.plan.Joined) > 0 && l.network.Device().MAC == "" || len(l.plan.Joined) > 1 || len(l.plan.Opened) > 0 || l.plan.Forks || w.c.ids != nil:
		w.fail("namespaces that exist already")
	case l.cgroup == nil:
		w.fail("no cgroup")
	case !w.k.Silent():
		w.fail("something was said to the user")
	}
}

const nobody = ^C.uint32_t(0)

// list collects steps.
type keptList struct {
	w   *keptWriter
	all []C.struct_kept_step
}

func (s *keptList) add(kind C.uint32_t, mode uint32, path, source string, list ...string) *C.struct_kept_step {
	step := C.struct_kept_step{kind: kind, mode: C.uint32_t(mode), path: s.w.text(path), source: s.w.text(source), list: s.w.texts(list), user: nobody}
	s.all = append(s.all, step)
	names := [...]string{
		C.KEPT_MAKE: "make", C.KEPT_OVERLAY: "overlay", C.KEPT_TMPFS: "tmpfs", C.KEPT_FILE: "file", C.KEPT_BIND: "bind",
		C.KEPT_COPY: "copy", C.KEPT_WRITE: "write", C.KEPT_EXPECT: "expect", C.KEPT_APPEND: "append",
		C.KEPT_DEVICES: "devices",
	}
	fmt.Fprintf(&s.w.shown, "%s %s", names[kind], path)
	for _, text := range append([]string{source}, list...) {
		if text != "" {
			fmt.Fprintf(&s.w.shown, " %q", text)
		}
	}
	s.w.shown.WriteByte('\n')
	return &s.all[len(s.all)-1]
}

// steps are what is done before the cgroup is made.
func (w *keptWriter) steps() {
	s := &keptList{w: w}
	w.parameters(s)
	w.overlay(s)
	w.files(s)
	if unified := w.l.cgroup.paths()[""]; unified != "" {
		w.controllers(s, filepath.Dir(unified))
		if kind, err := os.ReadFile(filepath.Join(unified, "cgroup.type")); err != nil || string(kind) != "domain\n" {
			w.fail("the cgroup is %s, not a domain", strings.TrimSpace(string(kind)))
		}
	}
	w.head.steps = structs(w, s.all)
}

// joined are what is done when the cgroup has been made.
func (w *keptWriter) joined() {
	s := &keptList{w: w}
	if dir := w.l.cgroup.paths()["cpuset"]; dir != "" { // what is empty in a new one is as above it
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			s.add(C.KEPT_COPY, 0, filepath.Join(dir, file), filepath.Join(filepath.Dir(dir), file))
		}
	}
	w.head.joined = structs(w, s.all)
}

// controllers has a cgroup of version 2 give its controllers to those below it, which another
// manager may have taken back.
func (w *keptWriter) controllers(s *keptList, dir string) {
	file := filepath.Join(dir, "cgroup.subtree_control")
	given, err := os.ReadFile(file)
	if err != nil {
		w.fail("%v", err)
	}
	if names := strings.Fields(string(given)); len(names) > 0 {
		s.add(C.KEPT_WRITE, 0, file, "", "+"+strings.Join(names, " +"))
	}
}

func (w *keptWriter) overlay(s *keptList) {
	dir, root := w.c.dir, w.l.o.Spec.Root.Path
	var st unix.Stat_t
	if err := unix.Stat(w.k.Layers[len(w.k.Layers)-1], &st); err != nil {
		w.fail("%v", err)
	}
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	made := s.add(C.KEPT_MAKE, st.Mode&0o7777, upper, "")
	made.user, made.group = C.uint32_t(st.Uid), C.uint32_t(st.Gid)
	s.add(C.KEPT_MAKE, 0o700, work, "")
	lower := slices.Clone(w.k.Layers)
	slices.Reverse(lower)
	s.add(C.KEPT_OVERLAY, 0, root, w.k.Mount, append([]string{upper, work}, lower...)...)
}

// files are the container's own.
func (w *keptWriter) files(s *keptList) {
	dir := filepath.Join(w.c.state.RunRoot, filesDir)
	w.head.files = w.text(dir)
	s.add(C.KEPT_TMPFS, 0, dir, filesOptions)
	readOnly := uint32(0)
	if w.l.o.Spec.Root.Readonly {
		readOnly = 1
	}
	for _, f := range w.l.etc {
		data, err := os.ReadFile(f.file)
		if err != nil {
			w.fail("%v", err)
		}
		text := string(data)
		if f.file == w.l.hostsFile {
			text = strings.TrimSuffix(text, w.l.hostLines)
		}
		s.add(C.KEPT_FILE, 0, f.file, text)
		if !f.inMount {
			s.add(C.KEPT_BIND, readOnly, f.target, f.file, w.l.o.Spec.Root.Path)
		}
	}
}

// late are the limits, which a parked init is put under, and what its network adds.
func (w *keptWriter) late() {
	s := &keptList{w: w}
	w.limits(s)
	w.devices(s)
	w.network(s)
	w.head.late = structs(w, s.all)
}

// plan is init's.
func (w *keptWriter) plan() {
	steps := slices.Clone(w.l.plan.Steps)
	for i := range steps {
		switch steps[i].Kind {
		case arm.Join:
			steps[i].Path = "" // of this process: what counts is the number of the file
		case arm.Console:
			steps[i].Value = [4]uint64{} // the size: the launcher sets it once more
		}
		for _, text := range []*string{&steps[i].Path, &steps[i].Source, &steps[i].Type} {
			*text = w.referring(*text)
		}
		for _, text := range steps[i].Options {
			if w.referring(text) != text {
				w.fail("an option of a mount has a name in it")
			}
		}
	}
	data, patches, err := arm.PlanTemplate(steps, roomFor)
	if err != nil {
		w.fail("%v", err)
	}
	w.head.plan, w.head.namespaces = w.bytes8(data), C.uint64_t(w.l.plan.Cloned)
	all := make([]C.struct_kept_patch, len(patches))
	for i, p := range patches {
		all[i] = C.struct_kept_patch{at: C.uint32_t(p.At), room: C.uint32_t(p.Room), text: w.raw(p.Text)}
	}
	w.head.patches = structs(w, all)
}

// roomFor returns how long a text with references can get, with its NUL, or 0 for one
// without.
func roomFor(text string) int {
	if !strings.ContainsRune(text, C.REFERENCE) {
		return 0
	}
	n := len(text) + 1
	n += strings.Count(text, "\x01n")*longestName() + strings.Count(text, "\x01i")*64 + strings.Count(text, "\x01s")*12
	return n
}

func longestName() int {
	longest := func(list string) (n int) {
		for word := range strings.FieldsSeq(list) {
			n = max(n, len(word))
		}
		return n
	}
	return longest(adjectives) + 1 + longest(animals)
}
