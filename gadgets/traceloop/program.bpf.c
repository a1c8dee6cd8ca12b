// SPDX-License-Identifier: GPL-2.0-only
/*
 * traceloop: a flight recorder of system calls, one for each container.
 *
 * The records go into a perf buffer of the container's own that overwrites the
 * oldest ones. The gadget's wasm module makes these buffers and reads them when
 * the gadget ends; it also says which arguments of which calls point to
 * something that is worth a record of its own.
 *
 * A call leaves a record when it begins, one when it returns, and continuations
 * with what its arguments point to. They belong together by the time at which
 * the call began.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <gadget/core_fixes.bpf.h>
#include <gadget/mntns.h>
#include <gadget/mntns_filter.h>
#include <gadget/types.h>

#define ARGS 6
#define PARAM_LEN 128

/* How much an argument points to. What is none of these is a number of bytes. */
#define USE_NULL_BYTE_LENGTH 0x0fffffffffffffffULL
#define USE_RET_AS_PARAM_LENGTH 0x0ffffffffffffffeULL
#define USE_ARG_AS_PARAM_LENGTH 0x0ffffffffffffff0ULL
/* Set if it is there only when the call returns. */
#define PARAM_PROBE_AT_EXIT_MASK 0xf000000000000000ULL

/* Calls that do not return. */
#ifdef __TARGET_ARCH_arm64
#define NR_exit 93
#define NR_exit_group 94
#define NR_rt_sigreturn 139
#define TIF_32BIT 22
#else
#define NR_exit 60
#define NR_exit_group 231
#define NR_rt_sigreturn 15
#define TS_COMPAT 0x0002
#endif

enum record_type {
	ENTER,
	EXIT,
	CONTINUATION,
};

/* Both records have the same size: they are read without knowing which it is. */
#define RECORD_SIZE 160

struct call_record {
	__u32 type;
	/* Of an exit, the result in the first. */
	__u64 args[ARGS];
	__u64 monotonic_ts;
	__u64 boot_ts;
	__u32 pid;
	__u16 cpu;
	__u16 id;
	char comm[TASK_COMM_LEN];
	__u8 unused[64];
};

struct continuation_record {
	__u32 type;
	__u8 param[PARAM_LEN];
	__u64 monotonic_ts;
	/* Bytes that there are, of which param has the first. */
	__u64 length;
	__u8 index;
	__u8 failed;
	__u16 unused;
	__u32 pid;
};

_Static_assert(sizeof(struct call_record) == RECORD_SIZE, "size");
_Static_assert(sizeof(struct continuation_record) == RECORD_SIZE, "size");

struct syscall_def {
	__u64 args_len[ARGS];
};

/* A call that has not returned yet. */
struct remembered {
	__u64 monotonic_ts;
	__u64 nr;
	__u64 args[ARGS];
};

/* The buffer of each container. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 1024);
	__type(key, gadget_mntns_id);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
		__uint(key_size, sizeof(__u32));
		__uint(value_size, sizeof(__u32));
	});
} map_of_perf_buffers SEC(".maps");

/* What to read, by number. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, struct syscall_def);
} syscalls SEC(".maps");

/*
 * By thread. Those that are killed in a call do not return from it, and make
 * room at some time.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct remembered);
} probe_at_sys_exit SEC(".maps");

/* The numbers that are asked for, if there is something under 0 in the next. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, bool);
} syscall_filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, bool);
} syscall_enable_filters SEC(".maps");

static __always_inline bool is_asked_for(__u64 nr)
{
	__u32 zero = 0;

	return !bpf_map_lookup_elem(&syscall_enable_filters, &zero) ||
	       bpf_map_lookup_elem(&syscall_filters, &nr);
}

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

static __always_inline void *buffer_of_current(void)
{
	gadget_mntns_id mntns = gadget_get_current_mntns_id();

	return bpf_map_lookup_elem(&map_of_perf_buffers, &mntns);
}

static __always_inline void output(void *ctx, void *buffer, void *record)
{
	bpf_perf_event_output(ctx, buffer, BPF_F_CURRENT_CPU, record,
			      RECORD_SIZE);
}

/* How many bytes an argument points to, besides those up to a NUL. */
static __always_inline __u64 length_of(__u64 code,
				       const struct remembered *call, __s64 ret)
{
	if (code == USE_RET_AS_PARAM_LENGTH)
		return ret < 0 ? 0 : ret;
	if (code < USE_ARG_AS_PARAM_LENGTH)
		return code;
	code -= USE_ARG_AS_PARAM_LENGTH;
	return code < ARGS ? call->args[code] : 0;
}

