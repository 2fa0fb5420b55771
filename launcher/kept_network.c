// The network of a launch that is carried out as it was kept: a namespace with one end of
// a veth, as launcher/network makes it (bridge.go, veth.go). The bridge and the firewall
// are there already, and as they were.
#define _GNU_SOURCE
#include "kept.h"
#include "netlink.h"

#include <arpa/inet.h>
#include <asm/socket.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

static const char bridge_name[] = "minirun0", device_name[] = "eth0";

// device returns a request about a device, for ioctl(2): netdevice(7).
static struct ifreq device(const char *name)
{
	struct ifreq r = {0};
	snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
	return r;
}

static int index_of(int socket, const char *name)
{
	struct ifreq r = device(name);
	return ioctl(socket, SIOCGIFINDEX, &r) < 0 ? -1 : r.ifr_ifindex;
}

static int flags_of(int socket, const char *name)
{
	struct ifreq r = device(name);
	return ioctl(socket, SIOCGIFFLAGS, &r) < 0 ? -1 : (unsigned short)r.ifr_flags;
}

static int bring_up(int socket, const char *name)
{
	struct ifreq r = device(name);
	if (ioctl(socket, SIOCGIFFLAGS, &r) < 0)
		return -1;
	r.ifr_flags |= IFF_UP;
	return ioctl(socket, SIOCSIFFLAGS, &r);
}

static void take_route(const struct nlmsghdr *h, void *to)
{
	const int *index = netlink_find(h, sizeof(struct rtmsg), RTA_OIF, sizeof *index);
	if (h->nlmsg_type == RTM_NEWROUTE && index)
		*(int *)to = *index;
}

// mtu_of_the_world is that of the device by which other networks are reached.
static uint32_t mtu_of_the_world(int socket)
{
	enum { ETHERNET = 1500 };
	struct netlink m;
	struct rtmsg body = {.rtm_family = AF_INET, .rtm_dst_len = 32};
	const uint8_t nobody[] = {203, 0, 113, 1}; // RFC 5737
	struct ifreq r = {0};
	netlink_begin(&m, RTM_GETROUTE, 0, &body, sizeof body);
	netlink_add(&m, RTA_DST, nobody, sizeof nobody);
	if (netlink_ask(socket, &m, take_route, &r.ifr_ifindex) < 0 || ioctl(socket, SIOCGIFNAME, &r) < 0)
		return ETHERNET;
	int flags = flags_of(socket, r.ifr_name);
	if (flags < 0 || flags & IFF_LOOPBACK || ioctl(socket, SIOCGIFMTU, &r) < 0)
		return ETHERNET;
	return r.ifr_mtu;
}

// take_address takes the first address of each kind; of IPv6 one that is private.
static void take_address(const struct nlmsghdr *h, void *to)
{
	struct kept_bridge *b = to;
	const struct ifaddrmsg *a = NLMSG_DATA(h);
	if (h->nlmsg_type != RTM_NEWADDR || h->nlmsg_len < NLMSG_SPACE(sizeof *a) || a->ifa_index != b->index)
		return;
	bool v4 = a->ifa_family == AF_INET;
	const uint8_t *address = netlink_find(h, sizeof *a, v4 ? IFA_LOCAL : IFA_ADDRESS, v4 ? sizeof b->v4 : sizeof b->v6);
	if (v4 && address && !b->v4_bits) {
		memcpy(b->v4, address, sizeof b->v4);
		b->v4_bits = a->ifa_prefixlen;
	} else if (!v4 && address && (address[0] & 0xfe) == 0xfc && !b->v6_bits) {
		memcpy(b->v6, address, sizeof b->v6);
		b->v6_bits = a->ifa_prefixlen;
	}
}

// take_addresses reads a list again that changed while it was read: containers come and go.
static int take_addresses(int socket, int family, struct kept_bridge *b)
{
	for (int i = 0; i < 100; i++) {
		struct netlink m;
		struct ifaddrmsg body = {.ifa_family = family, .ifa_index = b->index};
		netlink_begin(&m, RTM_GETADDR, NLM_F_DUMP, &body, sizeof body);
		if (netlink_ask(socket, &m, take_address, b) == 0)
			return 0;
		if (errno != EINTR)
			break;
		b->v4_bits = family == AF_INET ? 0 : b->v4_bits;
		b->v6_bits = 0;
	}
	return -1;
}

static void take_generation(const struct nlmsghdr *h, void *to)
{
	const uint32_t *number = netlink_find(h, sizeof(struct nfgenmsg), NFTA_GEN_ID, sizeof *number);
	if (number)
		*(uint32_t *)to = ntohl(*number);
}

// take_firewall takes a number that every change of nftables raises, and one that no other
// network namespace ever has.
static int take_firewall(struct kept_bridge *b)
{
	struct netlink m;
	struct nfgenmsg body = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	socklen_t size = sizeof b->network;
	int fd = netlink_open(NETLINK_NETFILTER);
	if (fd < 0)
		return -1;
	netlink_begin(&m, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, &body, sizeof body);
	int result = netlink_ask(fd, &m, take_generation, &b->generation);
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &b->network, &size) < 0) // Linux 5.14
		result = -1;
	close(fd);
	return b->generation ? result : -1;
}

