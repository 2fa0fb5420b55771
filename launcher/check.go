package launcher

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/internal/kernel"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/userns"
)

// CheckStatus is the result of a check.
type CheckStatus string

const (
	// CheckOK means that nothing is missing.
	CheckOK CheckStatus = "ok"
	// CheckWarning means that something is missing, and that launches work without it,
	// except as the detail says.
	CheckWarning CheckStatus = "warning"
	// CheckMissing means that something is missing without which no launch works.
	CheckMissing CheckStatus = "missing"
)

// Check is one finding about this machine.
type Check struct {
	Name   string      `json:"name"`
	Status CheckStatus `json:"status"`
	Detail string      `json:"detail"`        // what was found
	Fix    string      `json:"fix,omitempty"` // what to do, unless the status is CheckOK
}

// Checks returns what launches find or miss on this machine, for this caller. It changes
// nothing. mapped returns why the store's file system cannot map the owners of its files to
// the user namespace users, or nil if it can.
func Checks(mapped func(users *os.File) error) []Check {
	release, _ := kernel.Release() // an error leaves it empty
	m := machine{root: os.DirFS("/"), seccomp: seccompProbe, pidfd: pidfdProbe, trace: watchProbe, caps: callerHas, release: release, network: inspectNetworks()}
	if os.Geteuid() != 0 {
		ids := userns.Find()
		m.user, m.scope = &ids, checkScope(limitControllers[:]...)
	} else {
		m.ownIDs = probeOwnIDs(mapped)
	}
	return m.checks()
}

// machine is what the checks look at.
type machine struct {
	root    fs.FS
	release string
	seccomp func(probe) error
	pidfd   func() error // whether files can be taken from other processes
	trace   func() (string, error)
	caps    func(capability.Cap) bool
	user    *userns.IDs // of the calling user; nil for root
	scope   error       // why that user can have no cgroup for limits, or nil
	ownIDs  error       // why root's containers can have no users of their own, or nil
	network networkFacts
}

func (m machine) checks() []Check {
	return []Check{
		m.privilege(),
		m.capabilities(),
		m.filter(),
		m.actions(),
		m.listener(),
		m.ptrace(),
		m.tracing(),
		m.namespaces(),
		m.overlay(),
		m.cgroups(),
		m.limits(),
		m.mounts(),
		m.systemd(),
		m.userNamespaces(),
		m.userIDs(),
		m.networks(),
		m.apparmor(),
		m.lsm(),
	}
}

func callerHas(c capability.Cap) bool {
	own, err := capability.NewPid2(0)
	return err == nil && own.Load() == nil && own.Get(capability.EFFECTIVE, c) && own.Get(capability.BOUNDING, c)
}

func (m machine) privilege() Check {
	c := Check{Name: "privilege", Status: CheckOK, Detail: "CAP_SYS_ADMIN is held"}
	if m.user != nil {
		c.Detail = "none: containers are made in a user namespace"
		return c
	}
	if !m.caps(capability.CAP_SYS_ADMIN) {
		c.Status, c.Detail, c.Fix = CheckMissing, "CAP_SYS_ADMIN is not held: namespaces and mounts need it", "run minirun as root: sudo minirun"
	}
	return c
}

func (m machine) capabilities() Check {
	if m.user != nil {
		return Check{Name: "capabilities", Status: CheckOK, Detail: "all can be given to a container, over what is the user's"}
	}
	var ordinary, other []string
	for _, c := range capability.ListKnown() {
		name := capname.Of(c)
		switch {
		case m.caps(c):
		case slices.Contains(config.DefaultCapabilities(), name):
			ordinary = append(ordinary, name)
		default:
			other = append(other, name)
		}
	}
	c := Check{Name: "capabilities", Status: CheckOK, Detail: "all can be given to a container"}
	switch {
	case len(ordinary) > 0:
		c.Status, c.Detail = CheckWarning, "containers get fewer than Docker's: not held are "+strings.Join(ordinary, " ")
		c.Fix = "run minirun as root, outside of a container that drops them"
	case len(other) > 0:
		c.Detail = "Docker's can be given to a container; not to be had are " + strings.Join(other, " ")
	}
	return c
}

