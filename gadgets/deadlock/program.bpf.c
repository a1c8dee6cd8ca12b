// SPDX-License-Identifier: GPL-2.0-only
/*
 * deadlock: the orders in which threads take mutexes.
 *
 * For each thread there is a list of the mutexes that it holds. A thread that
 * takes another one adds an edge from each of them to that one. The edges go to
 * the gadget's wasm module, which looks for circles among those of a process.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/mntns.h>
#include <gadget/types.h>

#define MAX_HELD 16
#define MAX_STACKS 256
#define MAX_FRAMES 50
#define MAX_ENTRIES 65536

struct mutex_edge_key {
	__u64 mutex1;
	__u64 mutex2;
	gadget_pid pid;
	__u32 __padding;
};

/* Who held the first while it took the second, and where it took them. */
struct mutex_edge {
	gadget_mntns_id mntns_id;
	gadget_tid tid;
	__u64 mutex1_stack_id;
	__u64 mutex2_stack_id;
	gadget_comm comm[TASK_COMM_LEN];
};

struct held_mutex {
	/* 0 is a free place. */
	__u64 mutex;
	__u64 stack_id;
};

struct held_mutexes {
	struct held_mutex held[MAX_HELD];
};

struct dead_pid {
	gadget_pid pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, MAX_STACKS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, MAX_FRAMES * sizeof(__u64));
} stackmap SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, gadget_tid);
	__type(value, struct held_mutexes);
} thread_to_held_mutexes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, struct mutex_edge_key);
	__type(value, struct mutex_edge);
} edges SEC(".maps");

GADGET_MAPITER(mutex, edges);

GADGET_TRACER_MAP(dead_pids, 1024 * 256);
GADGET_TRACER(process_exit, dead_pids, dead_pid);

static const struct held_mutexes no_mutexes;

static __always_inline void add_edge(const struct held_mutex *held, __u64 mutex,
				     __u64 stack_id, __u64 pid_tgid)
{
	struct mutex_edge_key key;
	struct mutex_edge edge;

	__builtin_memset(&key, 0, sizeof(key));
	key.mutex1 = held->mutex;
	key.mutex2 = mutex;
	key.pid = pid_tgid >> 32;
	__builtin_memset(&edge, 0, sizeof(edge));
	edge.mntns_id = gadget_get_current_mntns_id();
	edge.tid = (__u32)pid_tgid;
	edge.mutex1_stack_id = held->stack_id;
	edge.mutex2_stack_id = stack_id;
	bpf_get_current_comm(edge.comm, sizeof(edge.comm));
	bpf_map_update_elem(&edges, &key, &edge, BPF_ANY);
}

SEC("uprobe/libc:pthread_mutex_lock")
int BPF_KPROBE(trace_uprobe_mutex_lock, __u64 mutex)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	gadget_tid tid = (__u32)pid_tgid;
	struct held_mutexes *held;
	bool is_kept = false;
	int i;
	__u64 stack_id;

	if (!mutex || gadget_should_discard_data_current())
		return 0;

	held = bpf_map_lookup_elem(&thread_to_held_mutexes, &tid);
	if (!held) {
		bpf_map_update_elem(&thread_to_held_mutexes, &tid, &no_mutexes,
				    BPF_NOEXIST);
		held = bpf_map_lookup_elem(&thread_to_held_mutexes, &tid);
		if (!held)
			return 0;
	}

	/* One that may be taken again is in no order with itself. */
#pragma unroll
	for (i = 0; i < MAX_HELD; i++)
		if (held->held[i].mutex == mutex)
			return 0;

	/* If there is no room for it, it is not remembered. */
	stack_id = bpf_get_stackid(ctx, &stackmap, BPF_F_USER_STACK);
#pragma unroll
	for (i = 0; i < MAX_HELD; i++) {
		if (held->held[i].mutex) {
			add_edge(&held->held[i], mutex, stack_id, pid_tgid);
		} else if (!is_kept) {
			is_kept = true;
			held->held[i].mutex = mutex;
			held->held[i].stack_id = stack_id;
		}
	}
	return 0;
}

SEC("uprobe/libc:pthread_mutex_unlock")
int BPF_KPROBE(trace_uprobe_mutex_unlock, __u64 mutex)
{
	gadget_tid tid = (__u32)bpf_get_current_pid_tgid();
	struct held_mutexes *held;
	bool is_empty = true;
	int i;

	if (!mutex)
		return 0;
	held = bpf_map_lookup_elem(&thread_to_held_mutexes, &tid);
	if (!held)
		return 0;
#pragma unroll
	for (i = 0; i < MAX_HELD; i++) {
		if (held->held[i].mutex == mutex)
			held->held[i].mutex = 0;
		else if (held->held[i].mutex)
			is_empty = false;
	}
	if (is_empty)
		bpf_map_delete_elem(&thread_to_held_mutexes, &tid);
	return 0;
}

SEC("tracepoint/sched/sched_process_exit")
int trace_sched_process_exit(void *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	gadget_tid tid = (__u32)pid_tgid;
	struct dead_pid *event;

	bpf_map_delete_elem(&thread_to_held_mutexes, &tid);
	/* The process ends with its first thread. */
	if (tid != pid_tgid >> 32 || gadget_should_discard_data_current())
		return 0;
	event = gadget_reserve_buf(&dead_pids, sizeof(*event));
	if (!event)
		return 0;
	event->pid = tid;
	gadget_submit_buf(ctx, &dead_pids, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
