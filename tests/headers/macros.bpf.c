// SPDX-License-Identifier: GPL-2.0-only
/* Every declaration, with and without the semicolon that it does not need. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>

struct count_key { __u32 k; };
struct count_value { __u64 v; };
struct entry { __u32 e; };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct count_key);
	__type(value, struct count_value);
} counts SEC(".maps");

const volatile int first = 1;
const volatile int second = 2;

GADGET_TRACER_MAP(events, 4096)
GADGET_TRACER_MAP(more, 4096);
GADGET_TRACER(one, events, entry)
GADGET_TRACER(two, more, entry);
GADGET_PARAM(first)
GADGET_PARAM(second);
GADGET_ITER(it1, entry, p1);
GADGET_ITER(it2, entry, p1, p2)
GADGET_ITER(it3, entry, p1, p2, p3);
GADGET_SNAPSHOTTER(snap, entry, p1);
GADGET_MAPITER(walk, counts);
GADGET_ITER_TARGET_MAP(p1, counts);
GADGET_SK_TARGET_MAP(p2, counts);

SEC("raw_tp/sys_enter")
int program(void *ctx)
{
	struct entry entry = { .e = first + second };

	gadget_output_buf(ctx, &events, &entry, sizeof(entry));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
