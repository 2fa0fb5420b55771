package config

import (
	"path"
	"strings"
)

// Device is one --device: a node of the host's /dev, and where and how the
// container has it.
type Device struct {
	Flag   string // as it was typed, for messages
	Host   string // an absolute path of the host's
	Target string // an absolute path of the container's, cleaned
	Access string // of r, w and m (mknod)
}

// parseDevice reads --device HOST[:CONTAINER[:rwm]].
func parseDevice(text string) (Device, error) {
	parts := strings.Split(text, ":")
	d := Device{Flag: "--device " + text, Host: parts[0], Target: parts[0], Access: "rwm"}
	switch {
	case len(parts) == 2 && isAccess(parts[1]):
		d.Access = parts[1]
	case len(parts) == 2:
		d.Target = parts[1]
	case len(parts) == 3:
		d.Target, d.Access = parts[1], parts[2]
	}
	if len(parts) > 3 || !isAccess(d.Access) || !path.IsAbs(d.Host) || !path.IsAbs(d.Target) {
		return d, refuse("device", text, "write HOST[:CONTAINER[:rwm]], for example /dev/fuse", "not a device")
	}
	d.Host, d.Target = path.Clean(d.Host), path.Clean(d.Target)
	return d, nil
}

func isAccess(text string) bool {
	return text != "" && strings.Trim(text, "rwm") == ""
}
