package launcher

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	mobyuserns "github.com/moby/sys/userns"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/userns"
)

// userNamespaces checks for user namespaces, which only launches without root need.
func (m machine) userNamespaces() Check {
	c := Check{Name: "user namespaces", Status: CheckOK, Detail: "can be made"}
	lacking, without := CheckWarning, " (launches as root do without)"
	if m.user != nil {
		lacking, without = CheckMissing, ""
	}
	if _, err := fs.Stat(m.root, "proc/self/ns/user"); err != nil {
		c.Status, c.Detail, c.Fix = lacking, "not in this kernel", "run a kernel built with CONFIG_USER_NS"
		return c
	}
	for _, limit := range []struct{ file, closed, fix string }{
		{"proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"},
		{"proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"},
		{"proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "load the profile of minirun's package with apparmor_parser, or sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
	} {
		if m.text(limit.file) != limit.closed {
			continue
		}
		if strings.HasPrefix(limit.file, "proc/sys/kernel/apparmor") && strings.HasPrefix(m.text("proc/self/attr/apparmor/current"), "minirun ") {
			continue // this program has the profile
		}
		c.Status, c.Fix = lacking, limit.fix
		c.Detail = fmt.Sprintf("closed to users other than root: /%s is %s%s", limit.file, limit.closed, without)
		return c
	}
	return c
}

// text returns the content of a small file without surrounding space, or "".
func (m machine) text(file string) string {
	data, _ := fs.ReadFile(m.root, file)
	return strings.TrimSpace(string(data))
}

// userIDs checks which users the caller's containers can have.
func (m machine) userIDs() Check {
	c := Check{Name: "user ids", Status: CheckOK, Detail: "all"}
	switch ids := m.user; {
	case ids == nil && m.ownIDs != nil:
		c.Status, c.Detail, c.Fix = CheckWarning, "all; none of its own for a container (--userns auto): "+m.ownIDs.Error(), cmp.Or(hint.Text(m.ownIDs), "run minirun as root of the host")
	case ids == nil:
		c.Detail += "; 65536 of its own for a container with --userns auto"
	case ids.Missing != nil:
		c.Status, c.Detail, c.Fix = CheckWarning, ids.Missing.Error()+": the container has one user, 0", hint.Text(ids.Missing)
	default:
		c.Detail = fmt.Sprintf("%d users and %d groups, by %s and %s", 1+ids.UIDs.Count(), 1+ids.GIDs.Count(), ids.UIDs.Tool, ids.GIDs.Tool)
		if lost := ids.Untrusted(); lost != "" {
			c.Status, c.Detail, c.Fix = CheckMissing, lost+" has lost its set-uid bit", "sudo apt-get install --reinstall uidmap"
		}
	}
	return c
}

// probeOwnIDs returns why a container can have no users of its own, or nil. It makes a user
// namespace to find out, and closes it.
func probeOwnIDs(mapped func(users *os.File) error) error {
	if mobyuserns.RunningInUserNS() {
		return errors.New("minirun itself is in a user namespace")
	}
	ids, err := userns.Choose(65536, nil)
	if err != nil {
		return err
	}
	ns, err := userns.Make(ids, false)
	if err != nil {
		return err
	}
	defer ns.Close()
	return mapped(ns.User)
}

// limits checks whether --memory, --cpus and --pids-limit work for the caller.
func (m machine) limits() Check {
	c := Check{Name: "limits", Status: CheckOK, Detail: "memory, processor time and processes, in a cgroup that your systemd gives"}
	if m.user != nil {
		if m.scope != nil {
			c.Status, c.Detail, c.Fix = CheckWarning, "none: "+m.scope.Error(), cmp.Or(hint.Text(m.scope), "run it with sudo")
		}
		return c
	}
	c.Detail = "memory, processor time and processes"
	_, controllers := m.controllers()
	if lacking := lackingControllers(controllers); len(lacking) > 0 {
		c.Status, c.Detail, c.Fix = CheckWarning, "none of "+strings.Join(lacking, ", "), "see cgroups"
	}
	return c
}