func (m machine) namespaces() Check {
	c := Check{Name: "namespaces", Status: CheckOK}
	var found, lacking []string
	for _, ns := range []struct{ name, option string }{
		{"mnt", "CONFIG_NAMESPACES"},
		{"pid", "CONFIG_PID_NS"},
		{"ipc", "CONFIG_IPC_NS"},
		{"uts", "CONFIG_UTS_NS"},
		{"net", "CONFIG_NET_NS"},
		{"cgroup", "CONFIG_CGROUPS"},
	} {
		if _, err := fs.Stat(m.root, "proc/self/ns/"+ns.name); err != nil {
			lacking = append(lacking, ns.name+" ("+ns.option+")")
		} else {
			found = append(found, ns.name)
		}
	}
	c.Detail = strings.Join(found, " ")
	if len(lacking) > 0 {
		c.Status, c.Detail = CheckMissing, "none of kind "+strings.Join(lacking, ", ")
		c.Fix = "run a kernel built with these options; is /proc mounted?"
	}
	return c
}

func (m machine) overlay() Check {
	c := Check{Name: "overlayfs", Status: CheckOK, Detail: "in the kernel"}
	if m.hasLine("proc/filesystems", "nodev\toverlay") {
		return c
	}
	modules := "lib/modules/" + m.release
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		data, err := fs.ReadFile(m.root, modules+"/"+list)
		if err == nil && strings.Contains(string(data), "/overlay.ko") {
			c.Detail = "a module, which the first mount loads"
			return c
		}
	}
	c.Status, c.Detail = CheckMissing, "neither in /proc/filesystems nor a module of this kernel"
	c.Fix = "modprobe overlay, or run a kernel built with CONFIG_OVERLAY_FS"
	return c
}

// mounts goes by the kernel's release: bindFile needs open_tree(2) and move_mount(2) of
// Linux 5.2, and with --read-only also mount_setattr(2) of 5.12.
func (m machine) mounts() Check {
	c := Check{Name: "mounts", Status: CheckOK, Detail: "open_tree(2), move_mount(2), mount_setattr(2)"}
	var major, minor int
	_, err := fmt.Sscanf(m.release, "%d.%d", &major, &minor)
	switch {
	case err != nil:
		c.Status, c.Detail, c.Fix = CheckWarning, "unknown: the kernel's release is "+strconv.Quote(m.release), "run Linux 5.12 or later"
	case major < 5 || major == 5 && minor < 2:
		c.Status, c.Detail, c.Fix = CheckMissing, "Linux "+m.release+" has no open_tree(2)", "run Linux 5.12 or later"
	case major == 5 && minor < 12:
		c.Status, c.Detail, c.Fix = CheckWarning, "Linux "+m.release+" has no mount_setattr(2), which --read-only needs", "run Linux 5.12 or later"
	}
	return c
}

// limitControllers are what --memory, --cpus and --pids-limit need.
var limitControllers = [...]string{"cpu", "memory", "pids"}

func (m machine) cgroups() Check {
	c := Check{Name: "cgroups", Status: CheckOK}
	version, controllers := m.controllers()
	if version == "" {
		c.Status, c.Detail = CheckMissing, "none are mounted at /sys/fs/cgroup"
		c.Fix = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
		return c
	}
	c.Detail = version + ": " + strings.Join(controllers, " ")
	if lacking := lackingControllers(controllers); len(lacking) > 0 {
		c.Status, c.Detail = CheckWarning, c.Detail+"; without "+strings.Join(lacking, ", ")+" there are no such limits"
		c.Fix = "boot with cgroup_enable=" + lacking[0] + ", or let the one who delegated this cgroup tree delegate it"
	}
	return c
}

func lackingControllers(controllers []string) []string {
	return slices.DeleteFunc(slices.Clone(limitControllers[:]), func(name string) bool { return slices.Contains(controllers, name) })
}

