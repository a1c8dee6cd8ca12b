// SPDX-License-Identifier: GPL-2.0-only
/* The older convention: a map called hist_ has histograms, which are printed when the run ends. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/bits.bpf.h>
#include <gadget/mntns.h>
#include <gadget/mntns_filter.h>
#include <gadget/types.h>

#define SLOTS 27

struct process {
	gadget_pid pid;
	gadget_comm comm[TASK_COMM_LEN];
};

struct counts {
	__u32 slots[SLOTS];
};

const volatile int first_fd = 0;

/* One for each process. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct process);
	__type(value, struct counts);
} hist_by_process SEC(".maps");

/* One in all. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} hist_all SEC(".maps");

static const struct counts empty;

static __always_inline void count(struct counts *counts, __u64 value)
{
	__u64 slot = log2(value);

	if (slot < SLOTS)
		__sync_fetch_and_add(&counts->slots[slot], 1);
}

SEC("tracepoint/syscalls/sys_enter_close")
int enter_close(struct syscall_trace_enter *ctx)
{
	struct process process = {};
	struct counts *counts;
	__u32 zero = 0;

	if (ctx->args[0] < first_fd || gadget_should_discard_mntns_id(gadget_get_current_mntns_id()))
		return 0;
	counts = bpf_map_lookup_elem(&hist_all, &zero);
	if (counts)
		count(counts, ctx->args[0]);
	process.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(process.comm, sizeof(process.comm));
	bpf_map_update_elem(&hist_by_process, &process, &empty, BPF_NOEXIST);
	counts = bpf_map_lookup_elem(&hist_by_process, &process);
	if (counts)
		count(counts, ctx->args[0]);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
