// SPDX-License-Identifier: GPL-2.0-only
/* The networking side, with either source of kernel types (UAPI or vmlinux). */
#define GADGET_TYPE_NETWORKING
#ifdef UAPI
#include <linux/bpf.h>
#include <linux/types.h>
#else
#include <vmlinux.h>
#endif
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/packetfilter.h>
#include <gadget/sockets-map.h>
#include <gadget/types.h>

struct event {
	struct gadget_process proc;
	struct gadget_l4endpoint_t src;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(net, events, event);
GADGET_PF();
GADGET_PF(other);

static __always_inline int packet(struct __sk_buff *skb,
				  struct gadget_socket_value *value)
{
	struct event *event;

	if (gadget_should_discard_data_by_skb(value))
		return 0;
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	gadget_process_populate_from_socket(value, &event->proc);
	gadget_submit_buf(skb, &events, event, sizeof(*event));
	return 0;
}

SEC("socket")
int on_socket(struct __sk_buff *skb)
{
	return packet(skb, gadget_socket_lookup(skb));
}

SEC("tc")
int on_tc(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;

	if (!gadget_pf_matches(skb, data, data_end) ||
	    !gadget_pf_matches(other, skb, data, data_end))
		return -1;
	return packet(skb, gadget_socket_lookup_with_direction(skb, 1));
}

char LICENSE[] SEC("license") = "GPL";
