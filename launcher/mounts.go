package launcher

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultMounts are the ones that Docker gives every container (moby/oci/defaults.go).
func defaultMounts(o *Options) ([]specs.Mount, error) {
	shm := int64(64 << 20)
	if o.ShmSize != "" {
		var err error
		if shm, err = units.RAMInBytes(o.ShmSize); err != nil {
			return nil, &Error{Op: "--shm-size " + o.ShmSize, Err: err, Help: "write a number and b, k, m or g, for example 64m"}
		}
	}
	access := "ro"
	if o.Privileged {
		access = "rw"
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{access, "nosuid", "noexec", "nodev"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", shm)}},
	}, nil
}

// userMounts turns -v, --mount and --tmpfs into the spec's mounts, parents
// before children.
func userMounts(o *Options) ([]specs.Mount, error) {
	var mounts []specs.Mount
	add := func(flag, text string, parse func(string) (specs.Mount, error)) error {
		m, err := parse(text)
		if err == nil && slices.ContainsFunc(mounts, func(other specs.Mount) bool { return other.Destination == m.Destination }) {
			err = fmt.Errorf("duplicate mount point %s", m.Destination)
		}
		if err == nil && m.Destination == "/" {
			err = errors.New("the destination cannot be /")
		}
		var told *Error
		if err != nil && !errors.As(err, &told) {
			err = &Error{Op: flag + " " + text, Err: err}
		}
		mounts = append(mounts, m)
		return err
	}
	for _, group := range []struct {
		flag  string
		texts []string
		parse func(string) (specs.Mount, error)
	}{
		{"--volume", o.Volumes, parseVolume},
		{"--mount", o.Mounts, parseMount},
		{"--tmpfs", o.Tmpfs, parseTmpfs},
	} {
		for _, text := range group.texts {
			if err := add(group.flag, text, group.parse); err != nil {
				return nil, err
			}
		}
	}
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return mounts, nil
}

// parseVolume reads -v HOST:CONTAINER[:ro|rw|PROPAGATION,...]. As with Docker a
// host folder that is not there is made.
func parseVolume(text string) (specs.Mount, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" {
		return specs.Mount{}, &Error{
			Op: "--volume " + text, Err: errors.New("not HOST:CONTAINER[:OPTIONS]"),
			Help: "minirun keeps no volumes; give a host path, or --tmpfs CONTAINER",
		}
	}
	source := parts[0]
	if strings.HasPrefix(source, ".") {
		abs, err := filepath.Abs(source)
		if err != nil {
			return specs.Mount{}, err
		}
		source = abs
	}
	if !filepath.IsAbs(source) {
		return specs.Mount{}, &Error{
			Op: "--volume " + text, Err: fmt.Errorf("%q is not a path", parts[0]),
			Help: "minirun keeps no named volumes; write ./" + parts[0] + " for the folder of that name",
		}
	}
	m, err := bindMount(source, parts[1])
	if err != nil {
		return m, err
	}
	if len(parts) == 3 {
		for _, option := range strings.Split(parts[2], ",") {
			if err := volumeOption(&m, option); err != nil {
				return m, err
			}
		}
	}
	if _, err := os.Stat(source); errors.Is(err, os.ErrNotExist) {
		return m, os.MkdirAll(source, 0o755)
	}
	return m, nil
}

func volumeOption(m *specs.Mount, option string) error {
	switch option {
	case "rw", "z", "Z", "nocopy": // SELinux labels and volume copies have no part here
	case "ro":
		m.Options = append(m.Options, "ro")
	default:
		if err := setPropagation(m, option); err != nil {
			return fmt.Errorf("unknown option %q; there are ro, rw, %s", option, propagations)
		}
	}
	return nil
}

const propagations = "[r]shared, [r]slave, [r]private"

func setPropagation(m *specs.Mount, propagation string) error {
	switch propagation {
	case "shared", "rshared", "slave", "rslave", "private", "rprivate":
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == "rprivate" })
		m.Options = append(m.Options, propagation)
		return nil
	}
	return fmt.Errorf("unknown propagation %q; there are %s", propagation, propagations)
}

func bindMount(source, destination string) (specs.Mount, error) {
	if !path.IsAbs(destination) {
		return specs.Mount{}, fmt.Errorf("the container's path %q is not absolute", destination)
	}
	return specs.Mount{
		Destination: path.Clean(destination),
		Type:        "bind",
		Source:      source,
		Options:     []string{"rbind", "rprivate"},
	}, nil
}

// parseMount reads --mount type=bind,source=S,target=T[,readonly] and
// type=tmpfs,target=T[,tmpfs-size=N][,tmpfs-mode=M]. A source that is not there
// is an error, as with Docker.
func parseMount(text string) (specs.Mount, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return specs.Mount{}, err
	}
	values := map[string]string{"type": "volume"}
	for _, field := range fields {
		key, value, hasValue := strings.Cut(field, "=")
		key = mountKey(strings.ToLower(key))
		if !hasValue && key != "readonly" {
			return specs.Mount{}, fmt.Errorf("%q is not KEY=VALUE", field)
		}
		if !hasValue {
			value = "true"
		}
		values[key] = value
	}
	if values["target"] == "" {
		return specs.Mount{}, errors.New("target is required")
	}
	switch values["type"] {
	case "bind":
		return bindFromFields(values)
	case "tmpfs":
		return tmpfsFromFields(values)
	}
	return specs.Mount{}, fmt.Errorf("type %q: minirun mounts bind and tmpfs", values["type"])
}

