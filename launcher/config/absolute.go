package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Absolute returns the flags with the host's paths of -v and --mount made absolute, so that
// they mean the same in any working directory.
func (f Flags) Absolute() (Flags, error) {
	all := maps.Clone(f)
	for name, absolute := range map[string]func(string) (string, error){"volume": absoluteVolume, "mount": absoluteMount} {
		all[name] = slices.Clone(f[name])
		for i, value := range all[name] {
			var err error
			if all[name][i], err = absolute(value); err != nil {
				return nil, err
			}
		}
		if len(all[name]) == 0 {
			delete(all, name)
		}
	}
	return all, nil
}

func absoluteVolume(text string) (string, error) {
	source, rest, found := strings.Cut(text, ":")
	if !found || !strings.HasPrefix(source, ".") {
		return text, nil
	}
	source, err := filepath.Abs(source)
	return source + ":" + rest, err
}

func absoluteMount(text string) (string, error) {
	fields := strings.Split(text, ",")
	for i, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		if key != "source" && key != "src" || !strings.HasPrefix(value, ".") {
			continue
		}
		path, err := filepath.Abs(value)
		if err != nil {
			return "", err
		}
		fields[i] = key + "=" + path
	}
	return strings.Join(fields, ","), nil
}
