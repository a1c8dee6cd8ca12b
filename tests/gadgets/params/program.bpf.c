// SPDX-License-Identifier: GPL-2.0
/* A parameter of every type. The event says which values the program sees. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>

enum strictness { IG_LENIENT = 0, IG_STRICT = 1, IG_HARSH = 7 };

const volatile __u8 small = 1;
const volatile __u16 medium = 2;
const volatile __u32 large = 3;
const volatile __u64 huge = 4;
const volatile __s8 below = -1;
const volatile __s64 far_below = -5;
const volatile bool on = true;
const volatile char word[8] = "word";
const volatile enum strictness mode = IG_STRICT;
const volatile struct gadget_l3endpoint_t address = {};
GADGET_PARAM(small);
GADGET_PARAM(medium);
GADGET_PARAM(large);
GADGET_PARAM(huge);
GADGET_PARAM(below);
GADGET_PARAM(far_below);
GADGET_PARAM(on);
GADGET_PARAM(word);
GADGET_PARAM(mode);
GADGET_PARAM(address);

struct event {
	__u8 small;
	__u16 medium;
	__u32 large;
	__u64 huge;
	__s8 below;
	__s64 far_below;
	bool on;
	char word[8];
	enum strictness mode_raw;
	struct gadget_l3endpoint_t address;
};

GADGET_TRACER_MAP(events, 1024 * 256);

GADGET_TRACER(params, events, event);

SEC("syscall")
int once(void *ctx)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));
	int i;

	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->small = small;
	event->medium = medium;
	event->large = large;
	event->huge = huge;
	event->below = below;
	event->far_below = far_below;
	event->on = on;
	for (i = 0; i < 8; i++)
		event->word[i] = word[i];
	event->mode_raw = mode;
	for (i = 0; i < 16; i++)
		event->address.addr_raw.v6[i] = address.addr_raw.v6[i];
	event->address.version = address.version;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
