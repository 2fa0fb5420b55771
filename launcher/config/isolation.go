package config

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/minirun/minirun/internal/hint"
)

// IPC is what --ipc names: whose System V and POSIX message queues, semaphores
// and shared memory a container has.
type IPC string

const (
	IPCPrivate IPC = "private" // its own; the default. Docker's "shareable" is the same here
	IPCNone    IPC = "none"    // its own, and no /dev/shm
	IPCHost    IPC = "host"    // the host's
)

// IPCs lists the values of --ipc.
func IPCs() []string { return []string{string(IPCPrivate), string(IPCNone), string(IPCHost)} }

// CgroupManager is what --cgroup-manager names: who makes the cgroup.
type CgroupManager string

const (
	CgroupManagerCgroupfs CgroupManager = "cgroupfs" // minirun itself; the default
	CgroupManagerSystemd  CgroupManager = "systemd"
)

// CgroupManagers lists the values of --cgroup-manager.
func CgroupManagers() []string {
	return []string{string(CgroupManagerCgroupfs), string(CgroupManagerSystemd)}
}

// choose reads a flag that takes one of a few values; initial is for a flag that is
// not given or, except for --network, empty.
func choose[T ~string](p *flagParser, flag, what string, initial T, values []string) (T, error) {
	value, given := p.text(flag)
	switch {
	case !given || value == "" && flag != "network":
		return initial, nil
	case slices.Contains(values, value):
		return T(value), nil
	}
	help := "use " + strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
	return "", refuse(flag, value, help, "no such %s", what)
}

func (p *flagParser) isolation() (err error) {
	c := p.c
	if err = p.network(); err != nil {
		return err
	}
	if c.CgroupManager, err = choose(p, "cgroup-manager", "manager", CgroupManagerCgroupfs, CgroupManagers()); err != nil {
		return err
	}
	if err := p.namespaces(); err != nil {
		return err
	}
	if c.CgroupParent, err = cgroupParent(p.value("cgroup-parent"), c.CgroupManager); err != nil {
		return err
	}
	return p.limits()
}

// namespaces reads which namespaces are the host's, and the values for those that
// are not.
func (p *flagParser) namespaces() (err error) {
	c := p.c
	if p.value("ipc") == "shareable" { // with containers that have --ipc container:NAME, which minirun does not know
		c.IPC = IPCPrivate
	} else if c.IPC, err = choose(p, "ipc", "IPC mode", IPCPrivate, IPCs()); err != nil {
		return err
	}
	for _, ns := range []struct {
		flag   string
		values []string
		host   *bool
	}{
		{"pid", []string{"host"}, &c.HostPID},
		{"uts", []string{"host"}, &c.HostUTS},
		{"cgroupns", []string{"private", "host"}, &c.HostCgroup},
	} {
		mode, err := choose(p, ns.flag, "mode", "", ns.values)
		if err != nil {
			return err
		}
		*ns.host = mode == "host"
	}
	if err := p.userNamespace(); err != nil {
		return err
	}
	c.Hostname, c.Domainname = p.value("hostname"), p.value("domainname")
	for _, name := range []string{"hostname", "domainname"} {
		switch value := p.value(name); {
		case value != "" && c.HostUTS:
			return refuse(name, value, "leave out one of the two", "with --uts host the names are the host's")
		case len(value) > 64: // __NEW_UTS_LEN of linux/utsname.h
			return refuse(name, value, "", "longer than 64 bytes")
		}
	}
	return p.sysctls()
}

// defaultIDs is how many users and groups --userns auto gives: those of 16 bits.
const defaultIDs = 65536

// userNamespace reads --userns host|auto[:size=N]. Docker has host, Podman both.
func (p *flagParser) userNamespace() error {
	const help = "use host, auto or auto:size=N"
	value := p.value("userns")
	mode, option, hasOption := strings.Cut(value, ":")
	switch {
	case value == "" || value == "host":
		return nil
	case mode != "auto":
		return refuse("userns", value, help, "no such mode")
	}
	p.c.OwnIDs = defaultIDs
	if !hasOption {
		return nil
	}
	size, isSize := strings.CutPrefix(option, "size=")
	n, err := strconv.ParseInt(size, 10, 32)
	if !isSize || err != nil || n < 1 {
		return refuse("userns", value, help, "not a number of users")
	}
	p.c.OwnIDs = n
	return nil
}

