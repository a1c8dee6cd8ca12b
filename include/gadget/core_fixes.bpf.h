/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One name for what kernels have called differently over time.
 *
 * A struct with a suffix of three underscores is a flavour: CO-RE compares it
 * with the kernel's struct of the name before the suffix, and lists here only
 * the members of one age of it.
 */
#ifndef __GADGET_CORE_FIXES_BPF_H
#define __GADGET_CORE_FIXES_BPF_H

#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/*
 * bpf_core_unreachable: the verifier refuses the program unless this is dead
 * code. The helper does not exist; libbpf poisons failed relocations with the
 * same number, so the message that users see is a known one.
 */
#define __GADGET_BAD_RELO_HELPER 0xbad2310
static __always_inline void bpf_core_unreachable(void)
{
	void (*bad_relo)(void) = (void (*)(void))__GADGET_BAD_RELO_HELPER;

	bad_relo();
}

/* task_struct: `state` became `__state` in 5.14. */
struct task_struct___o {
	volatile long state;
} __attribute__((preserve_access_index));

struct task_struct___x {
	unsigned int __state;
} __attribute__((preserve_access_index));

static __always_inline __s64 get_task_state(void *task)
{
	struct task_struct___x *now = task;
	struct task_struct___o *before = task;

	if (bpf_core_field_exists(now->__state))
		return BPF_CORE_READ(now, __state);
	return BPF_CORE_READ(before, state);
}

/* bio: `bi_disk` became `bi_bdev` in 5.12. */
struct bio___o {
	struct gendisk *bi_disk;
} __attribute__((preserve_access_index));

struct bio___x {
	struct block_device *bi_bdev;
} __attribute__((preserve_access_index));

static __always_inline struct gendisk *get_gendisk(void *bio)
{
	struct bio___x *now = bio;
	struct bio___o *before = bio;

	if (bpf_core_field_exists(now->bi_bdev))
		return BPF_CORE_READ(now, bi_bdev, bd_disk);
	return BPF_CORE_READ(before, bi_disk);
}

/* The two tracepoints of completed requests have had separate structs since 5.17. */
struct trace_event_raw_block_rq_complete___x {
	dev_t dev;
	sector_t sector;
	unsigned int nr_sector;
} __attribute__((preserve_access_index));

struct trace_event_raw_block_rq_completion___x {
	dev_t dev;
	sector_t sector;
	unsigned int nr_sector;
} __attribute__((preserve_access_index));

static __always_inline bool has_block_rq_completion(void)
{
	return bpf_core_type_exists(
		struct trace_event_raw_block_rq_completion___x);
}

/* request: the disk moved from it to its queue in 5.17. */
struct request_queue___x {
	struct gendisk *disk;
} __attribute__((preserve_access_index));

struct request___x {
	struct request_queue___x *q;
	struct gendisk *rq_disk;
} __attribute__((preserve_access_index));

static __always_inline struct gendisk *get_disk(void *request)
{
	struct request___x *r = request;

	if (bpf_core_field_exists(r->rq_disk))
		return BPF_CORE_READ(r, rq_disk);
	return BPF_CORE_READ(r, q, disk);
}

/*
 * block_rq_insert, block_rq_issue: before 5.11 the queue came before the request;
 * some releases of 5.10 are like 5.11.
 */
typedef void (*btf_trace_block_rq_insert___queue)(void *data, struct request_queue *queue,
						  struct request *request);

static __always_inline __u64 gadget_queued_request(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 request;

	/* The barriers keep the compiler from choosing an address first, which the verifier refuses. */
	if (bpf_core_type_exists(btf_trace_block_rq_insert___queue)) {
		request = ctx->args[1];
		barrier_var(request);
	} else {
		request = ctx->args[0];
		barrier_var(request);
	}
	return request;
}

/*
 * renamedata: has this member from 5.12 to 6.2. Functions of the VFS that take
 * a user namespace as their first argument do so for as long.
 */
struct renamedata___x {
	struct user_namespace *old_mnt_userns;
} __attribute__((preserve_access_index));

static __always_inline bool renamedata_has_old_mnt_userns_field(void)
{
	return bpf_core_field_exists(struct renamedata___x, old_mnt_userns);
}

/* kfree and kmem_cache_free had one struct, kmem_free, before 5.13. */
struct trace_event_raw_kmem_free___x {
	const void *ptr;
} __attribute__((preserve_access_index));

struct trace_event_raw_kfree___x {
	const void *ptr;
} __attribute__((preserve_access_index));

