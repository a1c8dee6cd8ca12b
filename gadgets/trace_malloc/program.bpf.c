// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_malloc: one event for each call of the C library that allocates or
 * frees memory.
 *
 * The size is known when a call begins, the address when it returns.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>
#include <gadget/user_stack_map.h>

#define MAX_ENTRIES 10240

enum memop {
	malloc,
	free,
	calloc,
	realloc,
	realloc_free,
	mmap,
	munmap,
	posix_memalign,
	aligned_alloc,
	valloc,
	memalign,
	pvalloc,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;
	struct gadget_user_stack ustack;

	enum memop operation_raw;
	__u64 addr;
	__u64 size;
};

/* Sizes of calls that have not returned, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} sizes SEC(".maps");

/* Where posix_memalign is going to write the address, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, __u32);
	__type(value, __u64);
} memptrs SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(malloc, events, event);

static __always_inline int submit(struct pt_regs *ctx, enum memop operation,
				  __u64 addr, __u64 size)
{
	struct event *event;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	/* The padding, too. */
	__builtin_memset(event, 0, sizeof(*event));
	gadget_process_populate(&event->proc);
	gadget_get_user_stack(ctx, &event->ustack);
	event->operation_raw = operation;
	event->addr = addr;
	event->size = size;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

static __always_inline int begin(__u64 size)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	if (gadget_should_discard_data_current())
		return 0;
	bpf_map_update_elem(&sizes, &tid, &size, BPF_ANY);
	return 0;
}

static __always_inline int end(struct pt_regs *ctx, enum memop operation,
			       __u64 addr)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 *found = bpf_map_lookup_elem(&sizes, &tid);
	__u64 size;

	if (!found)
		return 0;
	size = *found;
	bpf_map_delete_elem(&sizes, &tid);
	return submit(ctx, operation, addr, size);
}

static __always_inline int release(struct pt_regs *ctx, enum memop operation,
				   __u64 addr)
{
	if (gadget_should_discard_data_current())
		return 0;
	return submit(ctx, operation, addr, 0);
}

SEC("uprobe/libc:malloc")
int BPF_UPROBE(trace_uprobe_malloc, size_t size)
{
	return begin(size);
}

SEC("uretprobe/libc:malloc")
int trace_uretprobe_malloc(struct pt_regs *ctx)
{
	return end(ctx, malloc, PT_REGS_RC(ctx));
}

SEC("uprobe/libc:free")
int BPF_UPROBE(trace_uprobe_free, void *address)
{
	return release(ctx, free, (__u64)address);
}

SEC("uprobe/libc:calloc")
int BPF_UPROBE(trace_uprobe_calloc, size_t nmemb, size_t size)
{
	return begin(nmemb * size);
}

SEC("uretprobe/libc:calloc")
int trace_uretprobe_calloc(struct pt_regs *ctx)
{
	return end(ctx, calloc, PT_REGS_RC(ctx));
}

SEC("uprobe/libc:realloc")
int BPF_UPROBE(trace_uprobe_realloc, void *ptr, size_t size)
{
	release(ctx, realloc_free, (__u64)ptr);
	return begin(size);
}

SEC("uretprobe/libc:realloc")
int trace_uretprobe_realloc(struct pt_regs *ctx)
{
	return end(ctx, realloc, PT_REGS_RC(ctx));
}

SEC("uprobe/libc:mmap")
int BPF_UPROBE(trace_uprobe_mmap, void *address, size_t size)
{
	return begin(size);
}

SEC("uretprobe/libc:mmap")
int trace_uretprobe_mmap(struct pt_regs *ctx)
{
	return end(ctx, mmap, PT_REGS_RC(ctx));
}

SEC("uprobe/libc:munmap")
int BPF_UPROBE(trace_uprobe_munmap, void *address)
{
	return release(ctx, munmap, (__u64)address);
}

SEC("uprobe/libc:posix_memalign")
int BPF_UPROBE(trace_uprobe_posix_memalign, void **memptr, size_t alignment,
	       size_t size)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 where = (__u64)memptr;

	if (gadget_should_discard_data_current())
		return 0;
	bpf_map_update_elem(&memptrs, &tid, &where, BPF_ANY);
	return begin(size);
}

SEC("uretprobe/libc:posix_memalign")
int trace_uretprobe_posix_memalign(struct pt_regs *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 *where = bpf_map_lookup_elem(&memptrs, &tid);
	__u64 addr = 0;

	if (!where)
		return 0;
	/* Not written if the call has failed. */
	if (PT_REGS_RC(ctx) == 0)
		bpf_probe_read_user(&addr, sizeof(addr), (void *)*where);
	bpf_map_delete_elem(&memptrs, &tid);
	return end(ctx, posix_memalign, addr);
}

SEC("uprobe/libc:aligned_alloc")
int BPF_UPROBE(trace_uprobe_aligned_alloc, size_t alignment, size_t size)
{
	return begin(size);
}

SEC("uretprobe/libc:aligned_alloc")
int trace_uretprobe_aligned_alloc(struct pt_regs *ctx)
{
	return end(ctx, aligned_alloc, PT_REGS_RC(ctx));
}

SEC("uprobe/libc:valloc")
int BPF_UPROBE(trace_uprobe_valloc, size_t size)
{
	return begin(size);
}

SEC("uretprobe/libc:valloc")
int trace_uretprobe_valloc(struct pt_regs *ctx)
{
	return end(ctx, valloc, PT_REGS_RC(ctx));
}

SEC("uprobe/libc:memalign")
int BPF_UPROBE(trace_uprobe_memalign, size_t alignment, size_t size)
{
	return begin(size);
}

SEC("uretprobe/libc:memalign")
int trace_uretprobe_memalign(struct pt_regs *ctx)
{
	return end(ctx, memalign, PT_REGS_RC(ctx));
}

SEC("uprobe/libc:pvalloc")
int BPF_UPROBE(trace_uprobe_pvalloc, size_t size)
{
	return begin(size);
}

SEC("uretprobe/libc:pvalloc")
int trace_uretprobe_pvalloc(struct pt_regs *ctx)
{
	return end(ctx, pvalloc, PT_REGS_RC(ctx));
}

/* A call that never returned must not be another thread's. */
SEC("tracepoint/sched/sched_process_exit")
int trace_sched_process_exit(void *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&sizes, &tid);
	bpf_map_delete_elem(&memptrs, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