// sysctls reads --sysctl NAME=VALUE. As with Docker only those can be set that
// belong to a namespace of the container's own.
func (p *flagParser) sysctls() error {
	for _, text := range p.list("sysctl") {
		name, value, found := strings.Cut(text, "=")
		name = strings.ReplaceAll(name, "/", ".")
		if !found || name == "" {
			return refuse("sysctl", text, "write NAME=VALUE", "a name or value is missing")
		}
		switch of := sysctlNamespace(name); {
		case of == "":
			return refuse("sysctl", text, "a container can set net.*, fs.mqueue.* and those of System V IPC", "it is not of a namespace")
		case of == "net" && p.c.Network == NetworkHost:
			return refuse("sysctl", text, "set it on the host with sysctl(8)", "the network is the host's")
		case of == "ipc" && p.c.IPC == IPCHost:
			return refuse("sysctl", text, "set it on the host with sysctl(8)", "IPC is the host's")
		}
		p.c.Sysctls[name] = value
	}
	return nil
}

// sysctlNamespace returns the namespace that a sysctl belongs to, "net" or "ipc", or
// "" if it belongs to the whole machine.
func sysctlNamespace(name string) string {
	switch name {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced":
		return "ipc"
	}
	switch {
	case strings.HasPrefix(name, "net."):
		return "net"
	case strings.HasPrefix(name, "fs.mqueue."):
		return "ipc"
	}
	return ""
}

// cgroupParent reads --cgroup-parent: a path below the cgroup's root, or a slice
// of systemd.
func cgroupParent(text string, manager CgroupManager) (string, error) {
	switch {
	case text == "":
		return "", nil
	case manager != CgroupManagerSystemd:
		return path.Clean("/" + text), nil
	case !strings.HasSuffix(text, ".slice") || strings.Contains(text, "/"):
		return "", refuse("cgroup-parent", text, "write a slice, for example user.slice", "not a slice of systemd")
	}
	return text, nil
}

func (p *flagParser) security() (err error) {
	c := p.c
	c.Privileged = p.on("privileged")
	add := p.list("cap-add")
	if c.Capabilities, err = BoundingSet(add, p.list("cap-drop"), c.Privileged); err != nil {
		return err
	}
	if c.NamedCapabilities, _, err = capabilityNames("--cap-add", add); err != nil {
		return err
	}
	if c.Privileged {
		c.Seccomp = "unconfined"
	}
	seccomp, given := p.text("seccomp")
	if given {
		if seccomp == "" {
			return hint.With(&Error{Op: "--seccomp", Err: errors.New("a profile is missing")}, "give a file, default or unconfined")
		}
		c.Seccomp = seccomp
	}
	for _, text := range p.list("security-opt") {
		if err := p.securityOption(text); err != nil {
			return err
		}
	}
	if given && c.Seccomp != seccomp {
		return refuse("security-opt", "seccomp="+c.Seccomp, "give one of the two", "--seccomp %s names another profile", seccomp)
	}
	return nil
}

func (p *flagParser) securityOption(text string) error {
	name, value, found := strings.Cut(text, "=")
	if !found {
		name, value, found = strings.Cut(text, ":") // Docker's older spelling
	}
	switch {
	case name == "seccomp" && value != "":
		p.c.Seccomp = value
	case name == "no-new-privileges" && (!found || value == "true"):
		p.c.NoNewPrivileges = true
	case name == "no-new-privileges" && value == "false":
		p.c.NoNewPrivileges = false
	case name == "apparmor" && value != "":
		p.c.AppArmor = value
	case name == "systempaths" && value == "unconfined":
		p.c.Unmasked = true
	case name == "label" && value != "": // SELinux's: ignored, as by dockerd without --selinux-enabled
	default:
		return refuse("security-opt", text, "use seccomp=PROFILE, no-new-privileges, apparmor=PROFILE or systempaths=unconfined", "unknown option")
	}
	return nil
}