static __always_inline void read_content(struct continuation_record *record,
					 __u64 code,
					 const struct remembered *call,
					 const void *from, __s64 ret)
{
	__u64 length;
	long read;

	if (code == USE_NULL_BYTE_LENGTH) {
		read = bpf_probe_read_user_str(record->param, PARAM_LEN, from);
		record->failed = read < 0;
		/* Without the NUL; what fills the room may go on. */
		if (read == PARAM_LEN)
			record->length = PARAM_LEN + 1;
		else
			record->length = read <= 0 ? 0 : read - 1;
		return;
	}
	length = length_of(code, call, ret);
	record->length = length;
	if (length > PARAM_LEN)
		length = PARAM_LEN;
	record->failed = bpf_probe_read_user(record->param, length, from) != 0;
}

/*
 * Sends what the arguments point to of which it is time for. The call is one in
 * the map: on the stack the verifier would follow each of its values.
 */
static __always_inline void continuations(void *ctx, void *buffer,
					  const struct remembered *call,
					  __u32 pid, bool at_exit, __s64 ret)
{
	__u64 code, nr = call->nr;
	struct syscall_def *def = bpf_map_lookup_elem(&syscalls, &nr);
	int i;

	/* What a call that fails would have written is not there. */
	if (!def || (at_exit && ret < 0))
		return;
#pragma unroll
	for (i = 0; i < ARGS; i++) {
		struct continuation_record record;

		code = def->args_len[i];
		if (!code || !call->args[i] ||
		    !!(code & PARAM_PROBE_AT_EXIT_MASK) != at_exit)
			continue;
		__builtin_memset(&record, 0, sizeof(record));
		record.type = CONTINUATION;
		record.monotonic_ts = call->monotonic_ts;
		record.pid = pid;
		record.index = i;
		read_content(&record, code & ~PARAM_PROBE_AT_EXIT_MASK, call,
			     (const void *)call->args[i], ret);
		output(ctx, buffer, &record);
	}
}

static __always_inline void send_call(void *ctx, void *buffer,
				      enum record_type type,
				      const struct remembered *call, __u32 pid,
				      __s64 ret)
{
	struct call_record record;

	__builtin_memset(&record, 0, sizeof(record));
	record.type = type;
	if (type == EXIT)
		record.args[0] = ret;
	else
		__builtin_memcpy(record.args, call->args, sizeof(record.args));
	record.monotonic_ts = call->monotonic_ts;
	record.boot_ts = bpf_ktime_get_boot_ns();
	record.pid = pid;
	record.cpu = bpf_get_smp_processor_id();
	record.id = call->nr;
	bpf_get_current_comm(record.comm, sizeof(record.comm));
	output(ctx, buffer, &record);
}

SEC("raw_tracepoint/sys_enter")
int ig_traceloop_e(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct remembered call, *known;
	__u64 nr = ctx->args[1];
	void *buffer;

	if (!is_asked_for(nr))
		return 0;
	buffer = buffer_of_current();
	if (!buffer || is_compat())
		return 0;

	call.monotonic_ts = bpf_ktime_get_ns();
	call.nr = nr;
	call.args[0] = gadget_get_syscall_arg(regs, 1);
	call.args[1] = gadget_get_syscall_arg(regs, 2);
	call.args[2] = gadget_get_syscall_arg(regs, 3);
	call.args[3] = gadget_get_syscall_arg(regs, 4);
	call.args[4] = gadget_get_syscall_arg(regs, 5);
	call.args[5] = gadget_get_syscall_arg(regs, 6);
	send_call(ctx, buffer, ENTER, &call, pid_tgid >> 32, 0);

	if (nr == NR_exit || nr == NR_exit_group || nr == NR_rt_sigreturn)
		return 0;
	bpf_map_update_elem(&probe_at_sys_exit, &pid_tgid, &call, BPF_ANY);
	known = bpf_map_lookup_elem(&probe_at_sys_exit, &pid_tgid);
	if (known)
		continuations(ctx, buffer, known, pid_tgid >> 32, false, 0);
	return 0;
}

SEC("raw_tracepoint/sys_exit")
int ig_traceloop_x(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct remembered *call;
	__s64 ret = ctx->args[1];
	void *buffer;

	call = bpf_map_lookup_elem(&probe_at_sys_exit, &pid_tgid);
	if (!call)
		return 0;
	buffer = buffer_of_current();
	if (buffer) {
		send_call(ctx, buffer, EXIT, call, pid_tgid >> 32, ret);
		continuations(ctx, buffer, call, pid_tgid >> 32, true, ret);
	}
	bpf_map_delete_elem(&probe_at_sys_exit, &pid_tgid);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
