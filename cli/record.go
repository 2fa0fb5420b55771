package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/flock"
	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/record"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// recording collects the calls of a run for --record, for the profile in a file.
type recording struct {
	app      *app
	path     string // as the user gave it
	file     string // with all links resolved
	docker   bool
	target   seccomp.Target
	recorder launcher.Recorder

	init     bool          // --init: a profile for a runtime is for an init, too
	agent    bool          // of SCMP_ACT_NOTIFY, which answers calls
	reports  *liveReports  // of --explain, which has seen the denied calls, or nil
	emulator *bpf.Emulator // of the filter, if the recording itself gets the denied calls
	denied   map[string]bool
	missing  map[string]bool // calls that got ENOSYS
}

// recording returns the recording that --record asks for, or nil. It reads the file, so that a
// bad one is an error before anything is made.
func (a *app) recording(c *ucli.Context, capabilities []string) (*recording, error) {
	path, runtime := c.String("record"), c.String("record-for")
	named := c.IsSet("record-for")
	if err := checkFile(c, "record"); err != nil {
		return nil, err
	}
	switch {
	case path == "" && !named:
		return nil, nil
	case path == "":
		return nil, &usageError{"--record-for: there is no --record", "name the profile's file with --record FILE"}
	case named && runtime != "docker":
		return nil, &usageError{fmt.Sprintf("--record-for %q: no such runtime", runtime), "use docker"}
	}
	r, err := a.recordingTo(path, named, capabilities)
	if err != nil {
		return nil, err
	}
	r.init = c.Bool("init")
	return r, nil
}

// recordingTo returns a recording to a file.
func (a *app) recordingTo(path string, docker bool, capabilities []string) (r *recording, err error) {
	r = &recording{app: a, path: path, docker: docker, denied: map[string]bool{}, missing: map[string]bool{}}
	r.recorder.Arguments = recordedArguments()
	if r.target, err = seccomp.HostTarget(capabilities); err != nil {
		return nil, err
	}
	if r.file, err = realFile(path); err != nil {
		return nil, fileError("--record", path, err)
	}
	if _, err := r.read(); err != nil {
		return nil, err
	}
	if err := r.checkReplaceable(); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(filepath.Dir(r.file), atomicfile.Pattern)
	if err != nil {
		return nil, fileError("--record", path, errors.Unwrap(err))
	}
	probe.Close()
	return r, os.Remove(probe.Name())
}

// checkReplaceable returns an error if the file exists and cannot be replaced: for a user, one that the
// mode protects, although rename(2) does not ask for it.
func (r *recording) checkReplaceable() error {
	switch err := unix.Access(r.file, unix.W_OK); err {
	case unix.ENOENT:
		return nil
	case nil:
	default:
		return fileError("--record", r.path, err)
	}
	var info unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, r.file, 0, 0, &info); err == nil && info.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 { // from Linux 5.8 on
		return &usageError{"--record " + r.path + ": it is a mount point, and cannot be replaced", "mount its directory instead, or name another file"}
	}
	return nil
}

// recordedArguments returns the arguments whose values are recorded, on all architectures.
func recordedArguments() map[launcher.RecordedCall]launcher.RecordedArgument {
	all := map[launcher.RecordedCall]launcher.RecordedArgument{}
	for name, argument := range record.Arguments {
		for _, arch := range syscalls.Arches() {
			if nr, ok := syscalls.Number(arch, name); ok {
				all[launcher.RecordedCall{Arch: arch.Audit(), Nr: nr}] = launcher.RecordedArgument(argument)
			}
		}
	}
	return all
}

