package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minirun/minirun/internal/hint"
)

// MountType is the type of a [Mount].
type MountType string

const (
	Bind   MountType = "bind"   // a directory or file of the host
	Tmpfs  MountType = "tmpfs"  // an empty file system in memory
	volume MountType = "volume" // an anonymous volume, which becomes one of [Config.Volumes]
)

// Recursion is what bind-recursive= names: whether a bind mount includes the mounts
// below its source, and whether a read-only one makes them read-only too.
type Recursion string

const (
	RecursionEnabled  Recursion = "enabled"  // included, and read-only if the kernel can do it (Linux 5.12); the default
	RecursionDisabled Recursion = "disabled" // not included
	RecursionWritable Recursion = "writable" // included, and writable
	RecursionReadOnly Recursion = "readonly" // included and read-only, or an error
)

// Recursions lists the values of bind-recursive=.
func Recursions() []string {
	return []string{string(RecursionEnabled), string(RecursionDisabled), string(RecursionWritable), string(RecursionReadOnly)}
}

// Mount is one -v, --mount or --tmpfs.
type Mount struct {
	Flag        string // as it was typed, for messages
	Type        MountType
	Source      string // of a bind mount: an absolute path on the host
	Target      string // an absolute path in the container, cleaned
	Create      bool   // a missing Source becomes a directory
	ReadOnly    bool
	Recursion   Recursion // of a bind mount
	Propagation string    // of a bind mount: [r]slave or [r]private
	Options     []string  // of a tmpfs: options of mount(8)
}