bool kept_bridge_whole(const struct kept_bridge *b)
{
	return b->index == 0 || (b->v4_bits > 0 && b->v4_bits <= 30 && b->v6_bits <= 128 && b->index <= INT32_MAX);
}

static int take(int socket, struct kept_bridge *b)
{
	*b = (struct kept_bridge){0};
	int index = index_of(socket, bridge_name), flags = flags_of(socket, bridge_name);
	if (index <= 0 || flags < 0 || !(flags & IFF_UP))
		return -1;
	b->index = index;
	b->mtu = mtu_of_the_world(socket);
	if (take_firewall(b) < 0 || take_addresses(socket, AF_INET, b) < 0 || take_addresses(socket, AF_INET6, b) < 0)
		return -1;
	return b->v4_bits && kept_bridge_whole(b) ? 0 : -1;
}

int kept_bridge_take(struct kept_bridge *b)
{
	int fd = netlink_open(NETLINK_ROUTE), result = fd < 0 ? -1 : take(fd, b);
	close(fd);
	return result;
}

// come_back ends a visit to a container's network namespace. If that fails the process ends
// here, and what it has made is swept as a killed launcher's.
static void come_back(int host)
{
	if (setns(host, CLONE_NEWNET) == 0)
		return;
	dprintf(STDERR_FILENO, "minirun: return to the network namespace: %s\n", strerror(errno));
	_exit(125); // Go would take the container's for the host's
}

static int open_host(void)
{
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

// make_namespace makes one, with the loopback device up.
static bool make_namespace(struct kept_network *n)
{
	int host = open_host();
	if (host < 0)
		return false;
	if (unshare(CLONE_NEWNET) == 0) {
		n->namespace = kept_hold(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
		n->inside = kept_hold(netlink_open(NETLINK_ROUTE));
		come_back(host);
	}
	close(host);
	return n->namespace >= 0 && n->inside >= 0 && bring_up(n->inside, "lo") == 0;
}

bool kept_network_begin(struct kept_network *n)
{
	struct kept_bridge now;
	*n = (struct kept_network){.namespace = -1, .host = -1, .inside = -1};
	if (kept->bridge.index == 0)
		return true;
	n->host = kept_hold(netlink_open(NETLINK_ROUTE));
	return n->host >= 0 && take(n->host, &now) == 0 && memcmp(&now, &kept->bridge, sizeof now) == 0 && make_namespace(n);
}

// choose_address chooses one of the bridge's network that is not the bridge's own.
static bool choose_address(struct kept_network *n)
{
	const struct kept_bridge *b = &kept->bridge;
	uint32_t own, random, last = (1u << (32 - b->v4_bits)) - 1; // which is for all
	memcpy(&own, b->v4, sizeof own);
	own = ntohl(own);
	do {
		if (getrandom(&random, sizeof random, 0) != sizeof random)
			return false;
		random = (own & ~last) + 1 + random % (last - 1);
	} while (random == own);
	random = htonl(random);
	memcpy(n->address, &random, sizeof n->address);
	memcpy(n->address6, b->v6, sizeof n->address6);
	memcpy(n->address6 + 12, n->address, sizeof n->address);
	return true;
}

static void peer_name(const struct kept_network *n, char name[IFNAMSIZ])
{
	const uint8_t *a = n->address;
	snprintf(name, IFNAMSIZ, "mr%02x%02x%02x%02x", a[0], a[1], a[2], a[3]);
}

// make_devices makes the veth. Its name on the bridge is the address: if that is taken the
// error is EEXIST.
static int make_devices(const struct kept_network *n)
{
	const struct kept_bridge *b = &kept->bridge;
	const uint8_t *a = n->address, mac[] = {2, 0x42, a[0], a[1], a[2], a[3]};
	struct ifinfomsg up = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP}, peer = {0};
	char name[IFNAMSIZ];
	uint32_t queue = 0;
	struct netlink m;
	peer_name(n, name);
	netlink_begin(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &up, sizeof up);
	netlink_add(&m, IFLA_IFNAME, name, strlen(name) + 1);
	netlink_add(&m, IFLA_MTU, &b->mtu, sizeof b->mtu);
	netlink_add(&m, IFLA_TXQLEN, &queue, sizeof queue);
	netlink_add(&m, IFLA_MASTER, &b->index, sizeof b->index);
	size_t info = netlink_nest(&m, IFLA_LINKINFO);
	netlink_add(&m, IFLA_INFO_KIND, "veth", sizeof "veth");
	size_t data = netlink_nest(&m, IFLA_INFO_DATA), inner = netlink_nest(&m, VETH_INFO_PEER);
	netlink_part(&m, &peer, sizeof peer);
	netlink_add(&m, IFLA_IFNAME, device_name, sizeof device_name);
	netlink_add(&m, IFLA_MTU, &b->mtu, sizeof b->mtu);
	netlink_add(&m, IFLA_TXQLEN, &queue, sizeof queue);
	netlink_add(&m, IFLA_ADDRESS, mac, sizeof mac);
	netlink_add(&m, IFLA_NET_NS_FD, &n->namespace, sizeof n->namespace);
	netlink_end(&m, inner);
	netlink_end(&m, data);
	netlink_end(&m, info);
	return netlink_ask(n->host, &m, NULL, NULL);
}

static int write_parameter(const char *path, const char *value)
{
	char text[8];
	int fd = open(path, O_RDWR | O_CLOEXEC), result = 0;
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text);
	if (size < 0)
		result = -1;
	else if (size != 2 || *text != *value)
		result = pwrite(fd, value, 1, 0) == 1 ? 0 : -1;
	close(fd);
	return result;
}

