// SPDX-License-Identifier: GPL-2.0
/* Takes packets apart in place of the kernel: it finds nothing in them. */
#include "../packet.h"

SEC("flow_dissector")
int on_packet(struct __sk_buff *skb)
{
	REPORT(skb, "flow_dissector", 0, skb->data_end - skb->data);
	return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
