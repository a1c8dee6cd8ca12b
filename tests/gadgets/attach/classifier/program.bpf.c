// SPDX-License-Identifier: GPL-2.0
/* Classifiers: what a container receives and sends. TC_ACT_UNSPEC leaves the decision to others. */
#include "../packet.h"

#define TC_ACT_UNSPEC -1

SEC("classifier/ingress/received")
int on_received(struct __sk_buff *skb)
{
	REPORT(skb, "ingress", skb->cb[0], skb->len);
	return TC_ACT_UNSPEC;
}

SEC("classifier/egress/sent")
int on_sent(struct __sk_buff *skb)
{
	REPORT(skb, "egress", skb->cb[0], skb->len);
	return TC_ACT_UNSPEC;
}

SEC("tc/ingress")
int on_tc(struct __sk_buff *skb)
{
	REPORT(skb, "tc", skb->cb[0], skb->len);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
