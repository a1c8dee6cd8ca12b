/* SPDX-License-Identifier: GPL-2.0 */
/* What the gadgets beside this file that see packets and sockets, not processes, have in common. */
#ifndef PACKET_H
#define PACKET_H

#include <vmlinux.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>

struct event {
	gadget_timestamp timestamp_raw;
	/* where the runtime says that the packet is; 0 if it does not */
	gadget_netns_id netns;
	char program[24];
	__u32 value;
};

GADGET_TRACER_MAP(events, 1024 * 256);

GADGET_TRACER(attach, events, event);

static __always_inline void report(void *ctx, const char *program, __u32 size,
				   __u32 netns, __u32 value)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->netns = netns;
	__builtin_memset(event->program, 0, sizeof(event->program));
	__builtin_memcpy(event->program, program, size);
	event->value = value;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
}

#define REPORT(ctx, program, netns, value) \
	report(ctx, program, sizeof(program), netns, value)

#endif
