// Package config turns the flags of a launch, which are spelled as those of
// `docker run`, into typed values.
//
// Nothing here touches the machine: [Parse] reads nothing except the working
// directory's name, for relative paths, and changes nothing. Package launcher finds
// out what the values of a [Config] mean on this host: a device's number, or whether
// a capability can be given.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/internal/hint"
)

// Flags are the flags that were given, by their long names without dashes, each
// with its values in the order of the command line. A switch has the values
// "true" and "false". The last value of a flag that takes one counts.
type Flags map[string][]string

// Config has the values of the flags of a launch. Flags that were not given leave
// zero values, except for those that [Parse] fills in.
type Config struct {
	Given Flags // the flags that were parsed

	Args       []string  // the command and its arguments, without the entry point; empty is the image's
	Entrypoint *[]string // replaces the image's entry point and command; nil is the image's
	Env        []string  // NAME=VALUE, later ones win
	User       string    // [USER|UID][:GROUP|:GID]
	Groups     []string  // further groups, names or numbers
	Workdir    string    // an absolute path, or ""

	Terminal    bool // a terminal of the container's own
	Interactive bool // standard input is passed on
	Init        bool // a PID 1 that forwards signals and reaps
	DropStdout  bool // standard output goes nowhere
	DropStderr  bool
	Signals     Signals
	Rlimits     []specs.POSIXRlimit

	Capabilities      []string // the bounding set: CAP_ names, sorted
	NamedCapabilities []string // those of them that --cap-add names
	Privileged        bool
	NoNewPrivileges   bool
	AppArmor          string // a profile's name, "unconfined", or "" for Docker's default
	Seccomp           string // a profile's file, "default" or "unconfined"

	Mounts  []Mount  // parents before children
	Volumes []string // anonymous volumes: absolute paths; [spec.Merge] adds the image's, and sorts parents before children
	Devices []Device
	// DeviceRules are further devices that the container may use, by their numbers.
	DeviceRules []DeviceRule
	CDIDevices  []CDIDevice
	ReadOnly    bool  // the root file system is read-only
	ShmSize     int64 // bytes of /dev/shm
	// Unmasked is --security-opt systempaths=unconfined: no path of /proc and /sys is
	// masked or read-only.
	Unmasked bool

	Network    Network
	Published  []Publication
	Exposed    []Port // what PublishAll publishes; [spec.Merge] adds the image's
	PublishAll bool
	Names      Names
	IP         netip.Addr       // the container's; the zero Addr is any
	MAC        net.HardwareAddr // its device's; nil is any
	IPC        IPC
	HostPID    bool // the container is in the host's PID namespace; so for the next two
	HostUTS    bool
	HostCgroup bool
	OwnIDs     int64  // --userns auto: how many users and groups the container has of its own; 0 is the host's users
	Hostname   string // "" is the container's ID, or the host's with NetworkHost
	Domainname string
	Sysctls    map[string]string

	Limits        Limits
	OOMScoreAdj   int // -1000 to 1000
	CgroupManager CgroupManager
	CgroupParent  string // a path, or with systemd a slice; "" is minirun's choice

	Name        string            // "" is the container's ID
	IDFile      string            // a file to write the container's ID to, or ""
	Labels      map[string]string // the user's, which override the image's
	Annotations map[string]string
	StopSignal  string // the signal that asks the command to end, as [ParseSignal] reads it; "" is SIGTERM
}

