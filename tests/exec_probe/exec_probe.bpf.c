// SPDX-License-Identifier: GPL-2.0
/* Stands in for a gadget: says of every exec whether its mount namespace is in the filter map at that moment. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct mnt_namespace {
	struct ns_common ns;
};
struct nsproxy {
	struct mnt_namespace *mnt_ns;
};
struct task_struct {
	struct nsproxy *nsproxy;
	int tgid;
};
#pragma clang attribute pop

struct exec {
	__u64 mntns;
	__u64 timestamp;
	__u32 pid;
	__u32 in_filter;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} filter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} execs SEC(".maps");

SEC("raw_tp/sched_process_exec")
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct exec *exec = bpf_ringbuf_reserve(&execs, sizeof(*exec), 0);

	if (!exec)
		return 0;
	exec->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	exec->timestamp = bpf_ktime_get_boot_ns();
	exec->pid = BPF_CORE_READ(task, tgid);
	exec->in_filter = bpf_map_lookup_elem(&filter, &exec->mntns) != 0;
	bpf_get_current_comm(exec->comm, sizeof(exec->comm));
	bpf_ringbuf_submit(exec, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