// read returns the profile in the file, or nil if there is none yet. An empty file, such as
// mktemp(1) makes, counts as none.
func (r *recording) read() (*seccomp.Profile, error) {
	info, err := os.Stat(r.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fileError("--record", r.path, err)
	case !info.Mode().IsRegular():
		return nil, &usageError{"--record " + r.path + ": it is not a regular file", "the profile replaces the file"}
	case info.Size() == 0:
		return nil, nil
	}
	data, err := readUpTo(r.file, seccomp.MaxSize+1)
	if err != nil {
		return nil, fileError("--record", r.path, err)
	}
	p, err := seccomp.Parse(r.path, data)
	if err != nil {
		return nil, hint.With(fmt.Errorf("--record: %w", err), "the calls of the run are added to this profile; name another file for a new one")
	}
	var keys map[string]json.RawMessage
	if json.Unmarshal(data, &keys) != nil || !slices.ContainsFunc(slices.Collect(maps.Keys(keys)), func(key string) bool { return strings.EqualFold(key, "defaultAction") }) {
		return nil, &usageError{"--record " + r.path + ": it is not a profile in Docker's format", "name another file"}
	}
	return p, nil
}

// observe sets up o for the recording. reports are those of --explain and similar flags, or
// nil.
func (r *recording) observe(o *launcher.Options, reports *liveReports) error {
	if r == nil {
		return nil
	}
	r.reports, r.agent = reports, o.Agent != nil
	program := &bpf.Program{Arch: r.target.Arch, Instructions: o.Filter, Flags: o.FilterFlags}
	cannot := launcher.CanRecord()
	if cannot == nil {
		o.Record = &r.recorder
		if o.Filter == nil || o.Agent != nil || reports != nil {
			return nil // nothing is denied, or another hears of it
		}
		flags, err := launcher.ObservationFlags()
		if err != nil { // before Linux 5.7: denied calls stay unknown
			return nil
		}
		return r.listen(o, program, fails, flags)
	}
	if o.Agent != nil || reports != nil {
		return &usageError{"--record: BPF cannot be used: " + cannot.Error(), "without it a run with --explain, --complain or SCMP_ACT_NOTIFY cannot be recorded"}
	}
	flags, err := launcher.ObservationFlags()
	if err != nil {
		return err
	}
	if o.Filter == nil {
		program.Instructions = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	}
	r.app.ui.warn("--record: BPF cannot be used, so each call is slow: %v", cannot)
	return r.listen(o, program, func(v bpf.Verdict) bool { return fails(v) || v.Passes() }, flags)
}

// listen makes the filter ask this process about the calls that it denies or, without BPF,
// about all calls.
func (r *recording) listen(o *launcher.Options, program *bpf.Program, ask func(bpf.Verdict) bool, flags uint32) (err error) {
	if r.emulator, err = program.Emulator(); err != nil {
		return err
	}
	observed, err := program.Observed(ask)
	if err != nil {
		return hint.With(fmt.Errorf("--record: %w", err), "leave out --record")
	}
	o.Filter, o.FilterFlags = observed.Instructions, observed.Flags|flags
	o.Observe = &launcher.Observation{Judge: r.judge}
	return nil
}

func (r *recording) judge(n launcher.Notification) launcher.Answer {
	v, err := r.emulator.Run(bpf.Call{Nr: n.Nr, Arch: n.Arch, IP: n.IP, Args: n.Args})
	if err != nil {
		return launcher.Answer{Errno: unix.EPERM}
	}
	name, _ := callName(n)
	const enough = 1000 // a command may try all numbers
	switch {
	case !fails(v) && asksForListener(n):
		return launcher.Answer{Errno: unix.EBUSY} // see bpf.Program.Observed
	case !fails(v):
		r.recorder.Made(n)
		return launcher.Answer{Continue: true}
	case isDetour(v, n) && len(r.missing) < enough:
		r.missing[name] = true
	case len(r.denied) < enough:
		r.denied[name] = true
	}
	return launcher.Answer{Errno: unix.Errno(v.Effect().Data())}
}

// asksForListener reports whether a call is seccomp(2) for a filter with a listener.
func asksForListener(n launcher.Notification) bool {
	name, _ := callName(n)
	return name == "seccomp" && uint32(n.Args[0]) == unix.SECCOMP_SET_MODE_FILTER && n.Args[1]&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
}

// finish writes the profile when the command has run. With warn an error is printed as a warning,
// not returned: the command's own status says more, or nobody looks at minirun's.
func (r *recording) finish(command []string, warn bool) error {
	if r == nil || len(r.recorder.Calls()) == 0 {
		return nil
	}
	err := r.write(command)
	if err != nil && warn {
		r.app.ui.warning(err)
		return nil
	}
	return err
}

