// SPDX-License-Identifier: GPL-2.0-only
/*
 * advise_seccomp: which system calls each container makes.
 *
 * Nothing is filtered here: the calls that runc makes in a container, before
 * the container is known as one, have to be allowed as well.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/core_fixes.bpf.h>
#include <gadget/macros.h>
#include <gadget/mntns.h>
#include <gadget/mntns_filter.h>
#include <gadget/types.h>

#define SYSCALLS_COUNT 500
/* Whether runc has come to the part that happens under the profile. */
#define RUNC_STATE SYSCALLS_COUNT

#define PR_GET_PDEATHSIG 2
#define PR_SET_NO_NEW_PRIVS 38

#ifdef __TARGET_ARCH_arm64
#define NR_prctl 167
#define NR_seccomp 277
/* Bit of the thread's flags. */
#define TIF_32BIT 22
#else
#define NR_prctl 157
#define NR_seccomp 317
/* Of the thread's status. */
#define TS_COMPAT 0x0002
#endif

struct syscalls_key {
	gadget_mntns_id mntns_id_raw;
};

/* 1 for each number that was called, and the state of runc behind them. */
struct syscalls_value {
	unsigned char syscalls[SYSCALLS_COUNT + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct syscalls_key);
	__type(value, struct syscalls_value);
} syscalls_per_mntns SEC(".maps");

GADGET_MAPITER(syscalls, syscalls_per_mntns);

static const struct syscalls_value empty;

/* The numbers of 32-bit programs mean other calls. */
static __always_inline bool is_compat(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

#ifdef __TARGET_ARCH_arm64
	return BPF_CORE_READ(task, thread_info.flags) & (1UL << TIF_32BIT);
#else
	return BPF_CORE_READ(task, thread_info.status) & TS_COMPAT;
#endif
}

static __always_inline bool is_runc(void)
{
	char comm[TASK_COMM_LEN];

	return !bpf_get_current_comm(comm, sizeof(comm)) && comm[0] == 'r' &&
	       comm[1] == 'u' && comm[2] == 'n' && comm[3] == 'c';
}

/*
 * Whether a call of runc's happens under the profile. That is what it does
 * between asking for its death signal, right before it installs the profile,
 * and the container's program; but it installs the profile itself without it.
 */
static __always_inline bool runc_needs(struct syscalls_value *value, __u64 nr,
				       struct pt_regs *regs)
{
	__u64 option = nr == NR_prctl ? gadget_get_syscall_arg(regs, 1) : 0;

	if (!value->syscalls[RUNC_STATE]) {
		if (nr == NR_prctl && option == PR_GET_PDEATHSIG)
			value->syscalls[RUNC_STATE] = 1;
		return false;
	}
	return nr != NR_seccomp &&
	       !(nr == NR_prctl && option == PR_SET_NO_NEW_PRIVS);
}

SEC("raw_tracepoint/sys_enter")
int ig_seccomp_e(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
	struct syscalls_value *value;
	struct syscalls_key key;
	__u64 nr = ctx->args[1];

	if (nr >= SYSCALLS_COUNT || is_compat())
		return 0;

	key.mntns_id_raw = gadget_get_current_mntns_id();
	value = bpf_map_lookup_elem(&syscalls_per_mntns, &key);
	if (!value) {
		bpf_map_update_elem(&syscalls_per_mntns, &key, &empty,
				    BPF_NOEXIST);
		value = bpf_map_lookup_elem(&syscalls_per_mntns, &key);
		if (!value)
			return 0;
	}
	if (is_runc() && !runc_needs(value, nr, regs))
		return 0;
	value->syscalls[nr] = 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
