// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_signal: one event for each signal that is generated, or, with
 * --kill-only, for each kill(), tkill() and tgkill() that has returned.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc; /* the sender */

	__u32 tpid;
	gadget_signal sig_raw;
	gadget_errno error_raw;
};

/* A call that has not returned yet. */
struct call {
	gadget_mntns_id mntns_id;
	__u32 tpid;
	int sig;
};

const volatile bool failed_only = false;
GADGET_PARAM(failed_only);

const volatile bool kill_only = false;
GADGET_PARAM(kill_only);

const volatile int target_signal = 0;
GADGET_PARAM(target_signal);

/* By thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct call);
} values SEC(".maps");

/*
 * The mount namespaces of threads that end. They leave it before they tell
 * their parent, so it is too late to ask then. Read only by such threads, which
 * have written their entry just before: an old one is never seen.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, gadget_mntns_id);
} exiting SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(signal, events, event);

static __always_inline gadget_mntns_id current_mntns_id(void)
{
	gadget_mntns_id mntns_id = gadget_get_current_mntns_id(), *left;
	__u32 tid;

	if (mntns_id)
		return mntns_id;
	tid = (__u32)bpf_get_current_pid_tgid();
	left = bpf_map_lookup_elem(&exiting, &tid);
	return left ? *left : 0;
}

static __always_inline void submit(void *ctx, gadget_mntns_id mntns_id,
				   __u32 tpid, int sig, __u32 error)
{
	struct event *event;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return;
	/* With its padding, and for a task without a parent. */
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate_in(&event->proc, mntns_id);
	event->tpid = tpid;
	event->sig_raw = sig;
	event->error_raw = error;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
}

SEC("tracepoint/sched/sched_process_exit")
int ig_sig_exit(void *ctx)
{
	gadget_mntns_id mntns_id;
	__u32 tid;

	if (kill_only)
		return 0;
	mntns_id = gadget_get_current_mntns_id();
	if (gadget_should_discard_data_current_in(mntns_id))
		return 0;
	tid = (__u32)bpf_get_current_pid_tgid();
	bpf_map_update_elem(&exiting, &tid, &mntns_id, BPF_ANY);
	return 0;
}

SEC("tracepoint/signal/signal_generate")
int ig_sig_generate(struct trace_event_raw_signal_generate *ctx)
{
	gadget_mntns_id mntns_id;
	int error = ctx->errno;

	if (kill_only)
		return 0;
	if (failed_only && error == 0)
		return 0;
	if (target_signal && ctx->sig != target_signal)
		return 0;
	mntns_id = current_mntns_id();
	if (gadget_should_discard_data_current_in(mntns_id))
		return 0;
	/* Who fills the error in is not of one mind about its sign. */
	submit(ctx, mntns_id, ctx->pid, ctx->sig, error < 0 ? -error : error);
	return 0;
}

static __always_inline int enter(__u32 tpid, int sig)
{
	gadget_mntns_id mntns_id;
	struct call call;
	__u32 tid;

	if (!kill_only)
		return 0;
	if (target_signal && sig != target_signal)
		return 0;
	mntns_id = gadget_get_current_mntns_id();
	if (gadget_should_discard_data_current_in(mntns_id))
		return 0;
	call.mntns_id = mntns_id;
	call.tpid = tpid;
	call.sig = sig;
	tid = (__u32)bpf_get_current_pid_tgid();
	bpf_map_update_elem(&values, &tid, &call, BPF_ANY);
	return 0;
}

static __always_inline int leave(struct syscall_trace_exit *ctx)
{
	long ret = ctx->ret;
	struct call *call;
	__u32 tid;

	if (!kill_only)
		return 0;
	tid = (__u32)bpf_get_current_pid_tgid();
	call = bpf_map_lookup_elem(&values, &tid);
	if (!call)
		return 0;
	if (!failed_only || ret < 0)
		submit(ctx, call->mntns_id, call->tpid, call->sig,
		       ret < 0 ? -ret : 0);
	bpf_map_delete_elem(&values, &tid);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_kill")
int ig_sig_kill_e(struct syscall_trace_enter *ctx)
{
	return enter((__u32)ctx->args[0], (int)ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_exit_kill")
int ig_sig_kill_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx);
}

SEC("tracepoint/syscalls/sys_enter_tkill")
int ig_sig_tkill_e(struct syscall_trace_enter *ctx)
{
	return enter((__u32)ctx->args[0], (int)ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_exit_tkill")
int ig_sig_tkill_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx);
}

SEC("tracepoint/syscalls/sys_enter_tgkill")
int ig_sig_tgkill_e(struct syscall_trace_enter *ctx)
{
	return enter((__u32)ctx->args[1], (int)ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_exit_tgkill")
int ig_sig_tgkill_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx);
}

char LICENSE[] SEC("license") = "GPL";
