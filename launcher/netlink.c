#define _GNU_SOURCE
#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int netlink_open(int protocol)
{
	int one = 1, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	if (fd >= 0) // lists of one device alone: Linux 4.20
		setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof one);
	return fd;
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

// Of an answer's messages only the last is an error, which may be 0, or the end of a list.
static bool is_last(const struct nlmsghdr *h, int *error)
{
	if (h->nlmsg_type == NLMSG_ERROR)
		*error = h->nlmsg_len < NLMSG_LENGTH(sizeof(struct nlmsgerr)) ? EBADMSG : -((struct nlmsgerr *)NLMSG_DATA(h))->error;
	return h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE;
}

int netlink_ask(int socket, struct netlink *m, void (*take)(const struct nlmsghdr *, void *), void *to)
{
	static _Alignas(NLMSG_ALIGNTO) char buffer[1 << 15]; // as the kernel fills at most
	struct nlmsghdr *head = (struct nlmsghdr *)m->bytes;
	head->nlmsg_len = m->size;
	errno = EMSGSIZE;
	if (m->full || send(socket, m->bytes, m->size, 0) < 0)
		return -1;
	for (bool last = false, changed = false; !last;) {
		ssize_t n = recv(socket, buffer, sizeof buffer, MSG_TRUNC);
		if (n < 0 || n > (ssize_t)sizeof buffer)
			return -1;
		int left = n, error = 0;
		for (struct nlmsghdr *h = (struct nlmsghdr *)buffer; !last && NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			changed |= h->nlmsg_flags & NLM_F_DUMP_INTR;
			last = is_last(h, &error);
			if (!last && take)
				take(h, to);
			last = last || !(h->nlmsg_flags & NLM_F_MULTI);
		}
		errno = error ? error : EINTR;
		if (last && (error || changed))
			return -1;
	}
	return 0;
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