// ignore_routers has the device use its addresses at once, and no router but this machine.
static int ignore_routers(const struct kept_network *n)
{
	int host = open_host(), result = -1;
	if (host < 0)
		return -1;
	if (setns(n->namespace, CLONE_NEWNET) == 0) {
		if (write_parameter("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0") == 0)
			result = write_parameter("/proc/sys/net/ipv6/conf/eth0/accept_ra", "0");
		come_back(host);
	}
	close(host);
	return result;
}

static int add_address(const struct kept_network *n, int family, uint32_t index)
{
	const struct kept_bridge *b = &kept->bridge;
	bool v4 = family == AF_INET;
	const uint8_t *address = v4 ? n->address : n->address6;
	size_t size = v4 ? sizeof n->address : sizeof n->address6;
	struct ifaddrmsg body = {.ifa_family = family, .ifa_prefixlen = v4 ? b->v4_bits : b->v6_bits, .ifa_index = index};
	struct netlink m;
	if (!v4)
		body.ifa_flags = IFA_F_NODAD;
	netlink_begin(&m, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &body, sizeof body);
	netlink_add(&m, IFA_LOCAL, address, size);
	netlink_add(&m, IFA_ADDRESS, address, size);
	if (v4) {
		uint32_t all;
		memcpy(&all, address, sizeof all);
		all |= htonl((1u << (32 - b->v4_bits)) - 1);
		netlink_add(&m, IFA_BROADCAST, &all, sizeof all);
	}
	return netlink_ask(n->inside, &m, NULL, NULL);
}

// add_route has the bridge be the way to all others.
static int add_route(const struct kept_network *n, int family, uint32_t index)
{
	bool v4 = family == AF_INET;
	struct rtmsg body = {.rtm_family = family, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST};
	struct netlink m;
	netlink_begin(&m, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &body, sizeof body);
	netlink_add(&m, RTA_GATEWAY, v4 ? kept->bridge.v4 : kept->bridge.v6, v4 ? sizeof kept->bridge.v4 : sizeof kept->bridge.v6);
	netlink_add(&m, RTA_OIF, &index, sizeof index);
	return netlink_ask(n->inside, &m, NULL, NULL);
}

// see_carrier has the kernel see at once that the device has a carrier (veth.go).
static int see_carrier(const struct kept_network *n)
{
	struct ethtool_value value = {.cmd = ETHTOOL_GLINK};
	char name[IFNAMSIZ];
	peer_name(n, name);
	struct ifreq r = device(name);
	r.ifr_data = (void *)&value;
	return ioctl(n->host, SIOCETHTOOL, &r);
}

static int configure(const struct kept_network *n)
{
	bool v6 = kept->bridge.v6_bits > 0;
	if (v6 && ignore_routers(n) < 0)
		return -1;
	int index = index_of(n->inside, device_name);
	if (index < 0 || bring_up(n->inside, device_name) < 0 || add_address(n, AF_INET, index) < 0)
		return -1;
	if (v6 && add_address(n, AF_INET6, index) < 0)
		return -1;
	if (see_carrier(n) < 0 || add_route(n, AF_INET, index) < 0)
		return -1;
	return v6 ? add_route(n, AF_INET6, index) : 0;
}

static bool refer_to_addresses(const struct kept_network *n)
{
	static char v4[INET_ADDRSTRLEN], v6[INET6_ADDRSTRLEN], mac[18];
	const uint8_t *a = n->address;
	if (!inet_ntop(AF_INET, a, v4, sizeof v4) || !inet_ntop(AF_INET6, n->address6, v6, sizeof v6))
		return false;
	snprintf(mac, sizeof mac, "02:42:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3]);
	kept_refer(KEPT_ADDRESS, v4);
	kept_refer(KEPT_ADDRESS6, v6);
	kept_refer(KEPT_MAC, mac);
	return true;
}

bool kept_network_plug(struct kept_network *n)
{
	if (kept->bridge.index == 0)
		return true;
	int made = -1;
	errno = EEXIST;
	for (int i = 0; i < 256 && made < 0 && errno == EEXIST; i++)
		made = choose_address(n) ? make_devices(n) : -1;
	bool connected = made == 0 && configure(n) == 0 && refer_to_addresses(n);
	kept_release(n->namespace);
	kept_release(n->inside);
	kept_release(n->host);
	return connected;
}
