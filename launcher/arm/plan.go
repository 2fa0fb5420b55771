package arm

/*
#include "page.h"
#include "plan.h"
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"github.com/minirun/minirun/internal/memfd"
)

// Kind is what a step of a plan does; plan.h says what its fields mean.
type Kind uint32

// The kinds of steps.
const (
	Keyring      Kind = C.PLAN_KEYRING
	Namespaces   Kind = C.PLAN_NAMESPACES
	Join         Kind = C.PLAN_JOIN
	Users        Kind = C.PLAN_USERS
	Loopback     Kind = C.PLAN_LOOPBACK
	OOMScore     Kind = C.PLAN_OOM_SCORE
	Root         Kind = C.PLAN_ROOT
	Mount        Kind = C.PLAN_MOUNT
	Bind         Kind = C.PLAN_BIND
	Node         Kind = C.PLAN_NODE
	Link         Kind = C.PLAN_LINK
	Hooks        Kind = C.PLAN_HOOKS
	Pivot        Kind = C.PLAN_PIVOT
	Null         Kind = C.PLAN_NULL
	Directory    Kind = C.PLAN_DIRECTORY
	Console      Kind = C.PLAN_CONSOLE
	ReadOnly     Kind = C.PLAN_READ_ONLY
	Umask        Kind = C.PLAN_UMASK
	HostName     Kind = C.PLAN_HOST_NAME
	DomainName   Kind = C.PLAN_DOMAIN_NAME
	AppArmor     Kind = C.PLAN_APPARMOR
	Sysctl       Kind = C.PLAN_SYSCTL
	Protect      Kind = C.PLAN_PROTECT
	Mask         Kind = C.PLAN_MASK
	NoNewPrivs   Kind = C.PLAN_NO_NEW_PRIVS
	Rlimit       Kind = C.PLAN_RLIMIT
	Arm          Kind = C.PLAN_ARM
	Enter        Kind = C.PLAN_ENTER
	Bounding     Kind = C.PLAN_BOUNDING
	User         Kind = C.PLAN_USER
	Capabilities Kind = C.PLAN_CAPABILITIES
	Command      Kind = C.PLAN_COMMAND
)

// String returns the kind's name.
func (k Kind) String() string {
	names := [C.PLAN_KINDS]string{
		Keyring: "keyring", Namespaces: "namespaces", Join: "join", Users: "users", Loopback: "loopback", OOMScore: "oom-score", Root: "root",
		Mount: "mount", Bind: "bind", Node: "node", Link: "link", Hooks: "hooks", Pivot: "pivot",
		Null: "null", Directory: "directory", Console: "console", ReadOnly: "read-only", Umask: "umask",
		HostName: "host-name", DomainName: "domain-name", AppArmor: "apparmor", Sysctl: "sysctl", Protect: "protect", Mask: "mask",
		NoNewPrivs: "no-new-privs", Rlimit: "rlimit", Arm: "arm", Enter: "enter", Bounding: "bounding",
		User: "user", Capabilities: "capabilities", Command: "command",
	}
	if int(k) >= len(names) || names[k] == "" {
		return "kind " + strconv.Itoa(int(k))
	}
	return names[k]
}

// Flags are those of a step.
type Flags uint32

// The flags of steps.
const (
	Recursive  Flags = C.PLAN_RECURSIVE
	Change     Flags = C.PLAN_CHANGE
	KeepMode   Flags = C.PLAN_KEEP_MODE
	NoLinks    Flags = C.PLAN_NO_LINKS
	Replace    Flags = C.PLAN_REPLACE
	InProc     Flags = C.PLAN_IN_PROC
	AtProc     Flags = C.PLAN_AT_PROC
	Later      Flags = C.PLAN_LATER
	KeepGroups Flags = C.PLAN_KEEP_GROUPS
	Opened     Flags = C.PLAN_OPENED
)

// String returns the flags' names.
func (f Flags) String() string {
	var set []string
	for i, name := range [...]string{"recursive", "change", "keep-mode", "no-links", "replace", "in-proc", "at-proc", "later", "keep-groups", "opened"} {
		if f&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, ",")
}

// PlanStep is a step of a plan: struct plan_step, with its texts.
type PlanStep struct {
	Kind               Kind
	Flags              Flags
	Path, Source, Type string
	Options            []string // Mount, Mask
	Groups             []uint32 // User
	Number, Mode       uint32
	Value              [4]uint64
}

// Reason says why a step of a plan failed where its errno does not.
type Reason uint32

// The reasons, by the steps that have them.
const (
	OutsideOfRoot      Reason = C.PLAN_OUTSIDE_OF_ROOT      // Enter
	NotADirectory      Reason = C.PLAN_NOT_A_DIRECTORY      // Mount
	InsideProc         Reason = C.PLAN_INSIDE_PROC          // Mount, Bind
	NotProc            Reason = C.PLAN_NOT_PROC             // Mount, Bind
	AtTheRoot          Reason = C.PLAN_AT_THE_ROOT          // Mount, Bind
	NotNull            Reason = C.PLAN_NOT_NULL             // Null, Mask
	NotPtmx            Reason = C.PLAN_NOT_PTMX             // Console
	NotInPath          Reason = C.PLAN_NOT_IN_PATH          // Command
	InWorkingDirectory Reason = C.PLAN_IN_WORKING_DIRECTORY // Command
	DeviceChanged      Reason = C.PLAN_DEVICE_CHANGED       // Node
)

// PlanVariable returns what an init that is to carry out the plan in a file, by its
// number, finds in its environment.
func PlanVariable(fd int) string { return C.PLAN_VARIABLE + "=" + strconv.Itoa(fd) }

// BornIn says whether an init that has not been started will be started in its cgroup of
// version 2 (CLONE_INTO_CGROUP), and need not join it.
func (p *Page) BornIn(born bool) {
	p.shared.joined = 0
	if born {
		p.shared.joined = 1
	}
}

// WritePlan returns a sealed memfd (memfd_create(2)) with a plan, for PlanVariable.
func WritePlan(steps []PlanStep) (*os.File, error) {
	data, err := encode(steps)
	if err != nil {
		return nil, err
	}
	f, err := memfd.Create("minirun-plan", false)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(data); err == nil {
		err = memfd.Seal(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// encode returns a plan as plan.h describes it.
func encode(steps []PlanStep) ([]byte, error) {
	data, _, err := encodeWith(steps, func(string) int { return 0 })
	return data, err
}

// Patch is a text that a plan leaves room for: Room bytes at At.
type Patch struct {
	At, Room int
	Text     string
}

// PlanTemplate returns a plan without some of its texts, and these texts. room returns how
// many bytes to leave for a text, or 0 if the text becomes part of the plan.
func PlanTemplate(steps []PlanStep, room func(text string) int) ([]byte, []Patch, error) {
	return encodeWith(steps, room)
}

func encodeWith(steps []PlanStep, room func(string) int) ([]byte, []Patch, error) {
	head := C.sizeof_struct_plan + len(steps)*C.sizeof_struct_plan_step
	all := make([]C.struct_plan_step, len(steps))
	texts := texts{base: head, room: room}
	for i, s := range steps {
		all[i] = C.struct_plan_step{
			kind: C.uint32_t(s.Kind), flags: C.uint32_t(s.Flags), number: C.uint32_t(s.Number), mode: C.uint32_t(s.Mode),
			path: texts.add(s.Path), source: texts.add(s.Source), _type: texts.add(s.Type),
		}
		for j, v := range s.Value {
			all[i].value[j] = C.uint64_t(v)
		}
		switch {
		case len(s.Groups) > 0:
			all[i].list, all[i].number = texts.numbers(s.Groups), C.uint32_t(len(s.Groups))
		case len(s.Options) > 0:
			all[i].list, all[i].number = texts.list(s.Options), C.uint32_t(len(s.Options))
		}
	}
	if texts.bad != "" {
		return nil, nil, fmt.Errorf("%q has a NUL byte", texts.bad)
	}
	if texts.listed != "" {
		return nil, nil, fmt.Errorf("%q is in a list, where there is no room", texts.listed)
	}
	texts.data = append(texts.data, 0)
	plan := C.struct_plan{version: C.PLAN_VERSION, steps: C.uint32_t(len(steps)), size: C.uint32_t(head + len(texts.data))}
	for i, c := range C.PLAN_MAGIC {
		plan.magic[i] = C.char(c)
	}
	data := make([]byte, 0, int(plan.size))
	data = append(data, unsafe.Slice((*byte)(unsafe.Pointer(&plan)), C.sizeof_struct_plan)...)
	data = append(data, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(all))), len(all)*C.sizeof_struct_plan_step)...)
	return append(data, texts.data...), texts.patches, nil
}

// texts is the part of a plan that follows the steps.
type texts struct {
	base    int
	data    []byte
	room    func(text string) int
	patches []Patch
	bad     string // a text with a NUL byte
	listed  string // a text of a list that would be a patch
}

func (t *texts) here() C.uint32_t { return C.uint32_t(t.base + len(t.data)) }

func (t *texts) add(s string) C.uint32_t {
	if s == "" {
		return 0
	}
	if strings.ContainsRune(s, 0) {
		t.bad = s
	}
	at := t.here()
	if room := t.room(s); room > 0 {
		t.patches = append(t.patches, Patch{int(at), room, s})
		t.data = append(t.data, make([]byte, room)...)
		return at
	}
	t.data = append(append(t.data, s...), 0)
	return at
}

func (t *texts) list(all []string) C.uint32_t {
	at := t.here()
	for _, s := range all {
		if t.room(s) > 0 {
			t.listed = s
		}
		t.add(s)
	}
	return at
}

func (t *texts) numbers(all []uint32) C.uint32_t {
	t.data = append(t.data, bytes.Repeat([]byte{0}, -int(t.here())&3)...)
	at := t.here()
	for _, n := range all {
		t.data = binary.NativeEndian.AppendUint32(t.data, n)
	}
	return at
}
