// SPDX-License-Identifier: GPL-2.0-only
/*
 * top_tcp: for each thread and TCP connection, the bytes that were sent and
 * received since the last report.
 *
 * Since 6.3 the kernel tells at the end of each call how much was sent or
 * received. Before, kprobes see how much was to be sent, and how much was taken
 * out of the receive queue.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/maps.bpf.h>
#include <gadget/mntns.h>
#include <gadget/types.h>

#define AF_INET 2
#define AF_INET6 10
#define MSG_PEEK 2

struct ip_key_t {
	gadget_mntns_id mntns_id;
	gadget_pid pid;
	gadget_tid tid;
	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;
	gadget_comm comm[TASK_COMM_LEN];
};

struct traffic_t {
	gadget_bytes sent_raw;
	gadget_bytes received_raw;
};

/* 4 or 6; anything else is both. */
const volatile int target_family = -1;
GADGET_PARAM(target_family);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct ip_key_t);
	__type(value, struct traffic_t);
} ip_map SEC(".maps");

GADGET_MAPITER(tcp, ip_map);

static __always_inline bool fill(struct ip_key_t *key, struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	if (family == AF_INET ? target_family == 6 : target_family == 4)
		return false;

	/* All bytes of a key count, those between its members too. */
	__builtin_memset(key, 0, sizeof(*key));
	switch (family) {
	case AF_INET:
		key->src.version = key->dst.version = 4;
		BPF_CORE_READ_INTO(&key->src.addr_raw.v4, sk,
				   __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO(&key->dst.addr_raw.v4, sk,
				   __sk_common.skc_daddr);
		break;
	case AF_INET6:
		key->src.version = key->dst.version = 6;
		BPF_CORE_READ_INTO(&key->src.addr_raw.v6, sk,
				   __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&key->dst.addr_raw.v6, sk,
				   __sk_common.skc_v6_daddr);
		break;
	default:
		return false;
	}
	key->src.proto_raw = key->dst.proto_raw = IPPROTO_TCP;
	/* Only the port of the other side is in network order. */
	key->src.port = BPF_CORE_READ(sk, __sk_common.skc_num);
	key->dst.port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	key->mntns_id = gadget_get_current_mntns_id();
	key->pid = pid_tgid >> 32;
	key->tid = (__u32)pid_tgid;
	bpf_get_current_comm(key->comm, sizeof(key->comm));
	return true;
}

static __always_inline int count(struct sock *sk, long bytes, bool is_sent)
{
	struct traffic_t none = {}, *traffic;
	struct ip_key_t key;

	if (bytes <= 0 || gadget_should_discard_data_current() ||
	    !fill(&key, sk))
		return 0;
	traffic = bpf_map_lookup_or_try_init(&ip_map, &key, &none);
	if (!traffic)
		return 0;
	/* Also from interrupts that a thread is in the middle of. */
	__sync_fetch_and_add(is_sent ? &traffic->sent_raw :
				       &traffic->received_raw,
			     bytes);
	return 0;
}

static __always_inline bool is_tcp(struct sock *sk)
{
	/* A field of 16 bits; before 5.6 part of a larger one, but then there are no such tracepoints. */
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(ig_toptcp_sent, struct sock *sk, int ret, int flags)
{
	return is_tcp(sk) ? count(sk, ret, true) : 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(ig_toptcp_received, struct sock *sk, int ret, int flags)
{
	/* What is only looked at is received later. */
	return is_tcp(sk) && !(flags & MSG_PEEK) ? count(sk, ret, false) : 0;
}

SEC("kprobe/tcp_sendmsg")
int BPF_KPROBE(ig_toptcp_sdmsg, struct sock *sk, struct msghdr *msg, size_t size)
{
	return count(sk, size, true);
}

SEC("kprobe/tcp_cleanup_rbuf")
int BPF_KPROBE(ig_toptcp_clean, struct sock *sk, int copied)
{
	return count(sk, copied, false);
}

char LICENSE[] SEC("license") = "GPL";
