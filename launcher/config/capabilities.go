package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/spelling"
)

// DefaultCapabilities lists the capabilities that `docker run` gives a container
// (moby/oci/caps/defaults.go), sorted.
func DefaultCapabilities() []string { return defaultCapabilities[:] }

var defaultCapabilities = [...]string{
	"CAP_AUDIT_WRITE",
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_MKNOD",
	"CAP_NET_BIND_SERVICE",
	"CAP_NET_RAW",
	"CAP_SETFCAP",
	"CAP_SETGID",
	"CAP_SETPCAP",
	"CAP_SETUID",
	"CAP_SYS_CHROOT",
}

// BoundingSet returns the capabilities that `docker run` gives for the same
// --cap-add, --cap-drop and --privileged, as sorted CAP_ names. Names can be in
// either case and with or without CAP_; ALL means every capability.
//
//   - privileged: all of them, whatever add and drop say;
//   - add ALL: all but drop;
//   - drop ALL: add alone;
//   - else: the defaults without drop, and add. A capability in both is added.
//
// An unknown name is an [Error] with a suggestion.
func BoundingSet(add, drop []string, privileged bool) ([]string, error) {
	added, addAll, err := capabilityNames("--cap-add", add)
	if err != nil {
		return nil, err
	}
	dropped, dropAll, err := capabilityNames("--cap-drop", drop)
	if err != nil {
		return nil, err
	}
	var set []string
	switch {
	case privileged:
		set = slices.Clone(capname.All())
	case addAll:
		set = without(capname.All(), dropped)
	case dropAll:
		set = added
	default:
		set = append(without(defaultCapabilities[:], dropped), added...)
	}
	slices.Sort(set)
	return slices.Compact(set), nil
}

// capabilityNames returns the CAP_ names of what a user typed; all reports whether
// ALL is among it.
func capabilityNames(flag string, typed []string) (names []string, all bool, err error) {
	known := capname.All()
	for _, t := range typed {
		if strings.EqualFold(t, "ALL") {
			all = true
			continue
		}
		name := capname.Full(t)
		if !slices.Contains(known, name) {
			return nil, false, unknownCapability(flag, t, name, known)
		}
		names = append(names, name)
	}
	return names, all, nil
}

func unknownCapability(flag, typed, name string, known []string) error {
	help := "capabilities(7) lists them all"
	if name == "CAP_ALL" {
		help = "did you mean ALL?"
	} else if near := spelling.Nearest(name, known); near != "" {
		help = "did you mean " + near + "?"
	}
	return hint.With(&Error{Op: flag + " " + typed, Err: errors.New("unknown capability")}, help)
}

func without(set, drop []string) []string {
	return slices.DeleteFunc(slices.Clone(set), func(name string) bool {
		return slices.Contains(drop, name)
	})
}
