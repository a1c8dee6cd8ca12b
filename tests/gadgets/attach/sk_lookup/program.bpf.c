// SPDX-License-Identifier: GPL-2.0
/* Could choose the socket for what comes in. It leaves that to the kernel. */
#include "../packet.h"

SEC("sk_lookup")
int on_lookup(struct bpf_sk_lookup *lookup)
{
	REPORT(lookup, "sk_lookup", 0, lookup->local_port);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
