package launcher

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/jsonlog"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/network"
)

// Options say what to run, and how this process takes part in it.
type Options struct {
	Spec *specs.Spec // the container, as [Container.Spec] gives it

	About About // what others are to see of the container

	Engine *Engine // for a container of an OCI engine's, which is nobody's; else nil

	Network *network.Network  // nil is what the spec's namespaces say
	Notice  func(text string) // gets what the flags leave open, such as a port; may be nil

	Interactive bool // -i: pass standard input on
	Init        bool // --init: a PID 1 that forwards signals and reaps

	Signals config.Signals // what becomes of those that reach the caller

	Filter      []unix.SockFilter // the seccomp program; nil is unconfined
	FilterFlags uint32            // SECCOMP_FILTER_FLAG_* to install it with
	// Enter is the filter for what others run in the container: Filter, if that is not
	// observed.
	Enter      []unix.SockFilter
	EnterFlags uint32
	// With SECCOMP_FILTER_FLAG_NEW_LISTENER one of the following is needed, which answers
	// what the filter notifies of (seccomp_unotify(2)).
	Agent   *Agent       // connected; gets the listener before the command runs
	Observe *Observation // until the container ends

	Watch *Watch // reports what the kernel refuses, until the container ends

	Record *Recorder // counts the command's calls

	Stdin          *os.File
	Stdout, Stderr *os.File
	detachKeys     []byte // of EnterOptions
	leave          func()

	Log    *jsonlog.Writer // gets the output instead of Stdout and Stderr, if not nil
	Attach *Attachments    // get it, too, and may write the input; may be nil

	Ready func() // is called once the command runs; may be nil

	InitBy  InitBy                             // who sets the container up from inside; "" is the default
	Planned func(plan fmt.Stringer, err error) // is told of the plan, or why there is none; may be nil

	// Rest is what is left to do when Run has returned. With it the launcher may replace
	// itself by a smaller one, which does that; nil keeps it as it is.
	Rest  *Rest
	Keep  *Keep           // keeps the launch for the next one like it; may be nil
	Waits func(err error) // is told why the launcher is not replaced, or nil; may be nil
}

// InitBy says who sets a container up from inside.
type InitBy string

const (
	InitByPlan         InitBy = "plan"         // C code, from a plan, where that can express the container: the default
	InitByLibcontainer InitBy = "libcontainer" // its Go code
)

// rlimitNumber is RLIMIT_* of asm-generic/resource.h, as setrlimit(2) takes it.
var rlimitNumber = map[string]int{
	"RLIMIT_AS":         unix.RLIMIT_AS,
	"RLIMIT_CORE":       unix.RLIMIT_CORE,
	"RLIMIT_CPU":        unix.RLIMIT_CPU,
	"RLIMIT_DATA":       unix.RLIMIT_DATA,
	"RLIMIT_FSIZE":      unix.RLIMIT_FSIZE,
	"RLIMIT_LOCKS":      unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK":    unix.RLIMIT_MEMLOCK,
	"RLIMIT_MSGQUEUE":   unix.RLIMIT_MSGQUEUE,
	"RLIMIT_NICE":       unix.RLIMIT_NICE,
	"RLIMIT_NOFILE":     unix.RLIMIT_NOFILE,
	"RLIMIT_NPROC":      unix.RLIMIT_NPROC,
	"RLIMIT_RSS":        unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO":     unix.RLIMIT_RTPRIO,
	"RLIMIT_RTTIME":     unix.RLIMIT_RTTIME,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
	"RLIMIT_STACK":      unix.RLIMIT_STACK,
}
