/* SPDX-License-Identifier: GPL-2.0-only */
/* What nearly every gadget wants to know about the current task. */
#ifndef __GADGET_COMMON_H
#define __GADGET_COMMON_H

#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/mntns.h>
#include <gadget/types.h>

/* The kernel pads comm with zeros, so all of it may be copied. */
static __always_inline void
__gadget_parent_populate(struct gadget_parent *p)
{
	struct task_struct *task, *parent;

	/* See gadget_get_current_mntns_id() about the two ways. */
	if (bpf_core_enum_value_exists(enum bpf_func_id,
				       BPF_FUNC_get_current_task_btf)) {
		task = bpf_get_current_task_btf();
		parent = task->real_parent;
		if (!parent)
			return;
		bpf_core_read(p->comm, sizeof(p->comm), &parent->comm);
		p->pid = parent->tgid;
		p->tid = parent->pid;
		return;
	}

	task = (struct task_struct *)bpf_get_current_task();
	parent = BPF_CORE_READ(task, real_parent);
	if (!parent)
		return;
	bpf_core_read(p->comm, sizeof(p->comm), &parent->comm);
	p->pid = BPF_CORE_READ(parent, tgid);
	p->tid = BPF_CORE_READ(parent, pid);
}

/*
 * gadget_process_populate_in: describe the current task, whose mount namespace
 * is known already, and its parent.
 *
 * The parent is left as it was if there is none, which does not happen for a
 * task that runs.
 */
static __always_inline void
gadget_process_populate_in(struct gadget_process *p, gadget_mntns_id mntns_id)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u64 uid_gid = bpf_get_current_uid_gid();

	p->pid = pid_tgid >> 32;
	p->tid = (__u32)pid_tgid;
	bpf_get_current_comm(p->comm, sizeof(p->comm));
	p->creds.uid = (__u32)uid_gid;
	p->creds.gid = uid_gid >> 32;
	p->mntns_id = mntns_id;
	__gadget_parent_populate(&p->parent);
}

/* gadget_process_populate: describe the current task and its parent. */
static __always_inline void gadget_process_populate(struct gadget_process *p)
{
	gadget_process_populate_in(p, gadget_get_current_mntns_id());
}

#endif /* __GADGET_COMMON_H */
