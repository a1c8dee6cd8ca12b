// SPDX-License-Identifier: GPL-2.0
/*
 * Sees a mount namespace being set up for a container, and puts it into the filter maps of the running gadgets before
 * anything can be executed in it. Only observes: nothing is ever held up.
 *
 * A namespace comes into being by unshare() or clone() with CLONE_NEWNS. From then until user space has decided what it is,
 * it is in `pending`, and pivot_root() and exec in it are reported as well: the first tells the container's init process,
 * the latter that the runtime's work is done. No kprobes, so that it works everywhere: the scheduler's raw tracepoints and
 * the system call tracepoints are there since long before 5.10.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "container_hook.h"

#define CLONE_NEWNS 0x00020000
#define BPF_ANY 0
#define BPF_NOEXIST 1
#define BPF_F_MMAPABLE (1U << 10)
#define BPF_F_CURRENT_CPU 0xffffffffULL
#define RECORDS_PER_NAMESPACE 8

const volatile struct hook_config hook_config = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF); /* or a perf event array: the loader decides */
	__uint(max_entries, 512 * 1024);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct hook_state);
} state SEC(".maps");

struct filter_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, HOOK_FILTERS);
	__uint(key_size, sizeof(__u32));
	__array(values, struct filter_map);
} filters SEC(".maps");

/* Namespaces without a decision: how many records were sent about each. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u32);
} pending SEC(".maps");

/* Threads in unshare(CLONE_NEWNS): the namespace they are leaving. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} unsharing SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct hook_record));
} scratch SEC(".maps");

static __always_inline __u64 mntns_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
}

static __always_inline void read_names(char names[HOOK_LEVELS][HOOK_NAME], struct cgroup *cgroup)
{
#pragma unroll
	for (int level = 0; level < HOOK_LEVELS; level++) {
		names[level][0] = 0;
		if (!cgroup)
			continue;
		bpf_probe_read_kernel_str(names[level], HOOK_NAME, BPF_CORE_READ(cgroup, kn, name));
		/* The parent directory by way of the cgroup: struct kernfs_node's member for it was renamed in 6.15. */
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
}

static __always_inline struct cgroup *v1_cgroup(struct task_struct *task)
{
	struct cgroup_subsys_state *css = NULL;

	/* Runtimes use either controller always; which ones the kernel has is up to its configuration. */
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		css = BPF_CORE_READ(task, cgroups, subsys[bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id)]);
	else if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		css = BPF_CORE_READ(task, cgroups, subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)]);
	return css ? BPF_CORE_READ(css, cgroup) : NULL;
}

static __always_inline void add_to_filters(struct hook_state *shared, __u64 mntns, __u64 flags)
{
	__u32 undecided = HOOK_UNDECIDED;

#pragma unroll
	for (__u32 i = 0; i < HOOK_FILTERS; i++) {
		__u32 slot = i;
		void *filter = bpf_map_lookup_elem(&filters, &slot);

		if (!filter)
			continue;
		/* -EEXIST only says that it is there */
		long err = bpf_map_update_elem(filter, &mntns, &undecided, flags);
		if (err && err != -17 && shared)
			__sync_fetch_and_add(&shared->full[i], 1);
	}
}

static __always_inline void report(void *ctx, struct task_struct *task, __u32 kind, __u64 mntns, __u64 parent_mntns)
{
	__u32 zero = 0;
	struct hook_state *shared = bpf_map_lookup_elem(&state, &zero);
	struct hook_record *record = bpf_map_lookup_elem(&scratch, &zero);
	struct cgroup *cgroup;
	long err;

	if (!shared || !record)
		return;

	cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	record->mntns = mntns;
	record->parent_mntns = parent_mntns;
	record->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	record->cgroup_id = BPF_CORE_READ(cgroup, kn, id);
	record->timestamp = bpf_ktime_get_boot_ns();
	record->started_at = BPF_CORE_READ(task, group_leader, start_boottime);
	record->kind = kind;
	record->pid = BPF_CORE_READ(task, tgid);
	bpf_probe_read_kernel(record->comm, sizeof(record->comm), &task->comm);
	read_names(record->names, cgroup);
	read_names(record->v1_names, v1_cgroup(task));

	if (hook_config.use_perf)
		err = bpf_perf_event_output(ctx, &records, BPF_F_CURRENT_CPU, record, sizeof(*record));
	else
		err = bpf_ringbuf_output(&records, record, sizeof(*record), 0);
	if (err)
		__sync_fetch_and_add(&shared->lost, 1);
	/* After the record is there: who sees the number finds the record. */
	__sync_fetch_and_add(&shared->sequence, 1);
}

/* `mntns` has just come into being. */
static __always_inline void created(void *ctx, struct task_struct *task, __u64 mntns, __u64 parent_mntns)
{
	__u32 zero = 0;
	struct hook_state *shared = bpf_map_lookup_elem(&state, &zero);

	if (!mntns || mntns == hook_config.host_mntns)
		return;
	/* Whatever is there under this number belongs to a namespace that has ended. */
	add_to_filters(shared, mntns, BPF_ANY);
	bpf_map_update_elem(&pending, &mntns, &zero, BPF_ANY);
	report(ctx, task, HOOK_CREATED, mntns, parent_mntns);
}

SEC("tracepoint/syscalls/sys_enter_unshare")
int ig_hook_unshare_e(struct syscall_trace_enter *ctx)
{
	__u64 id, mntns;

	if (!(ctx->args[0] & CLONE_NEWNS))
		return 0;
	id = bpf_get_current_pid_tgid();
	mntns = mntns_of((struct task_struct *)bpf_get_current_task());
	bpf_map_update_elem(&unsharing, &id, &mntns, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_unshare")
int ig_hook_unshare_x(struct syscall_trace_exit *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u64 *before = bpf_map_lookup_elem(&unsharing, &id);
	struct task_struct *task;
	__u64 mntns, parent;

	if (!before)
		return 0;
	parent = *before;
	bpf_map_delete_elem(&unsharing, &id);
	if (ctx->ret)
		return 0;
	task = (struct task_struct *)bpf_get_current_task();
	mntns = mntns_of(task);
	if (mntns != parent)
		created(ctx, task, mntns, parent);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int ig_hook_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx->args[0];
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	struct nsproxy *theirs = BPF_CORE_READ(child, nsproxy);
	__u64 before, mntns;

	/* Nearly every fork shares the whole set. */
	if (!theirs || theirs == BPF_CORE_READ(parent, nsproxy))
		return 0;
	before = mntns_of(parent);
	mntns = mntns_of(child);
	if (mntns != before)
		created(ctx, child, mntns, before);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_pivot_root")
int ig_hook_pivot_root_x(struct syscall_trace_exit *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 zero = 0;
	__u64 mntns = mntns_of(task);

	if (ctx->ret || mntns == hook_config.host_mntns)
		return 0;
	/* A namespace that is older than this program gets its place in the filters now. */
	add_to_filters(bpf_map_lookup_elem(&state, &zero), mntns, BPF_NOEXIST);
	bpf_map_update_elem(&pending, &mntns, &zero, BPF_NOEXIST);
	report(ctx, task, HOOK_PIVOT_ROOT, mntns, 0);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int ig_hook_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	__u64 mntns = mntns_of(task);
	__u32 *sent = bpf_map_lookup_elem(&pending, &mntns);

	/* A slow user space needs no flood of the same news. */
	if (!sent || *sent >= RECORDS_PER_NAMESPACE)
		return 0;
	__sync_fetch_and_add(sent, 1);
	report(ctx, task, HOOK_EXEC, mntns, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
