package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Limits of what a container can make minirun do and say.
const (
	maxLooks   = 3    // at the caller, for calls of one thread from one place
	maxPlaces  = 4096 // threads and places that are told apart at a time
	maxReports = 100  // those beyond them are counted, except for calls that have none yet
	maxCalls   = 1000 // reports, those calls included: a command may try all numbers

	maxRefusals = 1 << 15 // threads and places of which the report is remembered, to count more
)

// liveReports says of the calls that a container's filter denies, while it runs, who
// made them, what denied them and what would allow them. The observer's goroutine of
// launcher judges and counts; one of ours explains and prints, since that takes longer.
type liveReports struct {
	reported
	app      *app
	complain bool
	only     bool     // what the filter denies is reported, and nothing else
	late     bool     // nothing is printed before finish: the terminal is raw
	path     string   // of --explain-to, or ""
	file     *os.File // nil without a path

	capabilities []string // the container's

	mu       sync.Mutex // of all below: launcher calls from two goroutines
	asked    bool       // the filter asks us, and denied calls are reported when it does
	emulator *bpf.Emulator
	places   map[place]*sightings
	reports  map[string]*liveReport
	order    []*liveReport
	calls    map[string]bool // that have a report
	refusals map[launcher.Sighting]*liveReport
	ignored  liveReport      // what is refused and not to be reported
	detours  map[string]bool // calls that got ENOSYS
	more     int             // calls without a report
	lost     uint64          // refusals of which nothing is known

	queue   chan *liveReport
	ended   chan struct{} // closed when the container has ended
	done    chan struct{}
	fileErr error
}

// reported is the filter that reports are about; the zero value is none.
type reported struct {
	program *bpf.Program // the one that decides; the kernel may have it with NOTIFY in it
	profile string       // as positions name it
	policy  func() (*seccomp.Policy, error)
}

// place is where a thread makes a call.
type place struct {
	tid      int
	arch, nr uint32
	ip       uint64
}

type sightings struct {
	n      int
	report *liveReport // that of the last look, or nil
}

// liveReport is a line of --explain-to. Calls with the same arguments, whatever their
// addresses, by programs of the same name are one.
type liveReport struct {
	Time    time.Time `json:"time"`
	Call    string    `json:"call"`
	Args    []string  `json:"args"`
	Arch    string    `json:"arch"`
	Number  uint32    `json:"number"`
	PID     int       `json:"pid,omitempty"`     // as the container sees it
	HostPID int       `json:"hostPid,omitempty"` // as the host does
	Comm    string    `json:"comm,omitempty"`
	Exe     string    `json:"exe,omitempty"`
	Library string    `json:"library,omitempty"` // that made the call, if it is not Exe itself
	By      string    `json:"by"`                // what refused it: filter or kernel
	Verdict string    `json:"verdict,omitempty"` // the filter's
	Errno   string    `json:"errno,omitempty"`
	Passed  bool      `json:"passed,omitempty"` // --complain
	Because string    `json:"because"`
	Rule    string    `json:"rule,omitempty"`
	// Of a call that the kernel refused: each of them would do.
	Capabilities []string `json:"capabilities,omitempty"`
	Changes      []change `json:"changes,omitempty"`
	Count        int      `json:"count"`

	arch    syscalls.Arch
	values  [6]uint64
	guarded bool // it asked for a listener
	killed  bool // the filter sent SIGSYS; the arguments are not known

	lookUp func() // adds what takes long to find out, which only the first of equal reports has; or nil
}

// observes reports whether a launch is to report or pass what is denied.
func observes(c *ucli.Context) bool {
	return c.Bool("explain") || c.Bool("explain-filter") || c.Bool("complain") || c.String("explain-to") != ""
}

// checkFile returns an error unless a flag names a file, if it is given. Both streams are the
// container's, so - is none; a file of that name is ./-.
func checkFile(c *ucli.Context, flag string) error {
	switch {
	case c.String(flag) == "-":
		return &usageError{"--" + flag + " -: standard output is the container's", "name a file"}
	case c.IsSet(flag) && c.String(flag) == "": // as of a variable that is not set
		return &usageError{"--" + flag + ": a file is missing", "name a file"}
	}
	return nil
}

// observed sets up o for --explain, --explain-to and --complain. Without them it returns
// nil, and nothing is done.
func (a *app) observed(c *ucli.Context, o *launcher.Options, filter reported, terminal bool, capabilities []string) (*liveReports, error) {
	if err := checkFile(c, "explain-to"); err != nil || !observes(c) {
		return nil, err
	}
	r := &liveReports{reported: filter, app: a, complain: c.Bool("complain"), only: c.Bool("explain-filter"), late: terminal, path: c.String("explain-to"), capabilities: capabilities}
	err := r.setUp(o)
	if errors.As(err, new(*launcher.Error)) {
		return nil, err
	}
	if err != nil {
		return nil, hint.With(fmt.Errorf("--explain: %w", err), "leave out --explain and its like, and unset MINIRUN_EXPLAIN")
	}
	if r.complain && r.program != nil {
		a.ui.warn("--complain: %s denies nothing now; capabilities and namespaces still do", r.profile)
	}
	return r, nil
}