func (r *recording) write(command []string) error {
	run, unknown := r.run(command)
	dir, err := flock.Open(filepath.Dir(r.file), unix.LOCK_EX) // another run may add to the same file
	if err != nil {
		return fileError("--record", r.file, err) // the working directory is another now
	}
	defer dir.Close()
	old, err := r.read()
	if err != nil {
		return err
	}
	result, err := run.Add(old, r.target)
	if err != nil {
		return hint.With(fmt.Errorf("--record %s: %w", r.path, err), "name another file for a new profile; this one has not been changed")
	}
	if old == nil || len(result.New) > 0 {
		if err := atomicfile.Write(r.file, result.Text, 0o644); err != nil {
			return fileError("--record", r.file, err)
		}
	}
	r.report(old == nil, result, unknown)
	return nil
}

// run returns the calls of the run. unknown is how many numbers have no name.
func (r *recording) run(command []string) (run *record.Run, unknown int) {
	run = &record.Run{Command: command[0], Missing: slices.Sorted(maps.Keys(r.missing))}
	if r.docker {
		run.Runtime = record.RuntimeCalls()
	}
	if r.docker && r.init {
		run.Runtime = append(run.Runtime, record.InitCalls()...)
	}
	type key struct {
		arch syscalls.Arch
		name string
	}
	calls := map[key][]uint64{}
	for c := range r.recorder.Calls() {
		arch, ok := syscalls.FromAudit(c.Arch, c.Nr)
		name, known := syscalls.NameOf(arch, c.Nr)
		switch at := (key{arch, name}); {
		case !ok || !known:
			unknown++
		case c.HasValue:
			calls[at] = append(calls[at], c.Value)
		case calls[at] == nil:
			calls[at] = []uint64{}
		}
	}
	for at, values := range calls {
		slices.Sort(values)
		run.Calls = append(run.Calls, record.Call{Arch: at.arch, Name: at.name, Values: values})
	}
	slices.SortFunc(run.Calls, func(a, b record.Call) int {
		return strings.Compare(a.Name+" "+a.Arch.String(), b.Name+" "+b.Arch.String())
	})
	if r.reports != nil {
		run.Missing = slices.Sorted(maps.Keys(r.reports.detours))
		for _, one := range r.reports.order {
			if one.By == "filter" && !one.Passed {
				r.denied[one.Call] = true
			}
		}
	}
	run.Missing = slices.DeleteFunc(run.Missing, func(name string) bool { return !syscalls.Known(name) })
	return run, unknown
}

// report prints what the run has added, and what the profile may lack.
func (r *recording) report(first bool, result *record.Result, unknown int) {
	ui := r.app.ui
	text := fmt.Sprintf("minirun: %s: %d calls", printable(r.path), result.Calls)
	if n := len(result.New); !first && n > 0 {
		text += fmt.Sprintf(", %d new: %s", n, strings.Join(result.New, " "))
	}
	ui.say("%s", text)
	if len(r.denied) > 0 {
		ui.say("minirun: denied, and so not in it: %s", strings.Join(slices.Sorted(maps.Keys(r.denied)), " "))
	}
	if r.agent {
		ui.warn("--record: calls that the seccomp agent answered itself are not in it")
	}
	if unknown > 0 {
		ui.warn("--record: %d numbers of calls have no name that minirun knows", unknown)
	}
	for _, name := range result.Any {
		argument, _ := record.ArgumentOf(name)
		ui.warn("--record: %s is allowed with all values of argument %d: there were too many", name, argument.Index)
	}
	if r.recorder.Full() && len(result.Some) > 0 {
		ui.warn("--record: the run had too many values of arguments; some of %s may be missing", strings.Join(result.Some, " and "))
	}
	if r.recorder.MissesNested() {
		ui.warn("--record: this container had no cgroup v2 of its own: calls in PID namespaces inside of it are missing")
	}
	r.reportNeeds()
	if first {
		ui.hint(fmt.Sprintf("'minirun seccomp diff default %s' shows what it takes away", printable(shellWord(r.path))))
	}
}
