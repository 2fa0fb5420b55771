package launcher

/*
#include <errno.h>
#include "netlink.h"

static void count(const struct nlmsghdr *answer, void *to)
{
	(void)answer;
	++*(int *)to;
}

static int ask(int socket, int *messages)
{
	struct netlink m;
	netlink_begin(&m, NLMSG_MIN_TYPE, NLM_F_ACK, NULL, 0);
	return netlink_ask(socket, &m, count, messages) < 0 ? errno : 0;
}
*/
import "C"

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// These are for tests, which cannot use cgo.

// netlinkOpen returns a socket for NETLINK_ROUTE, or -1.
func netlinkOpen() int { return int(C.netlink_open(unix.NETLINK_ROUTE)) }

// netlinkAsk asks on a socket for nothing, and returns how many messages the answer has.
func netlinkAsk(socket int) (messages int, errno unix.Errno) {
	var count C.int
	errno = unix.Errno(C.ask(C.int(socket), &count))
	return int(count), errno
}

// netlinkFind returns where the value of an attribute is in a message, or -1. The message is
// as long as it says.
func netlinkFind(message []byte, body int, kind uint16, size int) int {
	h := unsafe.Pointer(unsafe.SliceData(message))
	value := C.netlink_find((*C.struct_nlmsghdr)(h), C.size_t(body), C.uint16_t(kind), C.size_t(size))
	if value == nil {
		return -1
	}
	return int(uintptr(value) - uintptr(h))
}
