/* SPDX-License-Identifier: GPL-2.0-only */
/* The mount namespace, by which containers are told apart. */
#ifndef __GADGET_MNTNS_H
#define __GADGET_MNTNS_H

#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/types.h>

/*
 * gadget_get_current_mntns_id: mount namespace of the current task.
 *
 * Since 5.11 there is a pointer to the task through which the verifier allows
 * plain loads: no calls, a tenth of the time. The kernel must have a BTF of its
 * own for that; a loader that brings one from elsewhere has to leave the
 * helper's enumerator out.
 */
static __always_inline gadget_mntns_id gadget_get_current_mntns_id(void)
{
	struct task_struct *task;

	if (bpf_core_enum_value_exists(enum bpf_func_id,
				       BPF_FUNC_get_current_task_btf)) {
		task = bpf_get_current_task_btf();
		return task->nsproxy->mnt_ns->ns.inum;
	}
	task = (struct task_struct *)bpf_get_current_task();
	return BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
}

/* Deprecated name of gadget_get_current_mntns_id(). */
__attribute__((deprecated("use gadget_get_current_mntns_id()")))
static __always_inline gadget_mntns_id gadget_get_mntns_id(void)
{
	return gadget_get_current_mntns_id();
}

#endif /* __GADGET_MNTNS_H */
