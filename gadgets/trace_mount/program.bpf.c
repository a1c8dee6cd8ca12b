// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_mount: one event for each mount() and umount2() that has returned.
 *
 * The arguments are only there when the call begins, the result when it
 * returns, so the first tracepoint leaves them in a map for the second.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#define FS_NAME_LEN 8
#define DATA_LEN 512
#define PATH_LEN 512

enum op {
	MOUNT,
	UMOUNT,
};

enum flags_set : __u64 {
	MS_RDONLY = 0x00000001,
	MS_NOSUID = 0x00000002,
	MS_NODEV = 0x00000004,
	MS_NOEXEC = 0x00000008,
	MS_SYNCHRONOUS = 0x00000010,
	MS_REMOUNT = 0x00000020,
	MS_MANDLOCK = 0x00000040,
	MS_DIRSYNC = 0x00000080,
	MS_NOSYMFOLLOW = 0x00000100,
	MS_NOATIME = 0x00000200,
	MS_NODIRATIME = 0x00000400,
	MS_BIND = 0x00000800,
	MS_MOVE = 0x00001000,
	MS_REC = 0x00002000,
	MS_VERBOSE = 0x00004000,
	MS_SILENT = 0x00008000,
	MS_POSIXACL = 0x00010000,
	MS_UNBINDABLE = 0x00020000,
	MS_PRIVATE = 0x00040000,
	MS_SLAVE = 0x00080000,
	MS_SHARED = 0x00100000,
	MS_RELATIME = 0x00200000,
	MS_KERNMOUNT = 0x00400000,
	MS_I_VERSION = 0x00800000,
	MS_STRICTATIME = 0x01000000,
	MS_LAZYTIME = 0x02000000,
	MS_SUBMOUNT = 0x04000000,
	MS_NOREMOTELOCK = 0x08000000,
	MS_NOSEC = 0x10000000,
	MS_BORN = 0x20000000,
	MS_ACTIVE = 0x40000000,
	MS_NOUSER = 0x80000000,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	gadget_duration delta_raw;
	enum flags_set flags_raw;
	gadget_errno error_raw;
	char fs[FS_NAME_LEN];
	char src[PATH_LEN];
	char dest[PATH_LEN];
	char data[DATA_LEN];
	enum op op_raw;
};

/* A call that has not returned yet. */
struct args {
	__u64 ts;
	__u64 flags;
	const char *src;
	const char *dest;
	const char *fs;
	const char *data;
	enum op op;
};

/* By thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct args);
} args SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(mount, events, event);

static __always_inline int enter(const char *src, const char *dest,
				 const char *fs, __u64 flags, const char *data,
				 enum op op)
{
	struct args arg;
	__u32 tid;

	if (gadget_should_discard_data_current())
		return 0;

	/* With its padding: old kernels let no uninitialised stack into a map. */
	__builtin_memset(&arg, 0, sizeof(arg));
	arg.ts = bpf_ktime_get_boot_ns();
	arg.flags = flags;
	arg.src = src;
	arg.dest = dest;
	arg.fs = fs;
	arg.data = data;
	arg.op = op;
	tid = (__u32)bpf_get_current_pid_tgid();
	bpf_map_update_elem(&args, &tid, &arg, BPF_ANY);
	return 0;
}

static __always_inline void read_text(char *to, __u32 size, const char *from)
{
	if (!from || bpf_probe_read_user_str(to, size, from) <= 0)
		to[0] = '\0';
}

static __always_inline int leave(struct syscall_trace_exit *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct args *arg = bpf_map_lookup_elem(&args, &tid);
	struct event *event;

	if (!arg)
		return 0;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		goto cleanup;

	/* What is behind the end of the strings is of an earlier event. */
	__builtin_memset(event->fs, 0, sizeof(event->fs));
	event->timestamp_raw = arg->ts;
	gadget_process_populate(&event->proc);
	event->delta_raw = bpf_ktime_get_boot_ns() - arg->ts;
	event->flags_raw = arg->flags;
	event->error_raw = ctx->ret < 0 ? -ctx->ret : 0;
	event->op_raw = arg->op;
	read_text(event->src, sizeof(event->src), arg->src);
	read_text(event->dest, sizeof(event->dest), arg->dest);
	read_text(event->fs, sizeof(event->fs), arg->fs);
	read_text(event->data, sizeof(event->data), arg->data);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));

cleanup:
	bpf_map_delete_elem(&args, &tid);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_mount")
int ig_mount_e(struct syscall_trace_enter *ctx)
{
	return enter((const char *)ctx->args[0], (const char *)ctx->args[1],
		     (const char *)ctx->args[2], (__u64)ctx->args[3],
		     (const char *)ctx->args[4], MOUNT);
}

SEC("tracepoint/syscalls/sys_exit_mount")
int ig_mount_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx);
}

/* The tracepoint of umount2(). */
SEC("tracepoint/syscalls/sys_enter_umount")
int ig_umount_e(struct syscall_trace_enter *ctx)
{
	return enter(NULL, (const char *)ctx->args[0], NULL,
		     (__u64)ctx->args[1], NULL, UMOUNT);
}

SEC("tracepoint/syscalls/sys_exit_umount")
int ig_umount_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx);
}

char LICENSE[] SEC("license") = "GPL";
