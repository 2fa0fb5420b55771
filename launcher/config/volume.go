package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

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