// Error is a flag that is refused. Its text is `OP: WHY`.
type Error struct {
	Op  string // the flag and its value
	Err error  // why it is refused
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// refuse returns an [Error] about a flag's value, with what the user can do, or "".
func refuse(flag, value, help, format string, args ...any) error {
	return hint.With(&Error{Op: "--" + flag + " " + value, Err: fmt.Errorf(format, args...)}, help)
}

// Parse reads flags. Every error is an [Error], of the first flag in the order
// of the manual that is wrong. A flag that it does not know is an error too.
func Parse(flags Flags) (*Config, error) {
	c := &Config{Given: flags, ShmSize: defaultShmSize, Seccomp: "default", Labels: map[string]string{}, Annotations: map[string]string{}, Sysctls: map[string]string{}}
	p := flagParser{flags: flags, seen: map[string]bool{}, c: c}
	for _, group := range []func(*flagParser) error{
		(*flagParser).process, (*flagParser).security, (*flagParser).files, (*flagParser).isolation, (*flagParser).ports, (*flagParser).names, (*flagParser).container,
	} {
		if err := group(&p); err != nil {
			return nil, err
		}
	}
	for name := range flags {
		if !p.seen[name] {
			return nil, &Error{Op: "--" + name, Err: errors.New("unknown flag")}
		}
	}
	return c, nil
}

// flagParser reads flags into c, and records which it has read.
type flagParser struct {
	flags Flags
	seen  map[string]bool
	c     *Config
}

// list returns all values of a flag.
func (p *flagParser) list(name string) []string {
	p.seen[name] = true
	return p.flags[name]
}

// text returns the last value of a flag, and whether it was given.
func (p *flagParser) text(name string) (string, bool) {
	values := p.list(name)
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

// value returns the last value of a flag, or "" if it was not given.
func (p *flagParser) value(name string) string {
	value, _ := p.text(name)
	return value
}

func (p *flagParser) on(name string) bool { return p.value(name) == "true" }

func (p *flagParser) process() error {
	c := p.c
	c.Terminal, c.Interactive, c.Init = p.on("tty"), p.on("interactive"), p.on("init")
	c.User, c.Groups = p.value("user"), p.list("group-add")
	if e, given := p.text("entrypoint"); given {
		c.Entrypoint = &[]string{}
		if e != "" {
			*c.Entrypoint = []string{e}
		}
	}
	c.Workdir = p.value("workdir")
	if c.Workdir != "" && !strings.HasPrefix(c.Workdir, "/") {
		return refuse("workdir", c.Workdir, "write a path from /", "not an absolute path")
	}
	c.Env = p.list("env")
	if err := p.attach(); err != nil {
		return err
	}
	if err := p.signals(); err != nil {
		return err
	}
	var err error
	c.Rlimits, err = rlimits(p.list("ulimit"))
	return err
}

func (p *flagParser) container() error {
	p.c.Name, p.c.IDFile = strings.TrimPrefix(p.value("name"), "/"), p.value("cidfile") // Docker's own names start with /
	switch {
	case p.value("name") != "" && !isName(p.c.Name):
		return refuse("name", p.value("name"), "a name is [a-zA-Z0-9][a-zA-Z0-9_.-]+", "invalid container name")
	case len(p.c.Name) > maxName:
		return refuse("name", p.c.Name, "choose a shorter name", "longer than %d bytes", maxName)
	}
	for _, text := range p.list("label") {
		key, _, _ := strings.Cut(text, "=")
		if strings.ContainsFunc(strings.TrimLeftFunc(key, unicode.IsSpace), unicode.IsSpace) {
			return refuse("label", text, "write KEY=VALUE", "the key contains white space")
		}
	}
	if err := p.pairs("label", p.c.Labels); err != nil {
		return err
	}
	return p.pairs("annotation", p.c.Annotations)
}

// maxName is the greatest length of a container's name: it is part of the names of
// a directory and a cgroup, which have at most 255 bytes.
const maxName = 200

// pairs reads a flag's KEY=VALUE into a map. The last value of a key counts.
func (p *flagParser) pairs(flag string, to map[string]string) error {
	for _, text := range p.list(flag) {
		key, value, _ := strings.Cut(text, "=")
		if key == "" {
			return refuse(flag, text, "write KEY=VALUE", "a name is missing")
		}
		to[key] = value
	}
	return nil
}

// isName reports whether a container can have the name (Docker's
// RestrictedNamePattern).
func isName(name string) bool {
	for i, r := range name {
		alphanumeric := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alphanumeric && (i == 0 || !strings.ContainsRune("_.-", r)) {
			return false
		}
	}
	return len(name) > 1
}
