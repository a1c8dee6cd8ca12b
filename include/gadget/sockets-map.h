/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who owns a socket: for programs that see a packet or a socket, but do not run
 * on behalf of the process.
 *
 * The runtime's socket enricher keeps the map; it takes the place of the one
 * declared here. One of these, defined before the inclusion, selects what
 * gadget_socket_lookup() looks at:
 *   GADGET_TYPE_NETWORKING  a packet (socket filter, tc)
 *   GADGET_TYPE_TRACING     a struct sock (kprobe, tracepoint, ...)
 */
#ifndef __GADGET_SOCKETS_MAP_H
#define __GADGET_SOCKETS_MAP_H

#if !defined(__VMLINUX_H__) && !defined(_LINUX_TYPES_H)
#error "include <vmlinux.h> or <linux/types.h> before <gadget/sockets-map.h>"
#endif

#include <gadget/kernel_types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <gadget/types.h>

/* From headers that cannot all be included beside vmlinux.h. */
#define GADGET_SE_PACKET_HOST 0
#define GADGET_SE_ETH_HLEN 14
#define GADGET_SE_ETH_P_IP 0x0800
#define GADGET_SE_ETH_P_IPV6 0x86DD
#define GADGET_SE_AF_INET 2
#define GADGET_SE_AF_INET6 10
#define GADGET_SE_IPV6_HLEN 40
#define GADGET_SE_IPV6_NEXTHDR_OFFSET 6
#define GADGET_SE_TCPHDR_SOURCE_OFFSET 0
#define GADGET_SE_TCPHDR_DEST_OFFSET 2
#define GADGET_SE_UDPHDR_SOURCE_OFFSET 0
#define GADGET_SE_UDPHDR_DEST_OFFSET 2
#define GADGET_SE_NEXTHDR_HOP 0
#define GADGET_SE_NEXTHDR_TCP 6
#define GADGET_SE_NEXTHDR_UDP 17
#define GADGET_SE_NEXTHDR_ROUTING 43
#define GADGET_SE_NEXTHDR_FRAGMENT 44
#define GADGET_SE_NEXTHDR_AUTH 51
#define GADGET_SE_NEXTHDR_NONE 59
#define GADGET_SE_NEXTHDR_DEST 60

#define GADGET_MAX_SOCKETS 16384

/* A local port. As a key all bytes count, so the padding has to be zero. */
struct gadget_socket_key {
	__u32 netns;
	__u16 family;
	__u8 proto;
	__u16 port; /* host byte order */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, GADGET_MAX_SOCKETS);
	__type(key, struct gadget_socket_key);
	__type(value, struct gadget_socket_value);
} gadget_sockets SEC(".maps");

#ifdef GADGET_TYPE_NETWORKING

/* How far from the start of an IPv6 header to look for TCP or UDP. */
#define __GADGET_SE_MAX_EXTENSIONS 6

/* The offset of the header behind the extensions, 0 if it is of no use. */
static __always_inline __u32
__gadget_skip_ipv6_extensions(const struct __sk_buff *skb, __u32 off,
			      __u8 *nexthdr)
{
	__u8 header[2]; /* the next one's type, this one's length */
	int i;

#pragma unroll
	for (i = 0; i < __GADGET_SE_MAX_EXTENSIONS; i++) {
		if (*nexthdr == GADGET_SE_NEXTHDR_TCP ||
		    *nexthdr == GADGET_SE_NEXTHDR_UDP)
			return off;
		if (bpf_skb_load_bytes(skb, off, header, sizeof(header)))
			return 0;
		switch (*nexthdr) {
		case GADGET_SE_NEXTHDR_HOP:
		case GADGET_SE_NEXTHDR_ROUTING:
		case GADGET_SE_NEXTHDR_DEST:
			off += 8 * ((__u32)header[1] + 1);
			break;
		case GADGET_SE_NEXTHDR_FRAGMENT:
			off += 8;
			break;
		case GADGET_SE_NEXTHDR_AUTH:
			off += 4 * ((__u32)header[1] + 2);
			break;
		default:
			return 0;
		}
		*nexthdr = header[0];
	}
	return off;
}

/*
 * gadget_socket_lookup_with_direction: owner of the local socket of a packet,
 * or NULL. Ethernet with IPv4 or IPv6, TCP and UDP. The network namespace comes
 * from skb->cb[0], where the runtime's dispatcher has put it.
 */
