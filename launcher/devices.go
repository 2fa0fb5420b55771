package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/spec"
)

// devices returns the nodes of --device, or for a privileged container all of the
// host's /dev, as with Docker.
func devices(c *config.Config) ([]spec.Device, error) {
	if c.Privileged {
		return deviceNodes(config.Device{Host: "/dev", Target: "/dev", Access: "rwm"})
	}
	var all []spec.Device
	for _, d := range c.Devices {
		nodes, err := deviceNodes(d)
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		if err != nil {
			return nil, hint.With(&Error{Op: d.Flag, Err: err}, "write HOST[:CONTAINER[:rwm]], for example /dev/fuse")
		}
		all = append(all, nodes...)
	}
	return all, nil
}

// deviceNodes returns a device node, or all nodes below a directory except those of
// file systems that a container has of its own.
func deviceNodes(d config.Device) ([]spec.Device, error) {
	info, err := os.Stat(d.Host)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		node, err := deviceNode(d)
		return []spec.Device{node}, err
	}
	host, err := filepath.EvalSymlinks(d.Host)
	if err != nil {
		return nil, err
	}
	var all []spec.Device
	err = filepath.WalkDir(host, func(p string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil // a node that was removed meanwhile, or a directory that cannot be read
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
		target := filepath.Join(d.Target, p[len(host):])
		if node, err := deviceNode(config.Device{Host: p, Target: target, Access: d.Access}); err == nil {
			all = append(all, node)
		}
		return nil
	})
	if err == nil && len(all) == 0 {
		err = errors.New("no device node is in the directory")
	}
	return all, err
}

func deviceNode(d config.Device) (spec.Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(d.Host, &st); err != nil {
		return spec.Device{}, err
	}
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return spec.Device{}, errors.New("not a device node")
	}
	mode := os.FileMode(st.Mode & 0o7777)
	return spec.Device{Host: d.Host, Access: d.Access, LinuxDevice: specs.LinuxDevice{
		Path: d.Target, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
	}}, nil
}

// checkCDI refuses devices that no description of the Container Device Interface
// names (/etc/cdi, /var/run/cdi).
func checkCDI(devices []config.CDIDevice) error {
	if len(devices) == 0 {
		return nil
	}
	cache, err := readCDI()
	if err != nil {
		return err
	}
	for _, d := range devices {
		if cache.GetDevice(d.Name) != nil {
			continue
		}
		help := "the vendor's tool writes one, for example 'nvidia-ctk cdi generate'"
		if known := cache.ListDevices(); len(known) > 0 {
			help = fmt.Sprintf("the devices with a description are %q", known)
		}
		for file, errs := range cache.GetErrors() {
			help = fmt.Sprintf("%s: %v", file, errs[0])
		}
		return hint.With(&Error{Op: d.Flag, Err: fmt.Errorf("no description in /etc/cdi or /var/run/cdi names %s", d.Name)}, help)
	}
	return nil
}

// injectCDI adds to a spec the nodes, mounts, variables and hooks that the descriptions
// of devices ask for.
func injectCDI(s *specs.Spec, devices []config.CDIDevice) error {
	if len(devices) == 0 {
		return nil
	}
	cache, err := readCDI()
	if err != nil {
		return err
	}
	for _, d := range devices {
		if _, err := cache.InjectDevices(s, d.Name); err != nil {
			return &Error{Op: d.Flag, Err: err}
		}
	}
	return nil
}

func readCDI() (*cdi.Cache, error) {
	cache, err := cdi.NewCache(cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, &Error{Op: "read descriptions of devices", Err: err}
	}
	return cache, nil
}
