// SPDX-License-Identifier: GPL-2.0-only
/*
 * snapshot_socket: one element for each TCP and UDP socket.
 *
 * The kernel shows the sockets of one network namespace at a time; the runtime
 * reads these programs once in each that is of interest.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <gadget/macros.h>
#include <gadget/types.h>

#define AF_INET 2
#define AF_INET6 10

struct socket_entry {
	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;
	__u32 state;
	__u32 ino;
	gadget_netns_id netns_id;
};

GADGET_ITER(sockets, socket_entry, ig_snap_tcp, ig_snap_udp);

/*
 * Addresses and ports are where all kinds of sockets have them, also those of
 * connections that are being set up or have ended.
 */
static __always_inline bool fill(struct socket_entry *entry,
				 const struct sock_common *common, __u16 proto)
{
	/* Written whole, with every byte between members. */
	__builtin_memset(entry, 0, sizeof(*entry));

	switch (common->skc_family) {
	case AF_INET:
		entry->src.version = entry->dst.version = 4;
		entry->src.addr_raw.v4 = common->skc_rcv_saddr;
		entry->dst.addr_raw.v4 = common->skc_daddr;
		break;
	case AF_INET6:
		entry->src.version = entry->dst.version = 6;
		bpf_core_read(entry->src.addr_raw.v6,
			      sizeof(entry->src.addr_raw.v6),
			      &common->skc_v6_rcv_saddr);
		bpf_core_read(entry->dst.addr_raw.v6,
			      sizeof(entry->dst.addr_raw.v6),
			      &common->skc_v6_daddr);
		break;
	default:
		return false;
	}
	entry->src.proto_raw = entry->dst.proto_raw = proto;
	/* Only the port of the other side is in network order. */
	entry->src.port = common->skc_num;
	entry->dst.port = bpf_ntohs(common->skc_dport);
	entry->state = common->skc_state;
	entry->netns_id = common->skc_net.net->ns.inum;
	return true;
}

/* Sockets that no process has open any more have no inode. */
static __always_inline __u32 inode_number(struct socket *socket)
{
	struct socket_alloc *alloc;

	if (!socket)
		return 0;
	alloc = container_of(socket, struct socket_alloc, socket);
	return BPF_CORE_READ(alloc, vfs_inode.i_ino);
}

SEC("iter/tcp")
int ig_snap_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_timewait_sock *timewait;
	struct tcp_sock *tcp;
	struct socket_entry entry;

	/* The last call, after all sockets. */
	if (!common)
		return 0;
	if (!fill(&entry, common, IPPROTO_TCP))
		return 0;

	switch (entry.state) {
	case TCP_NEW_SYN_RECV:
		/* The kernel's own name for a request; it tells others this. */
		entry.state = TCP_SYN_RECV;
		break;
	case TCP_TIME_WAIT:
		timewait = bpf_skc_to_tcp_timewait_sock(common);
		if (timewait)
			entry.state = timewait->tw_sk.tw_substate;
		break;
	default:
		tcp = bpf_skc_to_tcp_sock(common);
		if (tcp)
			entry.ino = inode_number(
				tcp->inet_conn.icsk_inet.sk.sk_socket);
	}

	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}

SEC("iter/udp")
int ig_snap_udp(struct bpf_iter__udp *ctx)
{
	struct udp_sock *udp = ctx->udp_sk;
	struct socket_entry entry;

	if (!udp)
		return 0;
	if (!fill(&entry, &udp->inet.sk.__sk_common, IPPROTO_UDP))
		return 0;

	entry.ino = inode_number(udp->inet.sk.sk_socket);

	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
