package userns

/*
#include "make.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// Namespace is a user namespace that this process has made and is not in. It lives as long as
// something is in it or has it open.
type Namespace struct {
	IDs     Range    // the users and groups outside to which those inside, from 0 on, are mapped
	User    *os.File // the namespace
	Network *os.File // a network namespace that belongs to it, or nil
}

// Make makes a user namespace for IDs of this one's, and a network namespace in it if that is
// wanted. It needs CAP_SETUID and CAP_SETGID (user_namespaces(7)).
func Make(ids Range, network bool) (*Namespace, error) {
	wanted := C.int(0)
	if network {
		wanted = 1
	}
	made := C.make_user_namespace(C.uint32_t(ids.First), C.uint32_t(ids.Count), wanted)
	errno := syscall.Errno(made.error)
	switch made.failed {
	case C.MAKE_CLONE:
		if errno == unix.ENOSPC {
			return nil, hint.With(errors.New("make a user namespace: this machine allows no more (user.max_user_namespaces)"), "sudo sysctl user.max_user_namespaces=15000")
		}
		return nil, fmt.Errorf("make a user namespace: %w", os.NewSyscallError("clone", errno))
	case C.MAKE_MAP:
		return nil, fmt.Errorf("map the user ids from %d to %d: %w", ids.First, ids.First+ids.Count-1, errno)
	case C.MAKE_OPEN:
		return nil, fmt.Errorf("open a user namespace: %w", errno)
	}
	n := &Namespace{IDs: ids, User: os.NewFile(uintptr(made.user), "user namespace")}
	if network {
		n.Network = os.NewFile(uintptr(made.network), "network namespace")
	}
	return n, nil
}

// Close closes the namespaces.
func (n *Namespace) Close() {
	n.User.Close()
	if n.Network != nil {
		n.Network.Close()
	}
}
