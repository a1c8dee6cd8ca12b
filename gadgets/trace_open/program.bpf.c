// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_open: one event for each open() and openat() that has returned.
 *
 * The arguments are only there when the call begins, the result when it
 * returns, so the first tracepoint leaves them in a map for the second.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filesystem.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>
#include <gadget/user_stack_map.h>

#define NAME_MAX 255

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	gadget_errno error_raw;
	__u32 fd;
	gadget_file_flags flags_raw;
	gadget_file_mode mode_raw;
	struct gadget_user_stack ustack;
	char fname[NAME_MAX];
	char fpath[GADGET_PATH_MAX];
};

/* A call that has not returned yet. */
struct args {
	const char *fname;
	gadget_mntns_id mntns_id;
	int flags;
	__u16 mode;
};

const volatile bool targ_failed = false;
GADGET_PARAM(targ_failed);

const volatile bool paths = false;
GADGET_PARAM(paths);

/* By thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, struct args);
} start SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(open, events, event);

static __always_inline int enter(const char *fname, int flags, __u16 mode)
{
	/* Looked up once, for the filter and for the event. */
	gadget_mntns_id mntns_id = gadget_get_current_mntns_id();
	struct args args;
	__u32 tid;

	if (gadget_should_discard_data_current_in(mntns_id))
		return 0;

	/* With its padding: old kernels let no uninitialised stack into a map. */
	__builtin_memset(&args, 0, sizeof(args));
	args.fname = fname;
	args.mntns_id = mntns_id;
	args.flags = flags;
	args.mode = mode;
	tid = (__u32)bpf_get_current_pid_tgid();
	bpf_map_update_elem(&start, &tid, &args, BPF_ANY);
	return 0;
}

/*
 * Send the event. Without paths it ends with the name, which is mostly short:
 * so the buffer has room for twice as many. What a record lacks the reader
 * takes as zero.
 */
static __always_inline void submit(void *ctx, const struct args *args, long ret)
{
	__u64 size = sizeof(struct event);
	struct event *event;
	__u32 zero = 0;
	long len;

	/* Reserving takes a size that is known before. */
	event = bpf_map_lookup_elem(&gadget_heap, &zero);
	if (!event)
		return;

	/* What is behind the end of the strings is of an earlier event. */
	if (paths)
		__builtin_memset(event->fname, 0,
				 sizeof(*event) - offsetof(struct event, fname));

	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_process_populate_in(&event->proc, args->mntns_id);
	gadget_get_user_stack_from_tracepoint(ctx, &event->ustack);
	event->flags_raw = args->flags;
	event->mode_raw = args->mode;
	/*
	 * Only now: the kernel has read the name since, so that its page is
	 * there even if it was not when the call began.
	 */
	len = bpf_probe_read_user_str(event->fname, sizeof(event->fname),
				      args->fname);
	if (len <= 0 || len > (long)sizeof(event->fname)) {
		event->fname[0] = '\0';
		len = 1;
	}
	if (ret >= 0) {
		event->error_raw = 0;
		event->fd = ret;
		if (paths)
			read_full_path_of_open_file_fd(ret, event->fpath,
						       sizeof(event->fpath));
	} else {
		event->error_raw = -ret;
		event->fd = 0;
	}

	if (!paths)
		size = offsetof(struct event, fname) + len;
	gadget_output_buf(ctx, &events, event, size);
}

static __always_inline int leave(struct syscall_trace_exit *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct args *args = bpf_map_lookup_elem(&start, &tid);

	if (!args)
		return 0;

	if (!targ_failed || ctx->ret < 0)
		submit(ctx, args, ctx->ret);
	bpf_map_delete_elem(&start, &tid);
	return 0;
}

/* arm64 has only openat. */
#ifndef __TARGET_ARCH_arm64
SEC("tracepoint/syscalls/sys_enter_open")
int ig_open_e(struct syscall_trace_enter *ctx)
{
	return enter((const char *)ctx->args[0], (int)ctx->args[1],
		     (__u16)ctx->args[2]);
}
#endif

SEC("tracepoint/syscalls/sys_enter_openat")
int ig_openat_e(struct syscall_trace_enter *ctx)
{
	return enter((const char *)ctx->args[1], (int)ctx->args[2],
		     (__u16)ctx->args[3]);
}

#ifndef __TARGET_ARCH_arm64
SEC("tracepoint/syscalls/sys_exit_open")
int ig_open_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx);
}
#endif

SEC("tracepoint/syscalls/sys_exit_openat")
int ig_openat_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx);
}

char LICENSE[] SEC("license") = "GPL";
