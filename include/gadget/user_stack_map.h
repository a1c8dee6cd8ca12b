/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User stacks: an event carries a struct gadget_user_stack, from which the
 * runtime makes addresses, build ids and symbols.
 *
 * The header declares the parameters itself; a gadget only calls the function
 * of its program type.
 */
#ifndef __GADGET_USER_STACK_MAP_H
#define __GADGET_USER_STACK_MAP_H

#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/core_fixes.bpf.h>
#include <gadget/fnv1a.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#define GADGET_USER_MAX_STACK_DEPTH 127
#define GADGET_USER_STACK_MAP_MAX_ENTRIES 10000

const volatile bool collect_ustack = false;
GADGET_PARAM(collect_ustack);

const volatile bool collect_build_id = false;
GADGET_PARAM(collect_build_id);

const volatile bool collect_otel_stack = false;
GADGET_PARAM(collect_otel_stack);

/* The runtime sizes the map ig_build_id by this. */
const volatile int ig_build_id_max_entries = 1024;
GADGET_PARAM(ig_build_id_max_entries);

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, GADGET_USER_MAX_STACK_DEPTH * sizeof(__u64));
	__uint(max_entries, GADGET_USER_STACK_MAP_MAX_ENTRIES);
} ig_ustack SEC(".maps");

/* By the id of the stack; one element for each of its frames. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, GADGET_USER_MAX_STACK_DEPTH *
				   sizeof(struct bpf_stack_build_id));
	__uint(max_entries, 0);
} ig_build_id SEC(".maps");

/*
 * What a map entry of that size is made of: it neither fits on the stack, nor
 * can it be left uninitialised.
 */
static const struct bpf_stack_build_id
	ig_empty_build_id[GADGET_USER_MAX_STACK_DEPTH] = {};

/*
 * Stacks of interpreted languages: a profiler of the runtime's fills the two
 * program arrays. It is called in passing and leaves the number under which
 * it is going to report the stack.
 */
struct generic_param {
	__u64 correlation_id;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct generic_param);
} otel_generic_params SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__array(values, int(void *));
} otel_tc_kprobe SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__array(values, int(void *));
} otel_tc_perf SEC(".maps");

/*
 * A tail call does not return to where it is made, but to the caller of the
 * subprogram that makes it: hence not inlined. An empty slot falls through.
 */
static __noinline int gadget_fetch_otel_stack_from_kprobe(void *ctx)
{
	bpf_tail_call(ctx, &otel_tc_kprobe, 0);
	return 0;
}

static __noinline int gadget_fetch_otel_stack_from_perf_event(void *ctx)
{
	bpf_tail_call(ctx, &otel_tc_perf, 0);
	return 0;
}

/* inode: the modification time has changed in the same way as i_ctime. */
struct inode___mtime_v611 {
	__s64 i_mtime_sec;
	__u32 i_mtime_nsec;
} __attribute__((preserve_access_index));

struct inode___mtime_v67 {
	struct timespec64 __i_mtime;
} __attribute__((preserve_access_index));

struct inode___mtime_v418 {
	struct timespec64 i_mtime;
} __attribute__((preserve_access_index));

/* Before 4.18 with the same name; both members are longs. */
struct timespec___mtime {
	long tv_sec;
	long tv_nsec;
} __attribute__((preserve_access_index));

struct inode___mtime_v40 {
	struct timespec___mtime i_mtime;
} __attribute__((preserve_access_index));

struct timespec64___mtime {
	__s64 tv_sec;
	long tv_nsec;
} __attribute__((preserve_access_index));

/* gadget_inode_get_mtime: modification time; both are 0 if it is not found. */
static __always_inline void gadget_inode_get_mtime(struct inode *inode,
						   __u64 *mtime_sec,
						   __u32 *mtime_nsec)
{
	struct inode___mtime_v611 *v611 = (void *)inode;
	struct inode___mtime_v67 *v67 = (void *)inode;
	struct inode___mtime_v418 *v418 = (void *)inode;
	struct inode___mtime_v40 *v40 = (void *)inode;

	*mtime_sec = 0;
	*mtime_nsec = 0;
	if (bpf_core_field_exists(v611->i_mtime_sec)) {
		*mtime_sec = BPF_CORE_READ(v611, i_mtime_sec);
		*mtime_nsec = BPF_CORE_READ(v611, i_mtime_nsec);
	} else if (bpf_core_field_exists(v67->__i_mtime)) {
		*mtime_sec = BPF_CORE_READ(v67, __i_mtime.tv_sec);
		*mtime_nsec = BPF_CORE_READ(v67, __i_mtime.tv_nsec);
	} else if (bpf_core_field_exists(v418->i_mtime) &&
		   bpf_core_type_exists(struct timespec64___mtime) &&
		   bpf_core_field_size(v418->i_mtime) ==
			   bpf_core_type_size(struct timespec64___mtime)) {
		*mtime_sec = BPF_CORE_READ(v418, i_mtime.tv_sec);
		*mtime_nsec = BPF_CORE_READ(v418, i_mtime.tv_nsec);
	} else if (bpf_core_field_exists(v40->i_mtime)) {
		*mtime_sec = BPF_CORE_READ(v40, i_mtime.tv_sec);
		*mtime_nsec = BPF_CORE_READ(v40, i_mtime.tv_nsec);
	}
}

