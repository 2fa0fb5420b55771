package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minirun/minirun/internal/hint"
)

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
	for _, field := range fields { // in the order of the text, which values does not have
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
