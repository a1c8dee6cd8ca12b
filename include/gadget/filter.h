/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filters that all tracers share: containers, and --pid, --tid, --uid,
 * --gid and --comm.
 *
 * The parameters are constants when the verifier sees the program, so a filter
 * that is off costs nothing at run time. All functions tell whether to discard.
 *
 * GADGET_TYPE_NETWORKING, defined before the inclusion, is for programs that do
 * not run on behalf of a task: they have no current process to be filtered by.
 */
#ifndef __GADGET_FILTER_H
#define __GADGET_FILTER_H

#include <gadget/kernel_types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/macros.h>
#ifndef GADGET_TYPE_NETWORKING
#include <gadget/mntns.h>
#endif
#include <gadget/mntns_filter.h>
#include <gadget/types.h>

/* Target of a uid or gid filter that is off; 0 is root. */
#define GADGET_INVALID_ID ((__u32)-1)

const volatile gadget_pid targ_pid = 0;
GADGET_PARAM(targ_pid);

const volatile gadget_tid targ_tid = 0;
GADGET_PARAM(targ_tid);

const volatile gadget_uid targ_uid = GADGET_INVALID_ID;
GADGET_PARAM(targ_uid);

const volatile gadget_gid targ_gid = GADGET_INVALID_ID;
GADGET_PARAM(targ_gid);

const volatile gadget_comm targ_comm[TASK_COMM_LEN] = {};
GADGET_PARAM(targ_comm);

static __always_inline bool gadget_should_discard_pid(gadget_pid pid)
{
	return targ_pid != 0 && targ_pid != pid;
}

static __always_inline bool gadget_should_discard_tid(gadget_tid tid)
{
	return targ_tid != 0 && targ_tid != tid;
}

static __always_inline bool gadget_should_discard_uid(gadget_uid uid)
{
	return targ_uid != GADGET_INVALID_ID && targ_uid != uid;
}

static __always_inline bool gadget_should_discard_gid(gadget_gid gid)
{
	return targ_gid != GADGET_INVALID_ID && targ_gid != gid;
}

/* All of the name counts, with the zeros that the kernel fills it up with. */
static __always_inline bool
gadget_should_discard_comm(const gadget_comm comm[TASK_COMM_LEN])
{
	char different = 0;
	int i;

	if (targ_comm[0] == '\0')
		return false;
#pragma unroll
	for (i = 0; i < TASK_COMM_LEN; i++)
		different |= comm[i] ^ targ_comm[i];
	return different != 0;
}

static __always_inline bool
gadget_should_discard_data(gadget_mntns_id mntns_id, gadget_pid pid,
			   gadget_tid tid,
			   const gadget_comm comm[TASK_COMM_LEN],
			   gadget_uid uid, gadget_gid gid)
{
	return gadget_should_discard_mntns_id(mntns_id) ||
	       gadget_should_discard_pid(pid) ||
	       gadget_should_discard_tid(tid) ||
	       gadget_should_discard_uid(uid) ||
	       gadget_should_discard_gid(gid) ||
	       gadget_should_discard_comm(comm);
}

#ifndef GADGET_TYPE_NETWORKING
/* As above for the current task, by all but its mount namespace. */
static __always_inline bool __gadget_should_discard_current(void)
{
	if (targ_pid != 0 || targ_tid != 0) {
		__u64 pid_tgid = bpf_get_current_pid_tgid();

		if (gadget_should_discard_pid(pid_tgid >> 32) ||
		    gadget_should_discard_tid((__u32)pid_tgid))
			return true;
	}

	if (targ_uid != GADGET_INVALID_ID || targ_gid != GADGET_INVALID_ID) {
		__u64 uid_gid = bpf_get_current_uid_gid();

		if (gadget_should_discard_uid((__u32)uid_gid) ||
		    gadget_should_discard_gid(uid_gid >> 32))
			return true;
	}

	if (targ_comm[0] != '\0') {
		gadget_comm comm[TASK_COMM_LEN] = {};

		bpf_get_current_comm(comm, sizeof(comm));
		return gadget_should_discard_comm(comm);
	}

	return false;
}

/* As above for the current task; asks the kernel only what is filtered by. */
static __always_inline bool gadget_should_discard_data_current(void)
{
	if (gadget_filter_by_mntns &&
	    gadget_should_discard_mntns_id(gadget_get_current_mntns_id()))
		return true;
	return __gadget_should_discard_current();
}

/* The same for who needs the mount namespace of the current task anyway. */
static __always_inline bool
gadget_should_discard_data_current_in(gadget_mntns_id mntns_id)
{
	return gadget_should_discard_mntns_id(mntns_id) ||
	       __gadget_should_discard_current();
}
#endif /* GADGET_TYPE_NETWORKING */

/*
 * As above for the process that owns a socket. The owner is not always known
 * (NULL): then nothing is known to match, so any filter discards.
 */
static __always_inline bool
gadget_should_discard_data_by_skb(struct gadget_socket_value *value)
{
	gadget_comm comm[TASK_COMM_LEN];

	if (!value)
		return gadget_filter_by_mntns || targ_pid != 0 ||
		       targ_tid != 0 || targ_uid != GADGET_INVALID_ID ||
		       targ_gid != GADGET_INVALID_ID || targ_comm[0] != '\0';

	__builtin_memcpy(comm, value->task, sizeof(comm));
	return gadget_should_discard_data(value->mntns, value->pid_tgid >> 32,
					  (__u32)value->pid_tgid, comm,
					  (__u32)value->uid_gid,
					  value->uid_gid >> 32);
}

#endif /* __GADGET_FILTER_H */