struct trace_event_raw_kmem_cache_free___x {
	const void *ptr;
} __attribute__((preserve_access_index));

static __always_inline bool has_kfree(void)
{
	return bpf_core_type_exists(struct trace_event_raw_kfree___x);
}

static __always_inline bool has_kmem_cache_free(void)
{
	return bpf_core_type_exists(struct trace_event_raw_kmem_cache_free___x);
}

/* tcp_retransmit_skb shared a struct with other tracepoints before 6.15. */
struct trace_event_raw_tcp_retransmit_skb___x {
	const void *skbaddr;
	const void *skaddr;
} __attribute__((preserve_access_index));

static __always_inline void *gadget_get_tcp_retransmit_skb_skbaddr(void *ctx)
{
	struct trace_event_raw_tcp_retransmit_skb___x *own = ctx;
	struct trace_event_raw_tcp_event_sk_skb *shared = ctx;

	if (bpf_core_type_exists(struct trace_event_raw_tcp_retransmit_skb___x))
		return (void *)BPF_CORE_READ(own, skbaddr);
	return (void *)BPF_CORE_READ(shared, skbaddr);
}

static __always_inline void *gadget_get_tcp_retransmit_skb_skaddr(void *ctx)
{
	struct trace_event_raw_tcp_retransmit_skb___x *own = ctx;
	struct trace_event_raw_tcp_event_sk_skb *shared = ctx;

	if (bpf_core_type_exists(struct trace_event_raw_tcp_retransmit_skb___x))
		return (void *)BPF_CORE_READ(own, skaddr);
	return (void *)BPF_CORE_READ(shared, skaddr);
}

/* inode: the change time was renamed in 6.6 and split into two in 6.11. */
struct inode___older_v66 {
	struct timespec64 i_ctime;
} __attribute__((preserve_access_index));

struct inode___older_v611 {
	struct timespec64 __i_ctime;
} __attribute__((preserve_access_index));

struct inode___v611 {
	__s64 i_ctime_sec;
	__u32 i_ctime_nsec;
} __attribute__((preserve_access_index));

/*
 * gadget_get_ctime_nanosec_from_inode: change time in nanoseconds since the
 * epoch, 0 for times before it. Since 6.13 the highest bit of the nanoseconds
 * is a flag of the kernel's (I_CTIME_QUERIED).
 */
static __always_inline __u64
gadget_get_ctime_nanosec_from_inode(struct inode *inode)
{
	struct inode___v611 *v611 = (void *)inode;
	struct inode___older_v611 *older_v611 = (void *)inode;
	struct inode___older_v66 *older_v66 = (void *)inode;
	__u64 nsec;
	__s64 sec;

	if (bpf_core_field_exists(v611->i_ctime_sec)) {
		sec = BPF_CORE_READ(v611, i_ctime_sec);
		nsec = BPF_CORE_READ(v611, i_ctime_nsec);
	} else if (bpf_core_field_exists(older_v611->__i_ctime)) {
		sec = BPF_CORE_READ(older_v611, __i_ctime.tv_sec);
		nsec = BPF_CORE_READ(older_v611, __i_ctime.tv_nsec);
	} else {
		sec = BPF_CORE_READ(older_v66, i_ctime.tv_sec);
		nsec = BPF_CORE_READ(older_v66, i_ctime.tv_nsec);
	}
	if (sec < 0)
		return 0;
	return (__u64)sec * 1000000000ULL + (nsec & ~(1U << 31));
}

/* gadget_get_syscall_nr: number of the system call that `regs` belong to. */
static __always_inline long gadget_get_syscall_nr(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(regs, orig_ax);
#elif defined(__TARGET_ARCH_arm64)
	return BPF_CORE_READ(regs, syscallno);
#else
	return -1;
#endif
}

/* gadget_get_syscall_arg: its argument number `id`, 1 to 6. */
static __always_inline unsigned long
gadget_get_syscall_arg(struct pt_regs *regs, int id)
{
	switch (id) {
	case 1:
		return PT_REGS_PARM1_CORE_SYSCALL(regs);
	case 2:
		return PT_REGS_PARM2_CORE_SYSCALL(regs);
	case 3:
		return PT_REGS_PARM3_CORE_SYSCALL(regs);
	case 4:
		return PT_REGS_PARM4_CORE_SYSCALL(regs);
	case 5:
		return PT_REGS_PARM5_CORE_SYSCALL(regs);
	case 6:
		return PT_REGS_PARM6_CORE_SYSCALL(regs);
	default:
		return 0;
	}
}

#endif /* __GADGET_CORE_FIXES_BPF_H */
