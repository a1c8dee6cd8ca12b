// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_capabilities: one event for each time that the kernel checks whether a
 * process has a capability.
 *
 * Arguments and result are there together when cap_capable() returns. Where
 * nothing can be attached to that, the kernel's own tracepoint in it (6.14)
 * tells the same but for the options of the check.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/filter.h>
#include <gadget/kernel_stack_map.h>
#include <gadget/macros.h>
#include <gadget/types.h>
#include <gadget/user_stack_map.h>

/* Options of a check. */
#define CAP_OPT_NOAUDIT 2
#define CAP_OPT_INSETID 4

#define PF_KTHREAD 0x00200000

#define CAPABILITIES(X) \
	X(CHOWN, 0) \
	X(DAC_OVERRIDE, 1) \
	X(DAC_READ_SEARCH, 2) \
	X(FOWNER, 3) \
	X(FSETID, 4) \
	X(KILL, 5) \
	X(SETGID, 6) \
	X(SETUID, 7) \
	X(SETPCAP, 8) \
	X(LINUX_IMMUTABLE, 9) \
	X(NET_BIND_SERVICE, 10) \
	X(NET_BROADCAST, 11) \
	X(NET_ADMIN, 12) \
	X(NET_RAW, 13) \
	X(IPC_LOCK, 14) \
	X(IPC_OWNER, 15) \
	X(SYS_MODULE, 16) \
	X(SYS_RAWIO, 17) \
	X(SYS_CHROOT, 18) \
	X(SYS_PTRACE, 19) \
	X(SYS_PACCT, 20) \
	X(SYS_ADMIN, 21) \
	X(SYS_BOOT, 22) \
	X(SYS_NICE, 23) \
	X(SYS_RESOURCE, 24) \
	X(SYS_TIME, 25) \
	X(SYS_TTY_CONFIG, 26) \
	X(MKNOD, 27) \
	X(LEASE, 28) \
	X(AUDIT_WRITE, 29) \
	X(AUDIT_CONTROL, 30) \
	X(SETFCAP, 31) \
	X(MAC_OVERRIDE, 32) \
	X(MAC_ADMIN, 33) \
	X(SYSLOG, 34) \
	X(WAKE_ALARM, 35) \
	X(BLOCK_SUSPEND, 36) \
	X(AUDIT_READ, 37) \
	X(PERFMON, 38) \
	X(BPF, 39) \
	X(CHECKPOINT_RESTORE, 40)

#define X(name, number) CAP_##name = number,
enum capability { CAPABILITIES(X) };
#undef X

#define X(name, number) FLAG_CAP_##name = 1ULL << number,
enum cap_effective_flags_set : __u64 { CAPABILITIES(X) };
#undef X

struct cap_event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	__u64 current_userns;
	__u64 target_userns;
	enum cap_effective_flags_set cap_effective_raw;
	enum capability cap_raw;
	bool capable;
	int audit;
	int insetid;
	gadget_syscall syscall_raw;
	gadget_kernel_stack kstack_raw;
	struct gadget_user_stack ustack;
};

const volatile bool audit_only = false;
GADGET_PARAM(audit_only);

const volatile bool unique = false;
GADGET_PARAM(unique);

const volatile bool collect_kstack = true;
GADGET_PARAM(collect_kstack);

/* What has been seen, for --unique. */
struct unique_key {
	int cap;
	gadget_mntns_id mntns_id;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct unique_key);
	__type(value, __u64);
} seen SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(capabilities, events, cap_event);

static __always_inline __u64 effective(const struct cred *cred)
{
	/* Two numbers before 6.3, the one with the lower bits first. */
	__u64 set = 0;

	bpf_core_read(&set, sizeof(set), &cred->cap_effective);
	return set;
}

/*
 * The registers with which the current task has entered the kernel lie at the
 * top of its stack. 5.15 has a helper that knows where.
 */
#define THREAD_SIZE (16 << 10)

/* Number of the system call that the current task is in, or -1. */
static __always_inline __u64 current_syscall(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pt_regs *regs;

	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return -1;
	if (bpf_core_enum_value_exists(enum bpf_func_id,
				       BPF_FUNC_task_pt_regs))
		regs = (struct pt_regs *)bpf_task_pt_regs(
			bpf_get_current_task_btf());
	else
		regs = (struct pt_regs *)(BPF_CORE_READ(task, stack) +
					  THREAD_SIZE -
					  sizeof(struct pt_regs));
	return gadget_get_syscall_nr(regs);
}

static __always_inline int
checked(void *ctx, const struct cred *cred, struct user_namespace *target,
	int cap, bool capable, int audit, int insetid)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	gadget_mntns_id mntns_id = gadget_get_current_mntns_id();
	struct unique_key key;
	struct cap_event *event;
	__u64 one = 1;

	if (gadget_should_discard_data_current_in(mntns_id))
		return 0;
	/* Not its own: the kernel does something in somebody else's name. */
	if (cred != BPF_CORE_READ(task, real_cred))
		return 0;
	if (unique) {
		__builtin_memset(&key, 0, sizeof(key));
		key.cap = cap;
		key.mntns_id = mntns_id;
		if (bpf_map_update_elem(&seen, &key, &one, BPF_NOEXIST))
			return 0;
	}

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	/* With its padding, and for a task without a parent. */
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate_in(&event->proc, mntns_id);
	event->current_userns = BPF_CORE_READ(cred, user_ns, ns.inum);
	event->target_userns = BPF_CORE_READ(target, ns.inum);
	event->cap_effective_raw = effective(cred);
	event->cap_raw = cap;
	event->capable = capable;
	event->audit = audit;
	event->insetid = insetid;
	event->syscall_raw = current_syscall();
	event->kstack_raw = collect_kstack ? gadget_get_kernel_stack(ctx) : -1;
	gadget_get_user_stack_from_tracepoint(ctx, &event->ustack);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("fexit/cap_capable")
int BPF_PROG(ig_trace_cap_x, const struct cred *cred,
	     struct user_namespace *target, int cap, unsigned int options, int ret)
{
	bool audit = !(options & CAP_OPT_NOAUDIT);

	if (audit_only && !audit)
		return 0;
	return checked(ctx, cred, target, cap, ret == 0, audit,
		       !!(options & CAP_OPT_INSETID));
}

SEC("raw_tracepoint/cap_capable")
int ig_trace_cap_tp(struct bpf_raw_tracepoint_args *ctx)
{
	/* Cannot be told from what is there. */
	if (audit_only)
		bpf_core_unreachable();
	return checked(ctx, (const struct cred *)ctx->args[0],
		       (struct user_namespace *)ctx->args[1], (int)ctx->args[3],
		       (int)ctx->args[4] == 0, -1, -1);
}

char LICENSE[] SEC("license") = "GPL";
