package launcher

import (
	"errors"
	"os"
	"slices"
	"unsafe"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/network"
)

// About is what the launcher is told of a container for others to see.
type About struct {
	Image   string            `json:"-"` // as the user named it
	Network string            `json:"network"`
	Labels  map[string]string `json:"labels,omitempty"`
	Groups  []string          `json:"groups,omitempty"` // of --group-add

	Flags      config.Flags `json:"flags,omitempty"`      // as they were given, without the environment and labels
	Entrypoint []string     `json:"entrypoint,omitempty"` // how the command begins
	User       string       `json:"user,omitempty"`       // the flags' or the image's
	Layers     []string     `json:"layers,omitempty"`     // of the image: directories, the lowest first
	Volumes    []string     `json:"volumes,omitempty"`    // anonymous ones: paths in the container
	Seccomp    Profile      `json:"seccomp"`
	LogTag     string       `json:"logTag,omitempty"` // what the log's entries are tagged with

	Again *Again `json:"again,omitempty"` // nil for a container that does not stay
}

// Profile names a seccomp profile.
type Profile struct {
	Name   string `json:"name"`             // an absolute path, or default or unconfined
	Edited bool   `json:"edited,omitempty"` // by flags
	Digest string `json:"digest,omitempty"` // of a file's text, after edits: sha256:...
}

// Launch is what a container was launched with, as far as others need it. It is written
// when the command begins, and when it is changed ([Container.SetLimits]).
type Launch struct {
	About
	Process     *specs.Process         `json:"process"`
	Hostname    string                 `json:"hostname,omitempty"`
	ReadOnly    bool                   `json:"readOnly,omitempty"`
	Namespaces  []specs.LinuxNamespace `json:"namespaces"`
	Binds       []specs.Mount          `json:"binds,omitempty"`
	Ports       []string               `json:"ports,omitempty"` // as "0.0.0.0:8080->80/tcp"
	Device      network.Device         `json:"device,omitzero"`
	Filter      []byte                 `json:"filter,omitempty"` // the instructions as they are in memory (linux/filter.h)
	FilterFlags uint32                 `json:"filterFlags,omitempty"`
	// Observed is the filter instead, for as long as the launcher answers its notifications.
	Observed      []byte `json:"observed,omitempty"`
	ObservedFlags uint32 `json:"observedFlags,omitempty"`
	Agent         *Agent `json:"agent,omitempty"`
}

// writeLaunch writes it for others to read.
func (c *Container) writeLaunch() error {
	l := c.launched
	if l.o.Engine != nil {
		return nil
	}
	if err := l.describeLaunch(); err != nil {
		return err
	}
	if c.state.lasting() { // one that is killed meanwhile still has the old one
		return atomicfile.Write(c.state.launchFile(), l.launch, 0o600)
	}
	return os.WriteFile(c.state.launchFile(), l.launch, 0o600)
}

// describeLaunch makes what writeLaunch writes, unless it is made already.
func (l *launched) describeLaunch() (err error) {
	o := &l.o
	if l.launch == nil {
		l.launch, err = json.Marshal(Launch{
			About: o.About, Process: o.Spec.Process, Hostname: o.Spec.Hostname, ReadOnly: o.Spec.Root.Readonly,
			Namespaces: kinds(o.Spec.Linux.Namespaces), Binds: binds(o.Spec.Mounts), Ports: l.network.Ports(), Device: l.network.Device(),
			Filter: instructionBytes(o.Enter), FilterFlags: o.EnterFlags, Agent: o.Agent,
			Observed: instructionBytes(l.observed.program), ObservedFlags: l.observed.flags,
		})
	}
	return err
}

// Launch reads what the container was launched with. Before the command has begun the error
// wraps [os.ErrNotExist].
func (c *Container) Launch() (*Launch, error) {
	file := c.state.launchFile()
	data, err := atomicfile.Read(file)
	if errors.Is(err, atomicfile.ErrNotRegular) {
		return nil, &DamagedError{c.state.Name, file, atomicfile.ErrNotRegular}
	}
	if err != nil {
		return nil, err
	}
	l := &Launch{}
	if err := json.Unmarshal(data, l); err != nil {
		return nil, &DamagedError{c.state.Name, file, err}
	}
	if l.Process == nil {
		return nil, &DamagedError{c.state.Name, file, errors.New("it names no process")}
	}
	return l, nil
}

// kinds returns namespaces without their paths, which are files of the launcher's.
func kinds(namespaces []specs.LinuxNamespace) []specs.LinuxNamespace {
	all := slices.Clone(namespaces)
	for i := range all {
		all[i].Path = ""
	}
	return all
}

func binds(mounts []specs.Mount) []specs.Mount {
	return slices.DeleteFunc(slices.Clone(mounts), func(m specs.Mount) bool { return m.Type != "bind" })
}

const instructionSize = int(unsafe.Sizeof(unix.SockFilter{}))

func instructionBytes(program []unix.SockFilter) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(program))), len(program)*instructionSize)
}

// programOf returns the filter of these bytes.
func programOf(data []byte) []unix.SockFilter {
	if len(data) == 0 {
		return nil
	}
	program := make([]unix.SockFilter, len(data)/instructionSize)
	copy(instructionBytes(program), data)
	return program
}

// Name returns the container's name.
func (c *Container) Name() string { return c.state.Name }

// Known returns the state as it was when the container was found.
func (c *Container) Known() State { return c.state }
