// SPDX-License-Identifier: GPL-2.0-only
/*
 * profile_blockio: how long block devices took for their requests, as a
 * histogram.
 *
 * The time is counted from when a request is handed to the device, for those
 * that are not queued first; else from when it is queued or issued, whichever
 * comes last.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/bits.bpf.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/macros.h>
#include <gadget/maps.bpf.h>
#include <gadget/types.h>

#define MAX_SLOTS 27
#define MAX_ENTRIES 10240

struct hist_key {
	__u32 cmd_flags;
	__u32 dev;
};

struct hist_value {
	gadget_histogram_slot__u32 latency[MAX_SLOTS];
};

/* When requests were issued, by their address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, __u64);
	__type(value, __u64);
} start SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, struct hist_key);
	__type(value, struct hist_value);
} hists SEC(".maps");
GADGET_MAPITER(blockio, hists);

static const struct hist_value empty;

static __always_inline int begin(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 request = gadget_queued_request(ctx);

	bpf_map_update_elem(&start, &request, &now, BPF_ANY);
	return 0;
}

SEC("raw_tp/block_rq_insert")
int ig_profio_ins(struct bpf_raw_tracepoint_args *ctx)
{
	return begin(ctx);
}

SEC("raw_tp/block_rq_issue")
int ig_profio_iss(struct bpf_raw_tracepoint_args *ctx)
{
	return begin(ctx);
}

SEC("raw_tp/block_rq_complete")
int ig_profio_done(struct bpf_raw_tracepoint_args *ctx)
{
	struct hist_key key = {};
	__u64 request = ctx->args[0];
	__u64 *begun = bpf_map_lookup_elem(&start, &request);
	struct hist_value *hist;
	__s64 delta;
	__u64 slot;

	if (!begun)
		return 0;
	delta = bpf_ktime_get_ns() - *begun;
	bpf_map_delete_elem(&start, &request);
	if (delta < 0)
		return 0;
	hist = bpf_map_lookup_or_try_init(&hists, &key, &empty);
	if (!hist)
		return 0;
	slot = get_slot_idx((__u64)delta / 1000);
	if (slot >= MAX_SLOTS)
		slot = MAX_SLOTS - 1;
	__sync_fetch_and_add(&hist->latency[slot], 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
