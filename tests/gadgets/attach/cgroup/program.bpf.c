// SPDX-License-Identifier: GPL-2.0
/* Programs of control groups: they see packets and connections, not processes. */
#include "../packet.h"

SEC("cgroup_skb/egress")
int on_packet(struct __sk_buff *skb)
{
	REPORT(skb, "cgroup_skb", 0, skb->len);
	return 1;
}

SEC("sockops")
int on_socket(struct bpf_sock_ops *ops)
{
	REPORT(ops, "sockops", 0, ops->op);
	return 1;
}

SEC("cgroup/connect4")
int on_connect(struct bpf_sock_addr *address)
{
	REPORT(address, "cgroup/connect4", 0, address->user_port);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