// controllers returns the version of the cgroups, or "", and the usable controllers; with
// v1 these are the mounted ones (cgroups(7)).
func (m machine) controllers() (version string, names []string) {
	if data, err := fs.ReadFile(m.root, "sys/fs/cgroup/cgroup.controllers"); err == nil {
		return "v2", strings.Fields(string(data))
	}
	data, err := fs.ReadFile(m.root, "proc/self/cgroup")
	if err != nil {
		return "", nil
	}
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.SplitN(line, ":", 3) // 4:memory:/path
		if len(fields) != 3 {
			continue
		}
		for _, name := range strings.Split(fields[1], ",") {
			if _, err := fs.Stat(m.root, "sys/fs/cgroup/"+name); err == nil && name != "" && !strings.Contains(name, "=") {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	slices.Sort(names)
	if _, err := fs.Stat(m.root, "sys/fs/cgroup/unified/cgroup.controllers"); err == nil {
		return "v1, hybrid", names
	}
	return "v1", names
}

func (m machine) systemd() Check {
	c := Check{Name: "systemd", Status: CheckOK, Detail: "runs: --cgroup-manager systemd can be used"}
	if _, err := fs.Stat(m.root, "run/systemd/system"); err != nil { // sd_booted(3)
		c.Detail = "does not run: --cgroup-manager cgroupfs, the default, is the only one"
	}
	return c
}

func (m machine) apparmor() Check {
	c := Check{Name: "AppArmor", Status: CheckOK, Detail: "not in use"}
	data, err := fs.ReadFile(m.root, "sys/module/apparmor/parameters/enabled")
	if err != nil || strings.TrimSpace(string(data)) != "Y" {
		return c
	}
	loaded, err := fs.ReadFile(m.root, "sys/kernel/security/apparmor/profiles")
	switch {
	case err != nil:
		c.Status, c.Detail = CheckWarning, "enabled, but which profiles are loaded is unknown: "+err.Error()
		c.Fix = "mount -t securityfs securityfs /sys/kernel/security, and run as root"
	case !strings.Contains("\n"+string(loaded), "\n"+dockerProfile+" ("):
		c.Status, c.Detail = CheckWarning, "enabled, but "+dockerProfile+" is not loaded: containers are unconfined by AppArmor"
		c.Fix = "load a profile of that name with apparmor_parser, as dockerd does, or name one: --security-opt apparmor=NAME"
	default:
		c.Detail = "enabled; containers get " + dockerProfile
	}
	return c
}

func (m machine) lsm() Check {
	c := Check{Name: "security modules", Status: CheckOK}
	data, err := fs.ReadFile(m.root, "sys/kernel/security/lsm")
	if err != nil {
		c.Detail = "unknown: securityfs is not mounted"
		return c
	}
	c.Detail = strings.ReplaceAll(strings.TrimSpace(string(data)), ",", " ")
	return c
}

// kernelConfig returns the lines of the kernel's configuration that set options, and the
// file with the configuration, or "".
func (m machine) kernelConfig(options ...string) (lines []string, source string) {
	for _, name := range []string{"proc/config.gz", "boot/config-" + m.release, "lib/modules/" + m.release + "/config"} {
		lines, err := m.configLines(name, options)
		if err == nil {
			return lines, name
		}
	}
	return nil, ""
}

func (m machine) configLines(name string, options []string) ([]string, error) {
	f, err := m.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	set := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if option, value, found := strings.Cut(lines.Text(), "="); found {
			set[option] = value
		}
	}
	if len(set) == 0 {
		return nil, errors.Join(errors.New("no configuration"), lines.Err())
	}
	var found []string
	for _, option := range options {
		value := set[option]
		if value == "" {
			value = "n"
		}
		found = append(found, option+"="+value)
	}
	return found, lines.Err()
}

func (m machine) hasLine(name, line string) bool {
	data, err := fs.ReadFile(m.root, name)
	return err == nil && slices.Contains(strings.Split(string(data), "\n"), line)
}
