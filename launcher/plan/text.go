package plan

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher/arm"
)

// String returns the plan as text, a step a line.
func (p *Plan) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "clone %s\n", cmp.Or(names(uint64(p.Cloned), cloneFlags[:]), "nothing"))
	for _, s := range p.Steps {
		text.WriteString(line(s) + "\n")
	}
	return text.String()
}

func line(s arm.PlanStep) string {
	words := []string{s.Kind.String()}
	if s.Path != "" {
		words = append(words, s.Path)
	}
	field := func(name, value string) {
		if value != "" {
			words = append(words, name+"="+value)
		}
	}
	field("source", s.Source)
	field("type", s.Type)
	field("flags", s.Flags.String())
	field("options", strings.Join(s.Options, ","))
	if s.Kind == arm.Node || s.Kind == arm.Directory || s.Kind == arm.Umask {
		field("mode", fmt.Sprintf("%#o", s.Mode))
	}
	for _, v := range values(s) {
		field(v[0], v[1])
	}
	return strings.Join(words, " ")
}

// values returns the names and values of a step's numbers (plan.h).
func values(s arm.PlanStep) [][2]string {
	v := s.Value
	hex := func(n uint64) string { return fmt.Sprintf("%#x", n) }
	switch s.Kind {
	case arm.Keyring:
		return [][2]string{{"permissions", hex(uint64(s.Mode))}}
	case arm.Namespaces:
		return [][2]string{{"unshare", names(v[0], cloneFlags[:])}}
	case arm.Users:
		return [][2]string{{"child-in", names(v[0], cloneFlags[:])}}
	case arm.Mount, arm.Mask:
		return [][2]string{{"attributes", names(v[0], attributeNames[:])}, {"propagation", names(v[3], propagations[:])}}
	case arm.Bind:
		return [][2]string{
			{"set", names(v[0], attributeNames[:])},
			{"clear", names(v[1], attributeNames[:])},
			{"below", names(v[2], attributeNames[:])},
			{"propagation", names(v[3], propagations[:])},
		}
	case arm.Node:
		return [][2]string{{"device", fmt.Sprintf("%d:%d", unix.Major(v[0]), unix.Minor(v[0]))}, {"owner", fmt.Sprintf("%d:%d", v[1], v[2])}}
	case arm.Console:
		return [][2]string{{"socket", strconv.Itoa(int(s.Mode))}, {"size", fmt.Sprintf("%dx%d", v[0], v[1])}}
	case arm.Rlimit:
		return [][2]string{{"number", strconv.Itoa(int(s.Number))}, {"soft", strconv.FormatUint(v[0], 10)}, {"hard", strconv.FormatUint(v[1], 10)}}
	case arm.Bounding:
		return [][2]string{{"set", hex(v[0])}}
	case arm.User:
		return [][2]string{{"user", fmt.Sprintf("%d:%d", v[0], v[1])}, {"groups", strings.ReplaceAll(strings.Trim(fmt.Sprint(s.Groups), "[]"), " ", ",")}}
	case arm.Capabilities:
		return [][2]string{{"effective", hex(v[0])}, {"permitted", hex(v[1])}, {"inheritable", hex(v[2])}, {"ambient", hex(v[3])}}
	}
	return nil
}

// bit is a flag and its name.
type bit struct {
	flag uint64
	name string
}

var (
	cloneFlags = [...]bit{
		{unix.CLONE_NEWNS, "mnt"},
		{unix.CLONE_NEWPID, "pid"},
		{unix.CLONE_NEWNET, "net"},
		{unix.CLONE_NEWIPC, "ipc"},
		{unix.CLONE_NEWUTS, "uts"},
		{unix.CLONE_NEWCGROUP, "cgroup"},
	}
	attributeNames = [...]bit{
		{unix.MOUNT_ATTR_RDONLY, "ro"},
		{unix.MOUNT_ATTR_NOSUID, "nosuid"},
		{unix.MOUNT_ATTR_NODEV, "nodev"},
		{unix.MOUNT_ATTR_NOEXEC, "noexec"},
		{unix.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"},
		{unix.MOUNT_ATTR__ATIME, "atime"},
		{unix.MOUNT_ATTR_NOATIME, "noatime"},
		{unix.MOUNT_ATTR_STRICTATIME, "strictatime"},
		{unix.MOUNT_ATTR_NODIRATIME, "nodiratime"},
	}
	propagations = [...]bit{
		{unix.MS_PRIVATE, "private"}, {unix.MS_SLAVE, "slave"}, {unix.MS_SHARED, "shared"}, {unix.MS_UNBINDABLE, "unbindable"}, {unix.MS_REC, "recursive"},
	}
)

// names returns the names of the flags that are set, and what has no name as a number.
func names(flags uint64, all []bit) string {
	var set []string
	for _, b := range all {
		if flags&b.flag == b.flag {
			set = append(set, b.name)
			flags &^= b.flag
		}
	}
	if flags != 0 {
		set = append(set, fmt.Sprintf("%#x", flags))
	}
	return strings.Join(set, ",")
}
