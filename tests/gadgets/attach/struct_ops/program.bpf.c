// SPDX-License-Identifier: GPL-2.0
/* A struct of operations: an algorithm of congestion control, which sockets can choose by its name. */
#include "../packet.h"

SEC("struct_ops/ig_init")
void BPF_PROG(ig_init, struct sock *sk)
{
	REPORT(ctx, "struct_ops", 0, sk->__sk_common.skc_family);
}

SEC("struct_ops/ig_ssthresh")
__u32 BPF_PROG(ig_ssthresh, struct sock *sk)
{
	return 10;
}

SEC("struct_ops/ig_undo_cwnd")
__u32 BPF_PROG(ig_undo_cwnd, struct sock *sk)
{
	return 10;
}

SEC("struct_ops/ig_cong_avoid")
void BPF_PROG(ig_cong_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
}

SEC(".struct_ops")
struct tcp_congestion_ops ig_test = {
	.init = (void *)ig_init,
	.ssthresh = (void *)ig_ssthresh,
	.undo_cwnd = (void *)ig_undo_cwnd,
	.cong_avoid = (void *)ig_cong_avoid,
	.name = "ig_test",
};

char LICENSE[] SEC("license") = "GPL";
