// Requests to the kernel by netlink(7), one at a time in a process.
#ifndef MINIRUN_NETLINK_H
#define MINIRUN_NETLINK_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A request that is built; what does not fit makes it fail when it is sent.
struct netlink {
	_Alignas(NLMSG_ALIGNTO) char bytes[512];
	size_t size;
	bool full;
};

// netlink_open returns a socket of this thread's network namespace, or -1. Only the kernel
// can send to it.
int netlink_open(int protocol);

// netlink_begin begins a request: its type and flags, and the struct it starts with.
void netlink_begin(struct netlink *m, uint16_t type, uint16_t flags, const void *body, size_t size);

// netlink_add adds an attribute. netlink_nest begins one that has others, up to
// netlink_end.
void netlink_add(struct netlink *m, uint16_t type, const void *data, size_t size);
size_t netlink_nest(struct netlink *m, uint16_t type);
void netlink_end(struct netlink *m, size_t nest);

// netlink_part adds what is no attribute.
void netlink_part(struct netlink *m, const void *data, size_t size);

// netlink_ask sends a request, and has take see each message of the answer; take may be
// NULL. It returns -1 and errno: the kernel's, EINTR if a list has changed while it was read,
// or EBADMSG for what is no complete answer.
int netlink_ask(int socket, struct netlink *m, void (*take)(const struct nlmsghdr *answer, void *to), void *to);

// netlink_find returns the value of an attribute of at least size bytes, or NULL; body is
// the size of the struct that the message starts with.
const void *netlink_find(const struct nlmsghdr *message, size_t body, uint16_t type, size_t size);

#endif
