// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_oomkill: one event for each process that the kernel kills because
 * memory has run out, in a control group or altogether.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/macros.h>
#include <gadget/mntns_filter.h>
#include <gadget/types.h>

struct data_t {
	gadget_timestamp timestamp_raw;
	/* The victim's; first, because the event belongs to its container. */
	gadget_mntns_id tmntns_id;
	struct gadget_process fprocess; /* who asked for memory */
	gadget_pid tpid;
	gadget_comm tcomm[TASK_COMM_LEN];
	__u64 pages;
};

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(oomkill, events, data_t);

static __always_inline int submit(void *ctx, struct task_struct *victim,
				  __u64 pages)
{
	gadget_mntns_id mntns_id;
	struct data_t *event;

	mntns_id = BPF_CORE_READ(victim, nsproxy, mnt_ns, ns.inum);
	if (gadget_should_discard_mntns_id(mntns_id))
		return 0;
	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	/* With its padding, and for a task without a parent. */
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->tmntns_id = mntns_id;
	gadget_process_populate(&event->fprocess);
	event->tpid = BPF_CORE_READ(victim, tgid);
	bpf_core_read(event->tcomm, sizeof(event->tcomm), &victim->comm);
	event->pages = pages;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("kprobe/oom_kill_process")
int BPF_KPROBE(ig_oom_kill, struct oom_control *oc, const char *message)
{
	return submit(ctx, BPF_CORE_READ(oc, chosen),
		      BPF_CORE_READ(oc, totalpages));
}

/* Levels of control groups to look at. */
#define MAX_LEVELS 16

/*
 * How many pages the control group may have that has run out of them, 0 if it is
 * none of the victim's. Swap is not counted.
 */
static __always_inline __u64 limit_of_full_group(struct task_struct *task)
{
	__u64 index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	struct cgroup_subsys_state **states, *state = NULL;
	struct page_counter *counter;
	struct css_set *cgroups;
	__u64 max, usage;
	int i;

	cgroups = BPF_CORE_READ(task, cgroups);
	states = (void *)__builtin_preserve_access_index(&cgroups->subsys);
	bpf_probe_read_kernel(&state, sizeof(state), &states[index]);
	if (!state)
		return 0;
	/* A mem_cgroup begins with its state. */
	counter = __builtin_preserve_access_index(
		&((struct mem_cgroup *)state)->memory);
	for (i = 0; i < MAX_LEVELS && counter; i++) {
		max = BPF_CORE_READ(counter, max);
		usage = BPF_CORE_READ(counter, usage.counter);
		/* Full is when some pages are left, too few for what was asked for. */
		if (usage + max / 8 >= max)
			return max;
		counter = BPF_CORE_READ(counter, parent);
	}
	return 0;
}

SEC("raw_tracepoint/mark_victim")
int ig_oom_victim(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *victim;

	/* Before 6.9 it told a number and no more. */
	if (!bpf_core_field_exists(struct trace_event_raw_mark_victim, uid))
		bpf_core_unreachable();
	victim = (struct task_struct *)ctx->args[0];
	return submit(ctx, victim, limit_of_full_group(victim));
}

char LICENSE[] SEC("license") = "GPL";