/* gadget_get_base_addr_hash: changes whenever the process maps a new program. */
static __always_inline __u32 gadget_get_base_addr_hash(struct task_struct *task)
{
	__u32 hash = fnv_32a_init();

	fnv_32a_update_u64(&hash, (__u64)BPF_CORE_READ(task, mm));
	fnv_32a_update_u64(&hash, BPF_CORE_READ(task, mm, start_code));
	fnv_32a_update_u64(&hash, BPF_CORE_READ(task, mm, start_stack));
	return hash;
}

/* The ids of the task in the two outermost of its pid namespaces. */
static __always_inline void
__gadget_get_user_stack_pids(struct task_struct *task,
			     struct gadget_user_stack *ustack)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	/* An array of one element, or since 6.5 a flexible one. */
	struct upid *numbers = (struct upid *)&pid->numbers;

	ustack->tgid_level0 = BPF_CORE_READ(task, tgid);
	ustack->pid_level0 = BPF_CORE_READ(numbers, nr);
	ustack->pidns_level0 = BPF_CORE_READ(numbers, ns, ns.inum);
	ustack->pid_level1 = 0;
	ustack->pidns_level1 = 0;
	if (BPF_CORE_READ(pid, level) >= 1) {
		numbers++;
		ustack->pid_level1 = BPF_CORE_READ(numbers, nr);
		ustack->pidns_level1 = BPF_CORE_READ(numbers, ns, ns.inum);
	}
}

/* Build ids are read once for each stack: by the first one to insert its id. */
static __always_inline void __gadget_collect_build_id(void *ctx, __u32 stack_id)
{
	void *frames;

	if (bpf_map_update_elem(&ig_build_id, &stack_id, &ig_empty_build_id,
				BPF_NOEXIST))
		return;
	frames = bpf_map_lookup_elem(&ig_build_id, &stack_id);
	if (frames)
		bpf_get_stack(ctx, frames, sizeof(ig_empty_build_id),
			      BPF_F_USER_STACK | BPF_F_USER_BUILD_ID);
}

static __always_inline void
__gadget_get_user_stack(void *ctx, struct gadget_user_stack *ustack)
{
	struct task_struct *task;
	struct inode *inode;
	__u32 dev;

	if (!collect_ustack) {
		__builtin_memset(ustack, 0, sizeof(*ustack));
		return;
	}

	task = (struct task_struct *)bpf_get_current_task();
	ustack->stack_id = bpf_get_stackid(
		ctx, &ig_ustack, BPF_F_FAST_STACK_CMP | BPF_F_USER_STACK);
	ustack->boot_timestamp = bpf_ktime_get_boot_ns();
	ustack->otel_correlation_id = 0;
	__gadget_get_user_stack_pids(task, ustack);

	/* The kernel's dev_t: 12 bits of major number, 20 of minor. */
	inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
	dev = BPF_CORE_READ(inode, i_sb, s_dev);
	ustack->major = dev >> 20;
	ustack->minor = dev & 0xfffff;
	ustack->inode = BPF_CORE_READ(inode, i_ino);
	gadget_inode_get_mtime(inode, &ustack->mtime_sec, &ustack->mtime_nsec);
	ustack->base_addr_hash = gadget_get_base_addr_hash(task);

	if (collect_build_id && (__s32)ustack->stack_id >= 0)
		__gadget_collect_build_id(ctx, ustack->stack_id);
}

static __always_inline void
__gadget_get_otel_correlation_id(struct gadget_user_stack *ustack)
{
	__u32 zero = 0;
	struct generic_param *param =
		bpf_map_lookup_elem(&otel_generic_params, &zero);

	if (param)
		ustack->otel_correlation_id = param->correlation_id;
}

/* For kprobes, uprobes and their returns. */
static __always_inline void
gadget_get_user_stack_from_kprobe(void *ctx, struct gadget_user_stack *ustack)
{
	__gadget_get_user_stack(ctx, ustack);
	if (collect_ustack && collect_otel_stack) {
		gadget_fetch_otel_stack_from_kprobe(ctx);
		__gadget_get_otel_correlation_id(ustack);
	}
}

/* For perf events. */
static __always_inline void
gadget_get_user_stack_from_perf_event(void *ctx,
				      struct gadget_user_stack *ustack)
{
	__gadget_get_user_stack(ctx, ustack);
	if (collect_ustack && collect_otel_stack) {
		gadget_fetch_otel_stack_from_perf_event(ctx);
		__gadget_get_otel_correlation_id(ustack);
	}
}

/*
 * For tracepoints. No program can be called from them, so the program does not
 * load if interpreted stacks are asked for; better than to leave them out.
 */
static __always_inline void
gadget_get_user_stack_from_tracepoint(void *ctx,
				      struct gadget_user_stack *ustack)
{
	__gadget_get_user_stack(ctx, ustack);
	if (collect_ustack && collect_otel_stack)
		bpf_core_unreachable();
}

/*
 * gadget_get_user_stack: the variant for the type of `ctx`, which cannot be a
 * `void *`: an array holds programs of one type only.
 */
#define gadget_get_user_stack(ctx, ustack)                          \
	_Generic((ctx),                                             \
		struct bpf_perf_event_data *:                       \
			gadget_get_user_stack_from_perf_event,      \
		struct pt_regs *: gadget_get_user_stack_from_kprobe \
	)((ctx), (ustack))

#endif /* __GADGET_USER_STACK_MAP_H */
