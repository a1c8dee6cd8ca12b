// SPDX-License-Identifier: GPL-2.0-only
/*
 * snapshot_process: one element for each process that there is.
 *
 * The kernel walks the tasks when the iterator is read. That is no moment frozen
 * in time: a process that starts or ends meanwhile may be there or not.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

const volatile bool show_threads = false;
GADGET_PARAM(show_threads);

GADGET_ITER(processes, gadget_process, ig_snap_proc);

SEC("iter/task")
int ig_snap_proc(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task, *parent;
	struct gadget_process process;

	/* The last call, after all tasks. */
	if (!task)
		return 0;
	if (!show_threads && task->tgid != task->pid)
		return 0;

	/* What is written is copied whole, with every byte between members. */
	__builtin_memset(&process, 0, sizeof(process));
	process.pid = task->tgid;
	process.tid = task->pid;
	/* 0 for a task that is ending and has left its namespaces. */
	process.mntns_id = task->nsproxy->mnt_ns->ns.inum;
	process.creds.uid = task->cred->uid.val;
	process.creds.gid = task->cred->gid.val;
	bpf_core_read(process.comm, sizeof(process.comm), &task->comm);

	if (gadget_should_discard_data(process.mntns_id, process.pid,
				       process.tid, process.comm,
				       process.creds.uid, process.creds.gid))
		return 0;

	parent = task->real_parent;
	if (parent) {
		process.parent.pid = parent->tgid;
		process.parent.tid = parent->pid;
		bpf_core_read(process.parent.comm, sizeof(process.parent.comm),
			      &parent->comm);
	}

	bpf_seq_write(ctx->meta->seq, &process, sizeof(process));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