func mountKey(key string) string {
	switch key {
	case "src":
		return "source"
	case "dst", "destination":
		return "target"
	case "ro":
		return "readonly"
	}
	return key
}

func bindFromFields(values map[string]string) (specs.Mount, error) {
	source := values["source"]
	if !filepath.IsAbs(source) {
		return specs.Mount{}, fmt.Errorf("the source %q is not an absolute path", source)
	}
	if _, err := os.Stat(source); err != nil {
		return specs.Mount{}, fmt.Errorf("bind source path does not exist: %s", source)
	}
	m, err := bindMount(source, values["target"])
	if err != nil {
		return m, err
	}
	for key, value := range values {
		switch key {
		case "type", "source", "target":
		case "readonly":
			if err := setReadonly(&m.Options, value); err != nil {
				return m, err
			}
		case "bind-propagation":
			if err := setPropagation(&m, value); err != nil {
				return m, err
			}
		default:
			return m, fmt.Errorf("unexpected key %q for type=bind", key)
		}
	}
	return m, nil
}

func tmpfsFromFields(values map[string]string) (specs.Mount, error) {
	var options []string
	for key, value := range values {
		switch key {
		case "type", "target":
		case "tmpfs-size":
			size, err := units.RAMInBytes(value)
			if err != nil {
				return specs.Mount{}, err
			}
			options = append(options, fmt.Sprintf("size=%d", size))
		case "tmpfs-mode":
			if _, err := strconv.ParseUint(value, 8, 12); err != nil {
				return specs.Mount{}, fmt.Errorf("tmpfs-mode %q is not an octal mode, such as 1777", value)
			}
			options = append(options, "mode="+value)
		case "readonly":
			if err := setReadonly(&options, value); err != nil {
				return specs.Mount{}, err
			}
		default:
			return specs.Mount{}, fmt.Errorf("unexpected key %q for type=tmpfs", key)
		}
	}
	return parseTmpfs(values["target"] + ":" + strings.Join(options, ","))
}

func setReadonly(options *[]string, value string) error {
	readonly, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("readonly %q is neither true nor false", value)
	}
	if readonly {
		*options = append(*options, "ro")
	}
	return nil
}

// parseTmpfs reads --tmpfs CONTAINER[:OPTIONS]; without options it is Docker's
// noexec,nosuid,nodev.
func parseTmpfs(text string) (specs.Mount, error) {
	destination, options, _ := strings.Cut(text, ":")
	if !path.IsAbs(destination) {
		return specs.Mount{}, fmt.Errorf("the container's path %q is not absolute", destination)
	}
	m := specs.Mount{
		Destination: path.Clean(destination),
		Type:        "tmpfs",
		Source:      "tmpfs",
		Options:     []string{"noexec", "nosuid", "nodev"},
	}
	if options == "" {
		return m, nil
	}
	for _, option := range strings.Split(options, ",") {
		opposite := strings.TrimPrefix(option, "no")
		if opposite == option {
			opposite = "no" + option
		}
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == opposite || o == option })
		m.Options = append(m.Options, option)
	}
	return m, nil
}

// parseDevice reads --device HOST[:CONTAINER[:rwm]] and looks at the node.
func parseDevice(text string) (specs.LinuxDevice, specs.LinuxDeviceCgroup, error) {
	fail := func(err error) (specs.LinuxDevice, specs.LinuxDeviceCgroup, error) {
		return specs.LinuxDevice{}, specs.LinuxDeviceCgroup{}, &Error{Op: "--device " + text, Err: err, Help: "write HOST[:CONTAINER[:rwm]], for example /dev/fuse"}
	}
	parts := strings.Split(text, ":")
	host, inside, access := parts[0], parts[0], "rwm"
	switch {
	case len(parts) == 2 && isAccess(parts[1]):
		access = parts[1]
	case len(parts) == 2:
		inside = parts[1]
	case len(parts) == 3:
		inside, access = parts[1], parts[2]
	}
	if len(parts) > 3 || !isAccess(access) || !path.IsAbs(host) || !path.IsAbs(inside) {
		return fail(errors.New("not a device"))
	}
	var st unix.Stat_t
	if err := unix.Stat(host, &st); err != nil {
		return fail(err)
	}
	kind := map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b"}[st.Mode&unix.S_IFMT]
	if kind == "" {
		return fail(errors.New("not a device node"))
	}
	major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	mode := os.FileMode(st.Mode & 0o7777)
	device := specs.LinuxDevice{Path: path.Clean(inside), Type: kind, Major: major, Minor: minor, FileMode: &mode, UID: &st.Uid, GID: &st.Gid}
	rule := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: access}
	return device, rule, nil
}

func isAccess(text string) bool {
	return text != "" && strings.Trim(text, "rwm") == ""
}

// addHostDevices gives a privileged container every device node of the host's
// /dev, as Docker does, but for those of file systems that it has of its own.
func addHostDevices(linux *specs.Linux) error {
	return filepath.WalkDir("/dev", func(p string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil // a node that went away, or a folder that is not ours to read
		}
		if entry.IsDir() {
			switch p {
			case "/dev/pts", "/dev/shm", "/dev/fd", "/dev/mqueue", "/dev/.udev":
				return filepath.SkipDir
			}
			return nil
		}
		if entry.Type()&os.ModeDevice == 0 || p == "/dev/console" || p == "/dev/ptmx" {
			return nil
		}
		if device, _, err := parseDevice(p); err == nil {
			linux.Devices = append(linux.Devices, device)
		}
		return nil
	})
}
