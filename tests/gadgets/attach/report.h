/* SPDX-License-Identifier: GPL-2.0 */
/* What the gadgets beside this file have in common: each reports the process in which one of its programs ran. */
#ifndef REPORT_H
#define REPORT_H

#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;
	char program[24];
};

GADGET_TRACER_MAP(events, 1024 * 256);

GADGET_TRACER(attach, events, event);

static __always_inline int report(void *ctx, const char *program, __u32 size)
{
	struct event *event;

	if (gadget_should_discard_data_current())
		return 0;
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	__builtin_memset(event->program, 0, sizeof(event->program));
	__builtin_memcpy(event->program, program, size);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

#define REPORT(ctx, program) report(ctx, program, sizeof(program))

#endif
