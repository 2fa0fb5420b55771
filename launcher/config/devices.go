package config

import (
	"encoding/csv"
	"fmt"
	"path"
	"strconv"
	"strings"

	"tags.cncf.io/container-device-interface/pkg/parser"
)

// Device is one --device: a node of the host, or a directory of nodes, its place in
// the container, and what the container may do with it.
type Device struct {
	Flag   string // as it was typed, for messages
	Host   string // an absolute path on the host
	Target string // an absolute path in the container, cleaned
	Access string // of r, w and m (mknod)
}

// DeviceRule is one --device-cgroup-rule.
type DeviceRule struct {
	Type         string // c, b, or a for both
	Major, Minor int64  // -1 is any
	Access       string // of r, w and m (mknod)
}

// CDIDevice is a device of the Container Device Interface.
type CDIDevice struct {
	Flag string // as it was typed, for messages
	Name string // VENDOR/CLASS=NAME
}

// devices reads --device, --device-cgroup-rule and --gpus.
func (p *flagParser) devices() error {
	c := p.c
	for _, text := range p.list("device") {
		if parser.IsQualifiedName(text) {
			c.CDIDevices = append(c.CDIDevices, CDIDevice{"--device " + text, text})
			continue
		}
		device, err := parseDevice(text)
		if err != nil {
			return err
		}
		c.Devices = append(c.Devices, device)
	}
	for _, text := range p.list("device-cgroup-rule") {
		rule, ok := parseDeviceRule(text)
		if !ok {
			return refuse("device-cgroup-rule", text, "write for example 'c 1:3 rwm', or 'b 8:* r'", "not TYPE MAJOR:MINOR ACCESS")
		}
		c.DeviceRules = append(c.DeviceRules, rule)
	}
	if text, given := p.text("gpus"); given {
		names, err := gpus(text)
		if err != nil {
			return refuse("gpus", text, "write all, a number, or device=NAME,...", "%w", err)
		}
		for _, name := range names {
			c.CDIDevices = append(c.CDIDevices, CDIDevice{"--gpus " + text, name})
		}
	}
	return nil
}

// parseDevice reads --device HOST[:CONTAINER[:rwm]].
func parseDevice(text string) (Device, error) {
	parts := strings.Split(text, ":")
	d := Device{Flag: "--device " + text, Host: parts[0], Target: parts[0], Access: "rwm"}
	switch {
	case len(parts) == 2 && isMode(parts[1]):
		d.Access = parts[1]
	case len(parts) == 2:
		d.Target = parts[1]
	case len(parts) == 3:
		d.Target, d.Access = parts[1], parts[2]
	}
	if len(parts) > 3 || !isMode(d.Access) || !path.IsAbs(d.Host) || !path.IsAbs(d.Target) {
		return d, refuse("device", text, "write HOST[:CONTAINER[:rwm]], for example /dev/fuse, or VENDOR/CLASS=NAME", "not a device")
	}
	d.Host, d.Target = path.Clean(d.Host), path.Clean(d.Target)
	return d, nil
}

// isMode reports whether text is what --device takes: some of r, w and m, each once.
func isMode(text string) bool {
	return isAccess(text) && strings.Count(text, "r") < 2 && strings.Count(text, "w") < 2 && strings.Count(text, "m") < 2
}

func isAccess(text string) bool {
	return text != "" && strings.Trim(text, "rwm") == ""
}

// parseDeviceRule reads TYPE MAJOR:MINOR ACCESS, such as c 1:3 rwm (cgroups(7),
// devices.allow).
func parseDeviceRule(text string) (DeviceRule, bool) {
	fields := strings.Split(text, " ")
	if len(fields) != 3 {
		return DeviceRule{}, false
	}
	major, minor, _ := strings.Cut(fields[1], ":")
	r := DeviceRule{Type: fields[0], Access: fields[2]}
	var ok, ok2 bool
	r.Major, ok = deviceNumber(major)
	r.Minor, ok2 = deviceNumber(minor)
	isType := r.Type == "a" || r.Type == "b" || r.Type == "c"
	return r, ok && ok2 && isType && isAccess(r.Access) && len(r.Access) <= 3
}

func deviceNumber(text string) (int64, bool) {
	if text == "*" {
		return -1, true
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return int64(n), err == nil
}

// gpus reads --gpus: all, a number, or device=NAME,... with quotes around a list,
// and driver=. It returns names of CDI, with which NVIDIA's and AMD's tools describe
// their devices.
func gpus(text string) ([]string, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, fmt.Errorf("not a list of KEY=VALUE")
	}
	kind, names := "nvidia.com/gpu", []string{"all"}
	for _, field := range fields {
		key, value, found := strings.Cut(field, "=")
		if !found {
			key, value = "count", field
		}
		switch {
		case key == "count":
			if names, err = gpuNumbers(value); err != nil {
				return nil, err
			}
		case key == "device":
			names = strings.Split(value, ",")
		case key == "driver" && (value == "nvidia" || value == "amd"):
			kind = value + ".com/gpu"
		case key == "capabilities" || key == "options": // for NVIDIA's hook, which CDI does not use
		default:
			return nil, fmt.Errorf("unknown %q", field)
		}
	}
	var devices []string
	for _, name := range names {
		name = kind + "=" + name
		if !parser.IsQualifiedName(name) {
			return nil, fmt.Errorf("%q is not a device", name)
		}
		devices = append(devices, name)
	}
	return devices, nil
}

// gpuNumbers returns the names of that many devices, which are their numbers.
func gpuNumbers(count string) ([]string, error) {
	if count == "all" || count == "-1" {
		return []string{"all"}, nil
	}
	n, err := strconv.ParseUint(count, 10, 8)
	if err != nil {
		return nil, fmt.Errorf("%q is neither all nor a number", count)
	}
	var names []string
	for i := range n {
		names = append(names, strconv.FormatUint(i, 10))
	}
	return names, nil
}
