package config

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
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

const propagations = "[r]private, [r]slave"
