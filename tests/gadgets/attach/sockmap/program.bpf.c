// SPDX-License-Identifier: GPL-2.0
/* Programs of a socket map: another one puts connections to one port into it. */
#include "../packet.h"

#define PORT 19473

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64);
} sockets SEC(".maps");

GADGET_SK_TARGET_MAP(on_message, sockets);
GADGET_SK_TARGET_MAP(on_data, sockets);

SEC("sockops")
int on_socket(struct bpf_sock_ops *ops)
{
	__u64 key = (__u64)ops->local_port << 32 | ops->remote_port;

	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB &&
	    ops->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	if (ops->local_port == PORT || bpf_ntohl(ops->remote_port) == PORT)
		bpf_sock_hash_update(ops, &sockets, &key, BPF_ANY);
	return 1;
}

SEC("sk_msg")
int on_message(struct sk_msg_md *message)
{
	REPORT(message, "sk_msg", 0, message->size);
	return SK_PASS;
}

SEC("sk_skb/stream_verdict")
int on_data(struct __sk_buff *skb)
{
	REPORT(skb, "sk_skb", 0, skb->len);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