// setUp has a launch report to r.
func (r *liveReports) setUp(o *launcher.Options) error {
	r.reports, r.detours, r.calls = map[string]*liveReport{}, map[string]bool{}, map[string]bool{}
	if !r.only {
		r.watch(o)
	}
	if r.program == nil {
		return nil
	}
	if r.program.Listener {
		policy, err := r.policy()
		if err != nil {
			return err
		}
		pos, _ := policy.Notifies()
		return fmt.Errorf("%s: SCMP_ACT_NOTIFY: the agent is the filter's listener, and there can be only one", pos)
	}
	observed, err := r.program.Observed(r.asks)
	if err != nil {
		return fmt.Errorf("%s: %w", r.profile, err)
	}
	flags, err := launcher.ObservationFlags()
	if err != nil {
		return err
	}
	o.Observe = &launcher.Observation{Judge: r.judge, WhenDenied: r.whenDenied}
	if !r.complain && !r.only && r.watchDenied(o.Watch) {
		o.Observe.Spare, o.Observe.SpareFlags = observed.Instructions, observed.Flags|flags
		return nil
	}
	o.Filter, o.FilterFlags = observed.Instructions, observed.Flags|flags
	return nil
}

// open opens the file of --explain-to. It is called when nothing else is refused.
func (r *liveReports) open() (err error) {
	if r == nil || r.path == "" {
		return nil
	}
	r.file, err = os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fileError("--explain-to", r.path, err)
	}
	return nil
}

// callName returns the name of a call, or its number.
func callName(n launcher.Notification) (string, syscalls.Arch) {
	arch, ok := syscalls.FromAudit(n.Arch, n.Nr)
	if ok {
		if name, ok := syscalls.NameOf(arch, n.Nr); ok {
			return name, arch
		}
	}
	return "call " + strconv.FormatUint(uint64(n.Nr), 10), arch
}

// texts is the mask of the arguments that point to texts.
func texts(n launcher.Notification) uint8 {
	name, _ := callName(n)
	return syscalls.TextArguments(name)
}

func (r *liveReports) whenDenied(d launcher.Denied) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.add(r.describe(d)); one != nil {
		r.places[place{d.TID, d.Arch, d.Nr, d.IP}].report = one
	}
}

// add counts a report and prints the first of its kind. It returns that, or nil if there
// are too many.
func (r *liveReports) add(now *liveReport) *liveReport {
	key := strings.Join([]string{now.Arch, now.pattern(), now.Comm, now.Verdict, now.Errno, now.Because}, " ")
	one := r.reports[key]
	switch {
	case one != nil:
	case len(r.order) >= maxReports && (r.calls[now.Call] || len(r.order) == maxCalls):
		r.more++
		return nil
	default:
		if one = now; now.lookUp != nil {
			now.lookUp()
		}
		r.reports[key] = one
		r.order = append(r.order, one)
		r.calls[one.Call] = true
		if r.queue == nil {
			r.queue, r.ended, r.done = make(chan *liveReport, maxCalls), make(chan struct{}), make(chan struct{})
			go r.explainAll()
		}
		first := *one
		first.Count = 1
		r.queue <- &first // there is room: it takes all reports
	}
	one.Count++
	return one
}

func (r *liveReports) describe(d launcher.Denied) *liveReport {
	name, arch := callName(d.Notification)
	v, _ := r.verdict(d.Notification)
	one := &liveReport{
		Time: time.Now().UTC(), Call: name, Args: arguments(d, name, arch), Arch: arch.String(), Number: d.Nr, By: "filter",
		PID: d.Caller.PID, HostPID: d.Caller.Host, Comm: d.Caller.Comm, Exe: d.Caller.Exe,
		arch: arch, values: d.Args,
	}
	one.Library = libraryOf(d.Caller)
	if one.guarded = !r.asks(v); one.guarded {
		v = bpf.Verdict(unix.SECCOMP_RET_ERRNO | uint32(unix.EBUSY))
	} else {
		one.Passed = r.complain
	}
	one.Verdict = v.String()
	if fails(v) && !one.Passed {
		one.Errno = unix.ErrnoName(unix.Errno(v.Effect().Data()))
	}
	return one
}

// libraryOf returns the file that a call was made from, if it is not the executable.
func libraryOf(c launcher.Caller) string {
	if c.Lib == c.Exe {
		return ""
	}
	return c.Lib
}

// finish waits for what is left to explain, and prints what is said at the end. The
// container has ended.
func (r *liveReports) finish() {
	if r == nil {
		return
	}
	if r.queue != nil {
		close(r.ended)
		close(r.queue)
		<-r.done
	}
	r.totals()
	if r.more > 0 {
		r.app.ui.say("minirun: %d more denied calls, not reported one by one", r.more)
	}
	if r.lost > 0 {
		r.app.ui.say("minirun: %d refused calls were lost: there was no room for their reports", r.lost)
	}
	if len(r.detours) > 0 {
		names := slices.Sorted(maps.Keys(r.detours))
		r.app.ui.say("minirun: got ENOSYS, so that programs fall back to older calls: %s", strings.Join(names, " "))
	}
	if r.file != nil {
		if err := r.file.Close(); r.fileErr == nil {
			r.fileErr = err
		}
	}
	if r.fileErr != nil {
		r.app.ui.warning(fileError("--explain-to", r.path, r.fileErr))
	}
}
