// SPDX-License-Identifier: GPL-2.0-only
/* Owners of sockets in a tracing program. */
#define GADGET_TYPE_TRACING
#include "all.h"

struct event {
	struct gadget_process proc;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(sock, events, event);

SEC("tracepoint/tcp/tcp_retransmit_skb")
int on_retransmit(void *ctx)
{
	struct sock *sk = gadget_get_tcp_retransmit_skb_skaddr(ctx);
	struct gadget_socket_value *value;
	struct event *event;

	value = gadget_socket_lookup(
		sk, BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum));
	if (gadget_should_discard_data_by_skb(value))
		return 0;
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	gadget_process_populate_from_socket(value, &event->proc);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
