package config

import (
	"errors"
	"slices"
	"strings"
)

// Network is what --network names.
type Network string

const (
	NetworkNone Network = "none" // a loopback device only; the default
	NetworkHost Network = "host" // the host's network namespace
)

// Networks lists the values of --network.
func Networks() []string { return []string{string(NetworkNone), string(NetworkHost)} }

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

// choose reads a flag that takes one of a few values, the first being the
// default.
func choose[T ~string](p *parser, flag, what string, values []string) (T, error) {
	value, given := p.text(flag)
	switch {
	case !given:
		return T(values[0]), nil
	case slices.Contains(values, value):
		return T(value), nil
	}
	return "", refuse(flag, value, "use "+strings.Join(values, " or "), "no such %s", what)
}

func (p *parser) isolation() (err error) {
	c := p.c
	if c.Network, err = choose[Network](p, "network", "network", Networks()); err != nil {
		return err
	}
	if c.CgroupManager, err = choose[CgroupManager](p, "cgroup-manager", "manager", CgroupManagers()); err != nil {
		return err
	}
	c.Hostname = p.value("hostname")
	return p.limits()
}

func (p *parser) security() (err error) {
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
			return &Error{Op: "--seccomp", Err: errors.New("a profile is missing"), Help: "give a file, default or unconfined"}
		}
		c.Seccomp = seccomp
	}
	for _, text := range p.list("security-opt") {
		if err := p.securityOption(text); err != nil {
			return err
		}
	}
	if given && c.Seccomp != seccomp {
		return refuse("security-opt", "seccomp="+c.Seccomp, "give one of the two", "--seccomp %s says otherwise", seccomp)
	}
	return nil
}

func (p *parser) securityOption(text string) error {
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
	default:
		return refuse("security-opt", text, "use seccomp=PROFILE, no-new-privileges or apparmor=PROFILE", "unknown option")
	}
	return nil
}
