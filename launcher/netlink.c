#define _GNU_SOURCE
#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int netlink_open(int protocol)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int one = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof one); // lists of one device alone: Linux 4.20
	if (connect(fd, (struct sockaddr *)&kernel, sizeof kernel) == 0) // nobody else can send to it
		return fd;
	close(fd);
	return -1;
}

void netlink_part(struct netlink *m, const void *data, size_t size)
{
	size_t aligned = NLMSG_ALIGN(size);
	if (aligned > sizeof m->bytes - m->size) {
		m->full = true;
		return;
	}
	if (size)
		memcpy(m->bytes + m->size, data, size);
	m->size += aligned;
}

void netlink_begin(struct netlink *m, uint16_t type, uint16_t flags, const void *body, size_t size)
{
	memset(m, 0, sizeof *m);
	struct nlmsghdr head = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags};
	netlink_part(m, &head, sizeof head);
	netlink_part(m, body, size);
}

void netlink_add(struct netlink *m, uint16_t type, const void *data, size_t size)
{
	struct nlattr head = {.nla_type = type, .nla_len = NLA_HDRLEN + size};
	netlink_part(m, &head, sizeof head);
	netlink_part(m, data, size);
}

size_t netlink_nest(struct netlink *m, uint16_t type)
{
	size_t at = m->size;
	netlink_add(m, type, NULL, 0);
	return at;
}

void netlink_end(struct netlink *m, size_t nest)
{
	if (!m->full)
		((struct nlattr *)(m->bytes + nest))->nla_len = m->size - nest;
}

// is_last reports whether a message is the last of an answer, and what that says: an errno,
// or 0.
static bool is_last(const struct nlmsghdr *h, int *error)
{
	if (h->nlmsg_type != NLMSG_ERROR && h->nlmsg_type != NLMSG_DONE)
		return !(h->nlmsg_flags & NLM_F_MULTI);
	int number; // struct nlmsgerr begins with it too
	*error = EBADMSG;
	if (h->nlmsg_len >= NLMSG_LENGTH(sizeof number)) {
		memcpy(&number, NLMSG_DATA(h), sizeof number);
		if (number <= 0 && number > -4096) // MAX_ERRNO of linux/err.h
			*error = -number;
	}
	return true;
}

// take_datagram reads the messages of one datagram that answer a request. It returns whether
// the answer is complete, or -1 and errno.
static int take_datagram(const char *bytes, ssize_t size, uint32_t request, bool *changed, void (*take)(const struct nlmsghdr *, void *), void *to)
{
	int left = size, error = 0;
	const struct nlmsghdr *h = (const struct nlmsghdr *)bytes;
	for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		if (h->nlmsg_seq != request) // the rest of an answer that was given up
			continue;
		*changed |= h->nlmsg_flags & NLM_F_DUMP_INTR;
		bool last = is_last(h, &error);
		if (h->nlmsg_type >= NLMSG_MIN_TYPE && take)
			take(h, to);
		if (last) {
			errno = error ? error : EINTR;
			return error || *changed ? -1 : 1;
		}
	}
	errno = EBADMSG;
	return size == 0 || left > 0 ? -1 : 0;
}

int netlink_ask(int socket, struct netlink *m, void (*take)(const struct nlmsghdr *, void *), void *to)
{
	static _Alignas(NLMSG_ALIGNTO) char buffer[1 << 15]; // as the kernel fills at most
	static uint32_t requests;
	struct nlmsghdr *head = (struct nlmsghdr *)m->bytes;
	bool changed = false;
	int result = 0;
	head->nlmsg_len = m->size;
	head->nlmsg_seq = ++requests;
	errno = EMSGSIZE;
	if (m->full || send(socket, m->bytes, m->size, 0) < 0)
		return -1;
	while (result == 0) {
		ssize_t n = recv(socket, buffer, sizeof buffer, MSG_TRUNC);
		if (n > (ssize_t)sizeof buffer)
			errno = EBADMSG;
		result = n < 0 || n > (ssize_t)sizeof buffer ? -1 : take_datagram(buffer, n, head->nlmsg_seq, &changed, take, to);
	}
	return result < 0 ? -1 : 0;
}

const void *netlink_find(const struct nlmsghdr *h, size_t body, uint16_t type, size_t size)
{
	size_t at = NLMSG_SPACE(body), end = h->nlmsg_len;
	while (at <= end && end - at >= NLA_HDRLEN) {
		const struct nlattr *a = (const struct nlattr *)((const char *)h + at);
		if (a->nla_len < NLA_HDRLEN || a->nla_len > end - at)
			break;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a->nla_len >= NLA_HDRLEN + size ? (const char *)a + NLA_HDRLEN : NULL;
		at += NLA_ALIGN(a->nla_len);
	}
	return NULL;
}