func (p *flagParser) files() (err error) {
	c := p.c
	c.ReadOnly = p.on("read-only")
	shm, err := p.size("shm-size", "64m")
	if err != nil {
		return err
	}
	if shm != 0 {
		c.ShmSize = shm
	}
	if err := p.devices(); err != nil {
		return err
	}
	for _, group := range []struct {
		flag  string
		parse func(string) (Mount, error)
	}{{"volume", parseVolume}, {"mount", parseMount}, {"tmpfs", parseTmpfs}} {
		all := p.list(group.flag)
		for i, text := range all {
			if group.flag == "volume" && slices.Contains(all[:i], text) {
				continue // as with Docker, which refuses a mount twice only if it is spelled in two ways
			}
			m, err := group.parse(text)
			m.Flag = "--" + group.flag + " " + text
			if err == nil {
				err = p.addMount(m)
			}
			var complete *Error
			if err != nil && !errors.As(err, &complete) {
				err = &Error{Op: m.Flag, Err: err}
			}
			if err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(c.Mounts, func(a, b Mount) int {
		return strings.Count(a.Target, "/") - strings.Count(b.Target, "/")
	})
	return p.takeVolumes()
}

// takeVolumes moves the anonymous volumes from the mounts to the volumes. These are
// directories of the root, so a mount above one would hide it.
func (p *flagParser) takeVolumes() error {
	c := p.c
	above := []string{"/proc", "/sys", "/dev"}
	for _, m := range c.Mounts {
		if m.Type != volume {
			above = append(above, m.Target)
		}
	}
	for _, v := range c.Mounts {
		if v.Type != volume {
			continue
		}
		for _, target := range above {
			if strings.HasPrefix(v.Target+"/", target+"/") {
				return hint.With(&Error{Op: v.Flag, Err: fmt.Errorf("it would be hidden by the mount at %s", target)}, "use --tmpfs "+v.Target)
			}
		}
		c.Volumes = append(c.Volumes, v.Target)
	}
	c.Mounts = slices.DeleteFunc(c.Mounts, func(m Mount) bool { return m.Type == volume })
	return nil
}

// addMount adds a mount. As with Docker two mounts cannot be at one place,
// except that the last --tmpfs replaces an earlier tmpfs.
func (p *flagParser) addMount(m Mount) error {
	if m.Target == "/" {
		return errors.New("the destination cannot be /")
	}
	i := slices.IndexFunc(p.c.Mounts, func(other Mount) bool { return other.Target == m.Target })
	switch {
	case i < 0:
		p.c.Mounts = append(p.c.Mounts, m)
	case m.Type == Tmpfs && p.c.Mounts[i].Type == Tmpfs:
		p.c.Mounts[i] = m
	default:
		return fmt.Errorf("duplicate mount point %s", m.Target)
	}
	return nil
}

// bind returns a bind mount with Docker's defaults.
func bind(source, target string) (Mount, error) {
	target, err := containerPath(target)
	return Mount{
		Type: Bind, Source: filepath.Clean(source), Target: target,
		Recursion: RecursionEnabled, Propagation: "rprivate",
	}, err
}

func containerPath(p string) (string, error) {
	if !path.IsAbs(p) {
		return "", fmt.Errorf("the container's path %q is not absolute", p)
	}
	return path.Clean(p), nil
}

// parseVolume reads -v [HOST:]CONTAINER[:OPTIONS]; without HOST it is an anonymous
// volume.
func parseVolume(text string) (Mount, error) {
	parts := strings.Split(text, ":")
	if len(parts) == 1 && strings.HasPrefix(text, "/") {
		target, err := containerPath(text)
		return Mount{Type: volume, Target: target}, err
	}
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" {
		return Mount{}, refuse("volume", text, "write HOST:CONTAINER[:OPTIONS], for example ./data:/data", "not HOST:CONTAINER[:OPTIONS]")
	}
	source := parts[0]
	if strings.HasPrefix(source, ".") {
		abs, err := filepath.Abs(source)
		if err != nil { // getwd(2) fails
			return Mount{}, errors.New("the working directory was removed")
		}
		source = abs
	}
	if !filepath.IsAbs(source) {
		return Mount{}, refuse("volume", text, "minirun keeps no named volumes; write ./"+source+" for the directory of that name", "%q is not a path", source)
	}
	m, err := bind(source, parts[1])
	if err != nil {
		return m, err
	}
	m.Create = true
	if len(parts) == 3 {
		return m, volumeOptions(&m, parts[2])
	}
	return m, nil
}

const propagations = "[r]private, [r]slave"

// setPropagation refuses [r]shared: minirun mounts in a namespace that the host does
// not see, so the container's mounts cannot reach the host.
func setPropagation(m *Mount, text string) error {
	switch text {
	case "slave", "rslave", "private", "rprivate":
		m.Propagation = text
		return nil
	case "shared", "rshared":
		return fmt.Errorf("%s: mounts that are made in a container do not reach the host; use %s", text, propagations)
	}
	return fmt.Errorf("unknown option %q; use ro, rw, %s", text, propagations)
}

// volumeOptions reads the options of -v. There can be one of each kind.
func volumeOptions(m *Mount, text string) error {
	seen := map[string]string{}
	for _, option := range strings.Split(text, ",") {
		kind := ""
		switch option {
		case "ro", "rw":
			kind, m.ReadOnly = "access", option == "ro"
		case "z", "Z": // labels of SELinux, which Docker sets only with dockerd --selinux-enabled
			kind = "label"
		case "delegated", "cached", "consistent": // of Docker Desktop's file sharing
			kind = "consistency"
		case "nocopy":
			return errors.New("nocopy is for volumes; this is a bind mount")
		default:
			kind = "propagation"
			if err := setPropagation(m, option); err != nil {
				return err
			}
		}
		if before := seen[kind]; before != "" {
			return fmt.Errorf("%s and %s: only one of them can be", before, option)
		}
		seen[kind] = option
	}
	return nil
}

// parseMount reads --mount type=bind,source=S,target=T[,...],
// type=tmpfs,target=T[,...] and, for an anonymous volume, type=volume,target=T.
func parseMount(text string) (Mount, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return Mount{}, errors.New("not a list of KEY=VALUE")
	}
	values := map[string]string{"type": "volume"}
	for _, field := range fields {
		key, value, hasValue := strings.Cut(field, "=")
		key = mountKey(strings.ToLower(key))
		if !hasValue && key != "readonly" && key != "bind-nonrecursive" {
			return Mount{}, fmt.Errorf("%q is not KEY=VALUE", field)
		}
		if !hasValue {
			value = "true"
		}
		values[key] = value
	}
	if values["target"] == "" {
		return Mount{}, errors.New("target is required")
	}
	m := Mount{}
	switch MountType(strings.ToLower(values["type"])) {
	case Bind:
		m, err = bindFields(values)
	case Tmpfs:
		m, err = tmpfsFields(values)
	case volume:
		m, err = volumeFields(values)
	default:
		return m, fmt.Errorf("unknown type %q; use bind, tmpfs or volume", values["type"])
	}
	for _, field := range fields { // not values, which have no order
		key, _, _ := strings.Cut(field, "=")
		if key = mountKey(strings.ToLower(key)); err == nil && !mountKeys(m.Type, key) {
			err = fmt.Errorf("unexpected key %q for type=%s", key, m.Type)
		}
	}
	return m, err
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

// mountKeys reports whether a mount of that type can have the key.
func mountKeys(t MountType, key string) bool {
	switch key {
	case "type", "target", "readonly", "consistency":
		return true
	case "source", "bind-propagation", "bind-recursive", "bind-nonrecursive":
		return t == Bind
	case "tmpfs-size", "tmpfs-mode":
		return t == Tmpfs
	}
	return false
}

// volumeFields reads an anonymous volume.
func volumeFields(values map[string]string) (Mount, error) {
	target, err := containerPath(values["target"])
	m := Mount{Type: volume, Target: target}
	switch {
	case err != nil:
		return m, err
	case values["source"] != "":
		return m, hint.With(&Error{Op: "--mount source=" + values["source"], Err: errors.New("minirun has no named volumes")},
			"bind a directory: type=bind,source=HOST,target="+target)
	case values["readonly"] != "":
		return m, errors.New("a volume that is empty and ends with the container cannot be read-only")
	}
	return m, nil
}

func bindFields(values map[string]string) (Mount, error) {
	source := values["source"]
	if source == "." || strings.HasPrefix(source, "./") || source == ".." || strings.HasPrefix(source, "../") {
		abs, err := filepath.Abs(source)
		if err != nil { // getwd(2) fails
			return Mount{}, errors.New("the working directory was removed")
		}
		source = abs
	}
	if !filepath.IsAbs(source) {
		return Mount{}, fmt.Errorf("the source %q is not an absolute path", source)
	}
	m, err := bind(source, values["target"])
	if err != nil {
		return m, err
	}
	if value, given := values["bind-propagation"]; given {
		if err := setPropagation(&m, value); err != nil {
			return m, fmt.Errorf("bind-propagation: %w", err)
		}
	}
	if m.ReadOnly, err = switchField(values, "readonly"); err != nil {
		return m, err
	}
	return m, recursionFields(&m, values)
}

// recursionFields reads bind-recursive= and its older form, bind-nonrecursive=.
func recursionFields(m *Mount, values map[string]string) error {
	non, err := switchField(values, "bind-nonrecursive")
	if err != nil {
		return err
	}
	if non {
		m.Recursion = RecursionDisabled
	}
	value, given := values["bind-recursive"]
	if !given {
		return nil
	}
	if !slices.Contains(Recursions(), value) {
		return fmt.Errorf("unknown bind-recursive %q; use %s", value, strings.Join(Recursions(), ", "))
	}
	m.Recursion = Recursion(value)
	switch {
	case (m.Recursion == RecursionWritable || m.Recursion == RecursionReadOnly) && !m.ReadOnly:
		return fmt.Errorf("bind-recursive=%s is for a mount with readonly", value)
	case m.Recursion == RecursionReadOnly && values["bind-propagation"] != "rprivate":
		return fmt.Errorf("bind-recursive=%s needs bind-propagation=rprivate too", value)
	}
	return nil
}

func switchField(values map[string]string, key string) (bool, error) {
	value, given := values[key]
	if !given {
		return false, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("%s %q is neither true nor false", key, value)
	}
	return on, nil
}

func tmpfsFields(values map[string]string) (Mount, error) {
	m, err := parseTmpfs(values["target"])
	if err != nil {
		return m, err
	}
	if value, given := values["tmpfs-size"]; given {
		size, err := bytes(value)
		if err != nil {
			return m, fmt.Errorf("tmpfs-size %q is not a size, such as 64m", value)
		}
		m.Options = append(m.Options, fmt.Sprintf("size=%d", size))
	}
	if value, given := values["tmpfs-mode"]; given {
		if _, err := strconv.ParseUint(value, 8, 12); err != nil {
			return m, fmt.Errorf("tmpfs-mode %q is not an octal mode, such as 1777", value)
		}
		m.Options = append(m.Options, "mode="+value)
	}
	if m.ReadOnly, err = switchField(values, "readonly"); m.ReadOnly {
		m.Options = append(m.Options, "ro")
	}
	return m, err
}

// parseTmpfs reads --tmpfs CONTAINER[:OPTIONS]; without options it is Docker's
// noexec,nosuid,nodev.
func parseTmpfs(text string) (Mount, error) {
	target, options, _ := strings.Cut(text, ":")
	target, err := containerPath(target)
	m := Mount{Type: Tmpfs, Target: target, Options: []string{"noexec", "nosuid", "nodev"}}
	if err != nil || options == "" {
		return m, err
	}
	for _, option := range strings.Split(options, ",") {
		if !isTmpfsOption(option) {
			return m, fmt.Errorf("unknown option %q; see tmpfs(5)", option)
		}
		if name, value, found := strings.Cut(option, "="); found && !isTmpfsValue(name, value) {
			return m, fmt.Errorf("invalid value in %q; see tmpfs(5)", option)
		}
		opposite := strings.TrimPrefix(option, "no")
		if opposite == option {
			opposite = "no" + option
		}
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == opposite || o == option })
		m.Options = append(m.Options, option)
	}
	return m, nil
}

// isTmpfsOption reports whether Docker takes the option of --tmpfs
// (github.com/moby/sys/mount, MergeTmpfsOptions).
func isTmpfsOption(option string) bool {
	switch option {
	case "defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync",
		"mand", "nomand", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime":
		return true
	}
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol":
		return value != ""
	}
	return false
}

// isTmpfsValue reports whether the kernel takes the value of an option
// (mm/shmem.c, shmem_parse_one).
func isTmpfsValue(name, value string) bool {
	var err error
	switch name {
	case "size", "nr_inodes", "nr_blocks":
		number := value
		if last := value[len(value)-1]; strings.ContainsRune("kKmMgGtTpPeE", rune(last)) || last == '%' && name == "size" {
			number = value[:len(value)-1]
		}
		_, err = strconv.ParseUint(number, 0, 64)
	case "mode":
		_, err = strconv.ParseUint(value, 8, 32)
	case "uid", "gid":
		_, err = strconv.ParseUint(value, 0, 32)
	}
	return err == nil
}
