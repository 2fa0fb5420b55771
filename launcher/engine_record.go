package launcher

/*
#include "engine.h"
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/arm"
)

// usual reports whether the start and the end of an engine's container need nothing but
// what C does (engine.h): no listener to pass on, no hooks, no processes that PID 1 does
// not take along.
func (c *Container) usual(l *launched) bool {
	later := append(laterHooks(), configs.Poststop)
	return l.o.Engine.Plain && l.plan != nil && !c.state.Systemd && l.o.FilterFlags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 &&
		hasNamespace(l.o.Spec, specs.PIDNamespace) && l.kept.config.IntelRdt == nil &&
		len(l.kept.hooks) == 0 && !l.kept.config.HasHook(later...)
}

// engineRecord is what C needs to know of an engine's container (engine.h).
type engineRecord struct {
	head  C.struct_engine_record
	texts []byte
	err   error
}

// add adds texts, and returns the offset of the first.
func (r *engineRecord) add(texts ...string) C.uint32_t {
	at := C.sizeof_struct_engine_record + len(r.texts)
	for _, text := range texts {
		if strings.ContainsRune(text, 0) {
			r.err = fmt.Errorf("%q has a NUL byte", text)
		}
		r.texts = append(append(r.texts, text...), 0)
	}
	return C.uint32_t(at)
}

// engineRecord describes a created container, whose state has been saved.
func (c *Container) engineRecord(l *launched) (*engineRecord, error) {
	r, running := &engineRecord{}, c.state
	running.Status = StatusRunning
	before, err := json.Marshal(&c.state)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(&running)
	if err != nil {
		return nil, err
	}
	for i, b := range C.ENGINE_MAGIC {
		r.head.magic[i] = C.char(b)
	}
	r.head.version = C.ENGINE_VERSION
	r.head.pid, r.head.started, r.head.boot = C.int32_t(c.state.PID), C.uint64_t(c.state.StartTime), r.add(c.state.Boot)
	r.head.kept = C.uint32_t(c.state.Kept)
	r.head.state, r.head.created, r.head.running = r.add(c.state.file()), r.add(string(before)), r.add(string(after))
	for _, shows := range []struct {
		at     *C.uint32_t
		status Status
	}{{&r.head.shows_created, StatusCreated}, {&r.head.shows_running, StatusRunning}, {&r.head.shows_stopped, StatusStopped}} {
		known := c.state
		known.Status = shows.status
		text, err := l.o.Engine.shows(known)
		if err != nil {
			return nil, err
		}
		*shows.at = r.add(text)
	}
	dir := filepath.Join(c.state.RunRoot, c.state.Name)
	r.head.libcontainer, r.head.fifo = r.add(dir), r.add(filepath.Join(dir, startFile))
	freezer, thawed := l.freezer()
	r.head.freezer, r.head.thawed = r.add(freezer), r.add(thawed)
	dirs := slices.Compact(l.cgroup.dirs())
	r.head.cgroups, r.head.cgroup_count = r.add(dirs...), C.uint32_t(len(dirs))
	r.texts = append(r.texts, 0)
	r.head.size = C.uint32_t(C.sizeof_struct_engine_record + len(r.texts))
	return r, r.err
}

// shows returns what an engine is shown of a state; "" if that is left to Go.
func (e *Engine) shows(s State) (string, error) {
	if e.Show == nil {
		return "", nil
	}
	text, err := e.Show(s)
	return string(text), err
}

// freezer returns the file that says whether the container is frozen, and what is in it
// unless it is; "" if it has no cgroup that could be.
func (l *launched) freezer() (file, thawed string) {
	paths := l.cgroup.paths()
	switch dir := paths["freezer"]; {
	case dir != "":
		return filepath.Join(dir, "freezer.state"), string(cgroups.Thawed) + "\n"
	case paths[""] != "":
		return filepath.Join(paths[""], "cgroup.freeze"), "0\n"
	}
	return "", ""
}

func (r *engineRecord) bytes() []byte {
	head := unsafe.Slice((*byte)(unsafe.Pointer(&r.head)), C.sizeof_struct_engine_record)
	return append(head[:len(head):len(head)], r.texts...)
}

// leaveToC writes the record of a usual container. Without it all is left to Go.
func (c *Container) leaveToC(l *launched) error {
	if !c.usual(l) {
		return nil
	}
	r, err := c.engineRecord(l)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, C.ENGINE_FILE), r.bytes(), 0o600)
}

// leftToC reports whether a container's directory has a record. Such a container has been
// handed over, and has no launcher.
func leftToC(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, C.ENGINE_FILE))
	return err == nil
}

// failedInC returns why the container that this process was to start has failed, if that
// was before the Go runtime started, and ends it; else nil.
func (c *Container) failedInC() error {
	f := &C.engine_failure
	if f.page < 0 {
		return nil
	}
	page, err := arm.Adopt(os.NewFile(uintptr(f.page), "minirun-init"), os.NewFile(uintptr(f.pipe), "pipe"))
	f.page, f.pipe = -1, -1
	if err != nil {
		return errors.Join(err, c.endFailed())
	}
	defer page.Close()
	switch {
	case f.error != 0:
		err = fmt.Errorf("start container %s: %w", c.state.Name, unix.Errno(f.error))
	case bool(f.armed):
		err = c.commandError(page.WaitExec())
	default:
		err = initError("arm the seccomp filter", page.Failure())
	}
	if err == nil { // it was too late for C, not for Go
		err = errors.New("the arming thread does not answer")
	}
	return errors.Join(err, c.endFailed())
}

// engineCall returns the verb of a command line that C carries out, and the container, or
// "" for one that is Go's.
func engineCall(args []string) (verb, id string) {
	argv := make([]*C.char, len(args)+1)
	for i, arg := range args {
		argv[i] = C.CString(arg)
		defer C.free(unsafe.Pointer(argv[i]))
	}
	list := (**C.char)(C.malloc(C.size_t(len(argv)) * C.size_t(unsafe.Sizeof(argv[0]))))
	defer C.free(unsafe.Pointer(list))
	copy(unsafe.Slice(list, len(argv)), argv)
	var call C.struct_engine_call
	if !C.engine_parse(C.int(len(args)), list, &call) {
		return "", ""
	}
	verbs := map[uint32]string{C.ENGINE_START: "start", C.ENGINE_STATE: "state", C.ENGINE_KILL: "kill", C.ENGINE_DELETE: "delete"}
	return verbs[call.verb], C.GoString(call.id)
}

// engineSignal returns the number that C has for a signal's name, or -1.
func engineSignal(name string) int {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return int(C.engine_signal(text))
}

// engineWhole reports whether C takes bytes for a record.
func engineWhole(data []byte) bool {
	return bool(C.engine_whole(unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data))))
}
