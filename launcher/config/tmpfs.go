package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

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
