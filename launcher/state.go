package launcher

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json/v1"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
)

// Owner says which process a container belongs to.
type Owner string

const (
	// OwnerLauncher is the process that made the container and waits for it. When this
	// process ends in any way, init's parent-death signal and a guard end the container.
	// The process holds the lock on the container's directory; once it has ended, the next
	// launch removes what is left.
	OwnerLauncher Owner = "launcher"
	// OwnerNobody is for a container that outlives the process that made it. It stays
	// until some process deletes it.
	OwnerNobody Owner = "nobody"
)

// Status is a status of the OCI runtime specification (runtime.md, State).
type Status string

const (
	StatusCreating Status = "creating" // it has a name and a directory
	StatusCreated  Status = "created"  // its init waits to become the command
	StatusRunning  Status = "running"  // its init has become the command, or is about to
	StatusStopped  Status = "stopped"  // its PID 1 has ended
)

// State is what any process can know of a container. It is kept as JSON below the run
// root, which is usually in memory, since it is written several times for each container.
// The container's directory has a symbolic link to it.
type State struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"` // 64 hexadecimal digits
	Owner   Owner     `json:"owner"`
	Status  Status    `json:"status"`
	Created time.Time `json:"created"` // when its init was ready

	// PID 1, in the host's numbering. PIDs are reused: only together with the start time of
	// the process, and the boot, does the number identify one process.
	PID       int    `json:"pid,omitempty"`
	StartTime uint64 `json:"startTime,omitempty"` // in ticks since boot: proc_pid_stat(5)
	Boot      string `json:"boot,omitempty"`      // random(4), boot_id

	Root         string `json:"root,omitempty"`         // the root file system, in the container's mount namespace
	RunRoot      string `json:"runRoot"`                // where libcontainer's state is
	CgroupParent string `json:"cgroupParent,omitempty"` // the cgroup or slice to make the cgroup in
	Systemd      bool   `json:"systemd,omitempty"`      // the cgroup is a scope of systemd's

	dir string // the container's directory

	NextName string `json:"nextName,omitempty"` // a rename is under way, and the directory may have this name already: see Rename

	Keep     bool `json:"keep,omitempty"`     // --rm=false: it stays until Remove
	Detached bool `json:"detached,omitempty"` // its launcher is in the background

	Image    string     `json:"image,omitempty"`    // as the user named it
	Command  []string   `json:"command,omitempty"`  // with the entry point
	Started  time.Time  `json:"started,omitzero"`   // when the command began
	Finished time.Time  `json:"finished,omitzero"`  // when PID 1 had ended
	ExitCode int        `json:"exitCode,omitempty"` // of a container that has stopped
	Lost     bool       `json:"lost,omitempty"`     // it ended because its launcher was killed
	Stop     StopPolicy `json:"stop,omitzero"`

	Args    []string          `json:"args,omitempty"`    // an engine's container: its command
	Cwd     string            `json:"cwd,omitempty"`     // and where that starts
	Kept    int               `json:"kept,omitempty"`    // how many files from 3 on it gets
	Cgroups map[string]string `json:"cgroups,omitempty"` // its cgroup's directories, by controller ("" is cgroup v2)
}

// StopPolicy says how a container is asked to end.
type StopPolicy struct {
	Signal  unix.Signal `json:"signal,omitempty"`
	Seconds *int        `json:"seconds,omitempty"` // until SIGKILL; negative is never, nil the default
}

// lasting reports whether the state outlives the launcher, however that ends.
func (s *State) lasting() bool { return s.Keep || s.Detached }

const stateFile = "state.json"

// file returns the path of the state. In the run root it is named by the ID, since
// containers in different roots can have the same name; the dot keeps it apart from
// libcontainer's directories there. A lasting state has to survive a reboot, and is in the
// container's directory itself.
func (s *State) file() string { return s.path(stateFile, stateSuffix) }

