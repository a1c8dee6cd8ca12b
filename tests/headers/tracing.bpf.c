// SPDX-License-Identifier: GPL-2.0-only
/* Calls every function that a tracing program can, so that all of it loads. */
#define GADGET_TYPE_TRACING
#include "all.h"
#include <bpf/bpf_tracing.h>

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;
	gadget_kernel_stack kstack_raw;
	struct gadget_user_stack ustack;
	__u64 numbers[8];
	char path[GADGET_PATH_MAX];
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(all, events, event);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

static __always_inline struct event *begin(void)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (event)
		__builtin_memset(event, 0, sizeof(*event));
	return event;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int on_exit(struct syscall_trace_exit *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 key = gadget_get_current_mntns_id();
	struct event *event;
	__u64 zero = 0, *count;

	if (gadget_should_discard_data_current())
		return 0;
	event = begin();
	if (!event)
		return 0;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate(&event->proc);
	event->kstack_raw = gadget_get_kernel_stack(ctx);
	gadget_get_user_stack_from_tracepoint(ctx, &event->ustack);
	if (read_full_path_of_open_file_fd(ctx->ret, event->path,
					   sizeof(event->path)) < 0) {
		gadget_discard_buf(event);
		return 0;
	}
	event->numbers[0] = get_task_state(task);
	event->numbers[1] = gadget_get_ctime_nanosec_from_inode(
		BPF_CORE_READ(task, mm, exe_file, f_inode));
	event->numbers[2] = get_slot_idx(event->numbers[1]);
	event->numbers[3] = has_kfree() + has_kmem_cache_free() +
			    has_block_rq_completion() +
			    renamedata_has_old_mnt_userns_field();
	count = bpf_map_lookup_or_try_init(&counts, &key, &zero);
	if (count)
		__sync_fetch_and_add(count, 1);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("raw_tp/sys_enter")
int on_enter(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
	struct event *event = begin();

	if (!event)
		return 0;
	event->numbers[0] = gadget_get_syscall_nr(regs);
	event->numbers[1] = gadget_get_syscall_arg(regs, 1);
	event->numbers[2] = gadget_get_syscall_arg(regs, 4);
	event->numbers[3] = gadget_get_syscall_arg(regs, 6);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("kprobe/do_exit")
int on_kprobe(struct pt_regs *ctx)
{
	struct event *event = begin();

	if (!event)
		return 0;
	gadget_get_user_stack(ctx, &event->ustack);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("perf_event")
int on_sample(struct bpf_perf_event_data *ctx)
{
	struct event *event = begin();
	__u64 now = bpf_ktime_get_boot_ns();

	if (!event)
		return 0;
	gadget_get_user_stack(ctx, &event->ustack);
	event->numbers[0] = gpu_meta_fresh(now, 1000) != NULL;
	event->numbers[1] = gpu_pid_holder(1, 1) != NULL;
	event->numbers[2] = gpu_device_underutilized(0, 50);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("tracepoint/tcp/tcp_retransmit_skb")
int on_retransmit(void *ctx)
{
	struct sock *sk = gadget_get_tcp_retransmit_skb_skaddr(ctx);
	struct sk_buff *skb = gadget_get_tcp_retransmit_skb_skbaddr(ctx);
	struct event *event = begin();

	if (!event)
		return 0;
	event->numbers[0] = (__u64)BPF_CORE_READ(skb, len);
	event->numbers[1] = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("tracepoint/block/block_rq_issue")
int on_block(void *ctx)
{
	struct event *event = begin();

	if (!event)
		return 0;
	/* Of no use, but of the right types. */
	event->numbers[0] = (__u64)get_disk(ctx);
	event->numbers[1] = (__u64)get_gendisk(ctx);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