static __always_inline struct gadget_socket_value *
gadget_socket_lookup_with_direction(const struct __sk_buff *skb,
				    __u8 is_ingress)
{
	struct gadget_socket_value *value;
	struct gadget_socket_key key;
	__u32 off = GADGET_SE_ETH_HLEN;
	__u16 ethertype, port;
	__u8 first, proto;

	if (bpf_skb_load_bytes(skb, GADGET_SE_ETH_HLEN - sizeof(ethertype),
			       &ethertype, sizeof(ethertype)))
		return NULL;

	__builtin_memset(&key, 0, sizeof(key));
	key.netns = skb->cb[0];
	switch (bpf_ntohs(ethertype)) {
	case GADGET_SE_ETH_P_IP:
		key.family = GADGET_SE_AF_INET;
		if (bpf_skb_load_bytes(skb, off, &first, sizeof(first)) ||
		    bpf_skb_load_bytes(skb, off + 9, &proto, sizeof(proto)))
			return NULL;
		off += 4 * (first & 0xf);
		break;
	case GADGET_SE_ETH_P_IPV6:
		key.family = GADGET_SE_AF_INET6;
		if (bpf_skb_load_bytes(skb, off + GADGET_SE_IPV6_NEXTHDR_OFFSET,
				       &proto, sizeof(proto)))
			return NULL;
		off = __gadget_skip_ipv6_extensions(
			skb, off + GADGET_SE_IPV6_HLEN, &proto);
		if (off == 0)
			return NULL;
		break;
	default:
		return NULL;
	}

	/* The ports are at the same place in both headers. */
	if (proto != GADGET_SE_NEXTHDR_TCP && proto != GADGET_SE_NEXTHDR_UDP)
		return NULL;
	off += is_ingress ? GADGET_SE_TCPHDR_DEST_OFFSET :
			    GADGET_SE_TCPHDR_SOURCE_OFFSET;
	if (bpf_skb_load_bytes(skb, off, &port, sizeof(port)))
		return NULL;
	key.proto = proto;
	key.port = bpf_ntohs(port);

	value = bpf_map_lookup_elem(&gadget_sockets, &key);
	if (value || key.family != GADGET_SE_AF_INET)
		return value;

	/* A socket of family AF_INET6 takes IPv4 as well unless told not to. */
	key.family = GADGET_SE_AF_INET6;
	value = bpf_map_lookup_elem(&gadget_sockets, &key);
	return value && value->ipv6only == 0 ? value : NULL;
}

/*
 * gadget_socket_lookup: as above with the direction of the packet itself. Not
 * for tc programs: there an incoming packet does not have its type yet.
 */
static __always_inline struct gadget_socket_value *
gadget_socket_lookup(const struct __sk_buff *skb)
{
	return gadget_socket_lookup_with_direction(
		skb, skb->pkt_type == GADGET_SE_PACKET_HOST);
}

#endif /* GADGET_TYPE_NETWORKING */

#ifdef GADGET_TYPE_TRACING

/* gadget_socket_lookup: owner of a TCP or UDP socket, or NULL. */
static __always_inline struct gadget_socket_value *
gadget_socket_lookup(const struct sock *sk, __u32 netns)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	struct gadget_socket_key key;
	__u32 proto;

	/* Was a bit field before 5.6. */
	proto = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
	if (proto != GADGET_SE_NEXTHDR_TCP && proto != GADGET_SE_NEXTHDR_UDP)
		return NULL;

	__builtin_memset(&key, 0, sizeof(key));
	key.netns = netns;
	key.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	key.proto = proto;
	key.port = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	return bpf_map_lookup_elem(&gadget_sockets, &key);
}

#endif /* GADGET_TYPE_TRACING */

/* gadget_process_populate_from_socket: does nothing if the owner is unknown. */
static __always_inline void
gadget_process_populate_from_socket(const struct gadget_socket_value *value,
				    struct gadget_process *p)
{
	if (!value)
		return;
	__builtin_memcpy(p->comm, value->task, sizeof(p->comm));
	p->pid = value->pid_tgid >> 32;
	p->tid = (__u32)value->pid_tgid;
	p->mntns_id = value->mntns;
	p->creds.uid = (__u32)value->uid_gid;
	p->creds.gid = value->uid_gid >> 32;
	__builtin_memcpy(p->parent.comm, value->ptask, sizeof(p->parent.comm));
	p->parent.pid = value->ppid;
	p->parent.tid = bpf_core_field_exists(value->ptid) ? value->ptid : 0;
}

#endif /* __GADGET_SOCKETS_MAP_H */