// launchFile returns the path of the [Launch], in the same directory as file.
func (s *State) launchFile() string { return s.path("launch.json", launchSuffix) }

// What the names of a container's files in the run root end with.
const (
	stateSuffix  = ".json"
	launchSuffix = ".launch.json"
	newSuffix    = ".json.new" // a state that is being written; kept_container.c and engine_start.c have the same
)

func (s *State) path(name, suffix string) string {
	if s.lasting() {
		return filepath.Join(s.dir, name)
	}
	return s.inRunRoot(suffix)
}

func (s *State) inRunRoot(suffix string) string {
	return filepath.Join(s.RunRoot, "."+s.shortID()+suffix)
}

// shortID returns the start of the ID, which people use.
func (s *State) shortID() string { return s.ID[:min(len(s.ID), 12)] }

// key returns what the cgroup and libcontainer's directory are named by: a launcher's container
// can get another name while it runs, and one of another root can have the same. An engine
// knows its containers by their names.
func (s *State) key() string {
	if s.Owner == OwnerNobody {
		return s.Name
	}
	return s.shortID()
}

// makeRunRoot makes the directory for the state of containers. It must belong to this user
// or to root, since whoever can write there decides which processes are killed as
// containers. A user's run root may be in /tmp, where another user can have made it first.
func makeRunRoot(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	for _, stat := range [...]func(string, *unix.Stat_t) error{unix.Lstat, unix.Stat} { // it may be a link
		if err := stat(dir, &st); err != nil {
			return &os.PathError{Op: "stat", Path: dir, Err: err}
		}
		if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return fmt.Errorf("%s belongs to another user", dir)
		}
	}
	if st.Mode&0o002 != 0 {
		return fmt.Errorf("%s can be written to by everybody", dir)
	}
	return nil
}

// markRunRoot makes the directory by which a run root is known. It returns an error if there
// is none and something else is in dir: the directory RUNROOT/NAME is removed with container
// NAME.
func markRunRoot(dir string) error {
	mark := filepath.Join(dir, filesDir)
	if _, err := os.Lstat(mark); err == nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") { // as all that minirun itself makes in it
			continue
		}
		if _, err := os.Lstat(mark); err == nil { // another launch has just made it
			return nil
		}
		return fmt.Errorf("%s is neither empty nor a run root: it has %s", dir, entry.Name())
	}
	if err := os.Mkdir(mark, 0o700); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// link puts the symbolic link to the state into the container's directory.
func (s *State) link() error {
	return os.Symlink(s.file(), filepath.Join(s.dir, stateFile))
}

// readLink finds out by the link where the files are of a state that cannot be read: its
// launcher was killed before it had written the state, or after it had removed it.
func (s *State) readLink() {
	file, err := os.Readlink(filepath.Join(s.dir, stateFile))
	if err != nil {
		return
	}
	id, isState := strings.CutSuffix(strings.TrimPrefix(filepath.Base(file), "."), stateSuffix)
	if _, err := hex.DecodeString(id); err == nil && isState && filepath.IsAbs(file) {
		s.ID, s.RunRoot = id, filepath.Dir(file)
	}
}

// guessID finds the ID of a damaged state, by which its cgroup can be found.
func (s *State) guessID() {
	s.readLink()
	data, _ := atomicfile.Read(filepath.Join(s.dir, stateFile)) // which may have none
	if id := regexp.MustCompile(`"id":"([0-9a-f]{64})"`).FindSubmatch(data); id != nil {
		s.ID = string(id[1])
	}
}

// save writes the state for other processes, atomically: a reader sees the old state or the
// new one.
func (s *State) save() error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if s.lasting() {
		return atomicfile.Write(s.file(), data, 0o600)
	}
	return atomicfile.WriteVia(s.inRunRoot(newSuffix), s.file(), data, 0o600)
}

