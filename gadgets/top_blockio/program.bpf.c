// SPDX-License-Identifier: GPL-2.0-only
/*
 * top_blockio: for each process, disk and direction, the requests that
 * block devices have completed, since the last report.
 *
 * A request is made on behalf of the process, then queued, issued to the device,
 * perhaps by somebody else, and completed in an interrupt. Who made it is seen
 * where it comes into being; kernels before 6.5 do not tell, so there it is who
 * queues it or, without a queue, issues it.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/common.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/maps.bpf.h>
#include <gadget/types.h>

#define REQ_OP_MASK 0xff

enum rw_type : __u8 {
	read = 0, /* REQ_OP_READ */
	write = 1, /* REQ_OP_WRITE */
};

struct info_t {
	struct gadget_process proc;
	enum rw_type rw_raw;
	int major;
	int minor;
};

struct val_t {
	__u64 bytes;
	__u64 us;
	__u32 io;
};

/* A request that was issued. */
struct issue {
	__u64 ts;
	__u64 bytes;
};

/* Who made a request. */
struct maker {
	struct gadget_process proc;
	__u32 discard; /* it does not pass the filters */
};

/* By request. Least recently used: some requests are merged with others and never complete. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, struct issue);
} start SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, struct maker);
} whobyreq SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct info_t);
	__type(value, struct val_t);
} counts SEC(".maps");

GADGET_MAPITER(blockio, counts);

/* Whether anything is filtered by: then what is not known does not match. */
static __always_inline bool has_filter(void)
{
	return gadget_filter_by_mntns || targ_pid != 0 || targ_tid != 0 ||
	       targ_uid != GADGET_INVALID_ID || targ_gid != GADGET_INVALID_ID ||
	       targ_comm[0] != '\0';
}

static __always_inline int made(__u64 request, __u64 flags)
{
	gadget_mntns_id mntns_id = gadget_get_current_mntns_id();
	struct maker maker;

	__builtin_memset(&maker, 0, sizeof(maker));
	maker.discard = gadget_should_discard_data_current_in(mntns_id);
	if (!maker.discard)
		gadget_process_populate_in(&maker.proc, mntns_id);
	bpf_map_update_elem(&whobyreq, &request, &maker, flags);
	return 0;
}

SEC("raw_tracepoint/block_io_start")
int ig_topio_start(struct bpf_raw_tracepoint_args *ctx)
{
	return made(ctx->args[0], BPF_ANY);
}

SEC("raw_tracepoint/block_rq_insert")
int ig_topio_insert(struct bpf_raw_tracepoint_args *ctx)
{
	return made(gadget_queued_request(ctx), BPF_NOEXIST);
}

SEC("raw_tracepoint/block_rq_issue")
int ig_topio_req(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 key = gadget_queued_request(ctx);
	struct request *request = (void *)key;
	struct issue issue;

	issue.ts = bpf_ktime_get_ns();
	issue.bytes = BPF_CORE_READ(request, __data_len);
	bpf_map_update_elem(&start, &key, &issue, BPF_ANY);
	return made(key, BPF_NOEXIST);
}

static __always_inline void completed(struct request *request, __u64 key,
				      const struct issue *issue)
{
	__u8 op = BPF_CORE_READ(request, cmd_flags) & REQ_OP_MASK;
	__u64 now = bpf_ktime_get_ns();
	struct val_t zero = {}, *val;
	struct gendisk *disk;
	struct maker *maker;
	struct info_t info;

	if (op != read && op != write)
		return;
	/* All bytes of a key count, those between its members too. */
	__builtin_memset(&info, 0, sizeof(info));
	maker = bpf_map_lookup_elem(&whobyreq, &key);
	if (maker ? maker->discard : has_filter())
		return;
	if (maker)
		info.proc = maker->proc;
	info.rw_raw = op;
	disk = get_disk(request);
	info.major = BPF_CORE_READ(disk, major);
	info.minor = BPF_CORE_READ(disk, first_minor);
	val = bpf_map_lookup_or_try_init(&counts, &info, &zero);
	if (!val)
		return;
	__sync_fetch_and_add(&val->bytes, issue->bytes);
	if (now > issue->ts)
		__sync_fetch_and_add(&val->us, (now - issue->ts) / 1000);
	__sync_fetch_and_add(&val->io, 1);
}

SEC("raw_tracepoint/block_rq_complete")
int ig_topio_done(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 key = ctx->args[0];
	struct request *request = (void *)key;
	struct issue *issue;

	/* A part of it: the rest is still to come. */
	if ((__u32)ctx->args[2] < BPF_CORE_READ(request, __data_len))
		return 0;
	issue = bpf_map_lookup_elem(&start, &key);
	if (issue)
		completed(request, key, issue);
	bpf_map_delete_elem(&start, &key);
	bpf_map_delete_elem(&whobyreq, &key);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
