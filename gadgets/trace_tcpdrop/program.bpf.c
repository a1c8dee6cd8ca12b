// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_tcpdrop: one event for each TCP packet that the kernel drops, with its
 * reason.
 *
 * Packets are dropped in whatever context the kernel is in, so the process is
 * that which the runtime remembers as the owner of the socket.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define GADGET_TYPE_TRACING
#include <gadget/buffer.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/kernel_stack_map.h>
#include <gadget/macros.h>
#include <gadget/mntns_filter.h>
#include <gadget/sockets-map.h>
#include <gadget/types.h>

#define AF_INET 2
#define AF_INET6 10
/* Where a TCP header has its flags. */
#define TCP_FLAGS_OFFSET 13

enum tcp_flags_set : u8 {
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	ACK = 0x10,
	URG = 0x20,
	ECE = 0x40,
	CWR = 0x80,
};

/* The kernel's numbers. */
enum tcp_state {
	tcp_established = 1,
	tcp_syn_sent,
	tcp_syn_recv,
	tcp_fin_wait1,
	tcp_fin_wait2,
	tcp_time_wait,
	tcp_close,
	tcp_close_wait,
	tcp_last_ack,
	tcp_listen,
	tcp_closing,
	tcp_new_syn_recv,
	tcp_max_states,
};

struct event {
	gadget_timestamp timestamp_raw;
	gadget_netns_id netns_id;
	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;

	gadget_mntns_id mount_ns_id;
	gadget_comm comm[TASK_COMM_LEN];
	/* user-space terminology */
	gadget_pid pid;
	gadget_tid tid;
	gadget_uid uid;
	gadget_gid gid;

	enum tcp_state state_raw;
	enum tcp_flags_set tcpflags_raw;
	enum skb_drop_reason reason_raw;
	gadget_kernel_stack kernel_stack_raw;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(tcpdrop, events, event);

/* Whether both ends of the connection are known. */
static __always_inline bool endpoints(struct sock *sk, struct event *event)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	event->src.port = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	event->dst.port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	event->src.proto_raw = event->dst.proto_raw = IPPROTO_TCP;
	if (event->src.port == 0 || event->dst.port == 0)
		return false;
	switch (family) {
	case AF_INET:
		event->src.version = event->dst.version = 4;
		event->src.addr_raw.v4 = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		event->dst.addr_raw.v4 = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		break;
	case AF_INET6:
		event->src.version = event->dst.version = 6;
		BPF_CORE_READ_INTO(&event->src.addr_raw.v6, sk,
				   __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&event->dst.addr_raw.v6, sk,
				   __sk_common.skc_v6_daddr.in6_u.u6_addr8);
		break;
	default:
		return false;
	}
	return event->src.addr_raw.v6_raw != 0 && event->dst.addr_raw.v6_raw != 0;
}

/*
 * The socket that a packet comes from, or, where the kernel tells (since 6.11),
 * the one that it was for. What is left of a connection, or not one yet, is no
 * whole socket.
 */
static __always_inline struct sock *
dropped_of(struct trace_event_raw_kfree_skb *ctx, struct sk_buff *skb)
{
	struct sock *sk = BPF_CORE_READ(skb, sk);
	__u8 state;

	if (!sk && bpf_core_field_exists(ctx->rx_sk))
		sk = (struct sock *)ctx->rx_sk;
	if (!sk)
		return NULL;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	return state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV ? NULL : sk;
}

SEC("tracepoint/skb/kfree_skb")
int ig_tcpdrop(struct trace_event_raw_kfree_skb *ctx)
{
	struct gadget_socket_value *owner;
	struct sk_buff *skb = (struct sk_buff *)ctx->skbaddr;
	struct event *event;
	struct sock *sk;
	__u32 reason, netns;
	void *header;

	/* A kernel that does not tell why is of no use here. */
	if (!bpf_core_enum_value_exists(enum skb_drop_reason,
					SKB_DROP_REASON_NOT_SPECIFIED))
		bpf_core_unreachable();

	reason = ctx->reason;
	if (reason <= bpf_core_enum_value(enum skb_drop_reason,
					  SKB_DROP_REASON_NOT_SPECIFIED))
		return 0;
	sk = dropped_of(ctx, skb);
	if (!sk || BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	owner = gadget_socket_lookup(sk, netns);
	if (owner && gadget_should_discard_mntns_id(owner->mntns))
		return 0;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	if (!endpoints(sk, event)) {
		gadget_discard_buf(event);
		return 0;
	}
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->netns_id = netns;
	if (owner) {
		event->mount_ns_id = owner->mntns;
		event->pid = owner->pid_tgid >> 32;
		event->tid = (__u32)owner->pid_tgid;
		event->uid = (__u32)owner->uid_gid;
		event->gid = owner->uid_gid >> 32;
		__builtin_memcpy(event->comm, owner->task, sizeof(event->comm));
	}
	event->state_raw = BPF_CORE_READ(sk, __sk_common.skc_state);
	event->reason_raw = reason;
	header = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, transport_header);
	bpf_probe_read_kernel(&event->tcpflags_raw, sizeof(event->tcpflags_raw),
			      header + TCP_FLAGS_OFFSET);
	event->kernel_stack_raw = gadget_get_kernel_stack(ctx);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
