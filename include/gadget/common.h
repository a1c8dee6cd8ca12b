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
	struct {
		__u32 tid;
		__u32 pid;
	} ids;

	/*
	 * Not by plain loads as in gadget_get_current_mntns_id(): for each
	 * pointer that is loaded from a trusted one the verifier searches all
	 * types of the kernel, some milliseconds for a gadget.
	 */
	task = (struct task_struct *)bpf_get_current_task();
	parent = BPF_CORE_READ(task, real_parent);
	if (!parent)
		return;
	bpf_core_read(p->comm, sizeof(p->comm), &parent->comm);
	/* They have always been side by side: one call for both. */
	if (bpf_core_field_offset(parent->tgid) ==
		    bpf_core_field_offset(parent->pid) + sizeof(ids.tid) &&
	    !bpf_core_read(&ids, sizeof(ids), &parent->pid)) {
		p->pid = ids.pid;
		p->tid = ids.tid;
		return;
	}
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