// remove removes the container's files in the run root, which may never have been
// written. Those in its directory go with that.
func (s *State) remove() error {
	if s.ID == "" {
		return nil
	}
	var err error
	for _, suffix := range []string{newSuffix, launchSuffix, stateSuffix} {
		if rerr := os.Remove(s.inRunRoot(suffix)); !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

// readState reads the state in a container's directory, and finds out whether PID 1
// is still alive.
func readState(dir string) (State, error) {
	s := State{dir: dir}
	data, err := atomicfile.Read(filepath.Join(dir, stateFile))
	if errors.Is(err, atomicfile.ErrNotRegular) {
		err = atomicfile.ErrNotRegular
	} else if err != nil {
		return s, err
	} else {
		err = json.Unmarshal(data, &s)
	}
	if err == nil {
		err = s.check()
	}
	s.Name, s.NextName = filepath.Base(dir), ""
	if err != nil {
		return s, &DamagedError{filepath.Base(dir), filepath.Join(dir, stateFile), err}
	}
	if s.PID != 0 && !s.alive() {
		s.Status = StatusStopped
	}
	return s, nil
}

// DamagedError says that a file of a container is not what its launcher wrote.
type DamagedError struct {
	Name string // the container's
	File string
	Err  error
}

func (e *DamagedError) Error() string { return e.File + ": " + e.Err.Error() }
func (e *DamagedError) Unwrap() error { return e.Err }

// check returns an error for a state that belongs to another container or cannot be a
// container's.
func (s *State) check() error {
	name := filepath.Base(s.dir)
	switch id, err := hex.DecodeString(s.ID); {
	case name != s.Name && name != s.NextName && name[0] != '.': // or it is half removed: see renameAway
		return fmt.Errorf("it is of a container %q", s.Name)
	case err != nil || len(id) < 6:
		return fmt.Errorf("%q is no ID of a container", s.ID)
	case !filepath.IsAbs(s.RunRoot):
		return fmt.Errorf("the run root %q is no absolute path", s.RunRoot)
	}
	return nil
}

// identify notes which process PID 1 is.
func (s *State) identify(pid int) error {
	start, _, err := startTime(pid)
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	s.PID, s.StartTime, s.Boot = pid, start, boot
	return nil
}

// alive reports whether PID 1 has not ended.
func (s *State) alive() bool {
	boot, err := bootID()
	if err != nil || boot != s.Boot {
		return false
	}
	start, ended, err := startTime(s.PID)
	return err == nil && start == s.StartTime && !ended
}

// open opens PID 1. The error is ESRCH when it has ended. Which process it is, is checked
// after it has been opened: its number may have been reused before.
func (s *State) open() (*initProcess, error) {
	if s.PID == 0 {
		return nil, unix.ESRCH
	}
	init, err := openPID(s.PID)
	if err != nil {
		return nil, err
	}
	if !s.alive() {
		init.pidfd.Close()
		return nil, unix.ESRCH
	}
	return init, nil
}

// kill kills PID 1, unless it has ended, and waits for its end. It calls thaw after the
// signal, since a frozen process does not die.
func (s *State) kill(thaw func() error) error {
	init, err := s.open()
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer init.pidfd.Close()
	if err := init.signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %d: %w", s.PID, err)
	}
	if err := thaw(); err != nil {
		return err
	}
	if !init.endsWithin(10 * time.Second) {
		return fmt.Errorf("process %d does not die", s.PID)
	}
	return nil
}

func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(id)), err
}

// startTime returns when a process started, in ticks since boot, and whether it has
// ended and only waits to be reaped (proc_pid_stat(5)).
func startTime(pid int) (ticks uint64, ended bool, err error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false, err
	}
	// The name, the second field, may have spaces and parentheses in it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, start = 0, 19 // the third field and the 22nd
	if len(fields) <= start {
		return 0, false, errors.New("/proc/PID/stat has too few fields")
	}
	ticks, err = strconv.ParseUint(string(fields[start]), 10, 64)
	return ticks, bytes.ContainsAny(fields[state], "ZX"), err
}
