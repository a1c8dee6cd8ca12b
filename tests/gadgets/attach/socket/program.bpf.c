// SPDX-License-Identifier: GPL-2.0
/* Looks at all packets of a network namespace. The runtime has put the namespace's number into cb[0]. */
#include "../packet.h"

SEC("socket1")
int on_packet(struct __sk_buff *skb)
{
	REPORT(skb, "socket", skb->cb[0], skb->len);
	/* What is returned is how much of the packet the socket, which nobody reads, is to keep. */
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
