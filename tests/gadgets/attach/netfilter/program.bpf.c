// SPDX-License-Identifier: GPL-2.0
/* A step of netfilter. gadget.yaml says which. */
#include "../packet.h"

#define NF_ACCEPT 1

SEC("netfilter")
int on_input(struct bpf_nf_ctx *ctx)
{
	REPORT(ctx, "netfilter", 0, ctx->skb->len);
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
