// SPDX-License-Identifier: GPL-2.0
/* Sees packets before the kernel has made anything of them. */
#include "../packet.h"

SEC("xdp")
int on_packet(struct xdp_md *ctx)
{
	REPORT(ctx, "xdp", 0, ctx->data_end - ctx->data);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
