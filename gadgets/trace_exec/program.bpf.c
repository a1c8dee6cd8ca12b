// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_exec: one event for each execve() and execveat().
 *
 * The event is begun when the call begins and is kept in a map under the id
 * of the calling thread. A call that succeeds passes sched_process_exec, where
 * the event is completed from the new program, sent and forgotten. An
 * event that is still there when the call returns is that of a failure.
 *
 * Both ends are needed: a thread that is not the first of its process returns
 * from a successful call under another id.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define GADGET_NO_BUF_RESERVE
#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/core_fixes.bpf.h>
#include <gadget/filesystem.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#define ARGSIZE 256
#define TOTAL_MAX_ARGS 20
#define FULL_MAX_ARGS_ARR (TOTAL_MAX_ARGS * ARGSIZE)
#define LAST_ARG (FULL_MAX_ARGS_ARR - ARGSIZE)

#define OVERLAYFS_SUPER_MAGIC 0x794c7630

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	gadget_uid loginuid;
	__u32 sessionid;
	gadget_errno error_raw;
	int args_count;
	int tty;
	unsigned int tty_major;
	unsigned int tty_minor;
	bool from_rootfs;
	bool file_from_rootfs;
	bool upper_layer;
	bool fupper_layer;
	bool pupper_layer;
	unsigned int args_size;
	char cwd[GADGET_PATH_MAX];
	char file[GADGET_PATH_MAX];
	unsigned int dev_major;
	unsigned int dev_minor;
	unsigned long inode;
	__u64 ctime;
	__u64 fctime;
	__u64 pctime;
	char exepath[GADGET_PATH_MAX];
	char parent_exepath[GADGET_PATH_MAX];
	/* Last, because only what is used of it is sent. */
	char args[FULL_MAX_ARGS_ARR];
};

#define BASE_EVENT_SIZE offsetof(struct event, args)

const volatile bool ignore_failed = true;
GADGET_PARAM(ignore_failed);

const volatile bool paths = false;
GADGET_PARAM(paths);

static const struct event empty_event = {};

/* All three by the id of the thread that began the call. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, pid_t);
	__type(value, struct event);
} execs SEC(".maps");

/* The check of the file has been seen; it is repeated for an interpreter. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, pid_t);
	__type(value, __u8);
} security_bprm_hit_map SEC(".maps");

/* argv in the memory of the caller. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, pid_t);
	__type(value, __u64);
} exec_argv SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(exec, events, event);

static __always_inline void forget(pid_t tid)
{
	bpf_map_delete_elem(&execs, &tid);
	bpf_map_delete_elem(&exec_argv, &tid);
	bpf_map_delete_elem(&security_bprm_hit_map, &tid);
}

/*
 * Whether the file is in the layer of an overlay that takes the changes, which
 * in a container means that it was not in the image.
 */
static __always_inline bool has_upper_layer(struct inode *inode)
{
	struct dentry *upper = NULL;

	if (BPF_CORE_READ(inode, i_sb, s_magic) != OVERLAYFS_SUPER_MAGIC)
		return false;
	/*
	 * An inode of an overlay is part of a struct ovl_inode, which has
	 * __upperdentry as its next member. The struct is in the BTF of a
	 * module, which need not be at hand, so its offsets are not used.
	 */
	bpf_probe_read_kernel(&upper, sizeof(upper),
			      (void *)inode + bpf_core_type_size(struct inode));
	return upper != NULL;
}

/* Whether the file is in the file system of the task's root, not in a volume. */
static __always_inline bool is_from_rootfs(struct task_struct *task,
					   struct file *file)
{
	return BPF_CORE_READ(file, f_path.mnt) ==
	       BPF_CORE_READ(task, fs, root.mnt);
}

static __always_inline void read_path(char *dest, struct path *path)
{
	void *string = get_path_str(path);

	if (string)
		bpf_probe_read_kernel_str(dest, GADGET_PATH_MAX, string);
}

static __always_inline void read_file_path(char *dest, struct file *file)
{
	if (file)
		read_path(dest, __builtin_preserve_access_index(&file->f_path));
}

/* What the file that was asked for is, which for a script is the script. */
static __always_inline void fill_file(struct event *event,
				      struct task_struct *task,
				      struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	dev_t dev;

	event->file_from_rootfs = is_from_rootfs(task, file);
	event->fupper_layer = has_upper_layer(inode);
	event->fctime = gadget_get_ctime_nanosec_from_inode(inode);
	if (paths) {
		read_file_path(event->file, file);
		dev = BPF_CORE_READ(inode, i_sb, s_dev);
		event->dev_major = dev >> 20;
		event->dev_minor = dev & 0xfffff;
		event->inode = BPF_CORE_READ(inode, i_ino);
	}
}

static __always_inline void fill_tty(struct event *event,
				     struct task_struct *task)
{
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);
	struct tty_driver *driver;

	if (!tty)
		return;
	driver = BPF_CORE_READ(tty, driver);
	event->tty = BPF_CORE_READ(tty, index);
	event->tty_major = BPF_CORE_READ(driver, major);
	event->tty_minor = BPF_CORE_READ(driver, minor_start) + event->tty;
}

static __always_inline int enter(__u64 argv)
{
	struct task_struct *task;
	struct event *event;
	pid_t tid;

	if (gadget_should_discard_data_current())
		return 0;

	/* Anything left is of a call whose end was missed: begin anew. */
	tid = (pid_t)bpf_get_current_pid_tgid();
	bpf_map_delete_elem(&security_bprm_hit_map, &tid);
	if (bpf_map_update_elem(&execs, &tid, &empty_event, BPF_ANY))
		return 0;
	event = bpf_map_lookup_elem(&execs, &tid);
	if (!event)
		return 0;
	bpf_map_update_elem(&exec_argv, &tid, &argv, BPF_ANY);

	task = (struct task_struct *)bpf_get_current_task();
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	/* The kernel's own values for "not set", if it has no audit. */
	event->loginuid = -1;
	event->sessionid = -1;
	if (bpf_core_field_exists(task->loginuid))
		event->loginuid = BPF_CORE_READ(task, loginuid.val);
	if (bpf_core_field_exists(task->sessionid))
		event->sessionid = BPF_CORE_READ(task, sessionid);
	fill_tty(event, task);
	if (paths) {
		struct fs_struct *fs = BPF_CORE_READ(task, fs);

		read_path(event->cwd, __builtin_preserve_access_index(&fs->pwd));
	}
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_execve")
int ig_execve_e(struct syscall_trace_enter *ctx)
{
	return enter(ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_enter_execveat")
int ig_execveat_e(struct syscall_trace_enter *ctx)
{
	return enter(ctx->args[2]);
}

SEC("kprobe/security_bprm_check")
int BPF_KPROBE(security_bprm_check, struct linux_binprm *bprm)
{
	pid_t tid = (pid_t)bpf_get_current_pid_tgid();
	struct event *event = bpf_map_lookup_elem(&execs, &tid);
	struct file *file;
	__u8 hit = 1;

	if (!event)
		return 0;
	if (bpf_map_update_elem(&security_bprm_hit_map, &tid, &hit,
				BPF_NOEXIST))
		return 0;

	file = BPF_CORE_READ(bprm, file);
	fill_file(event, (struct task_struct *)bpf_get_current_task(), file);
	return 0;
}

/* The arguments as the new program gets them: NUL after each. */
static __always_inline void fill_new_args(struct event *event,
					  struct mm_struct *mm)
{
	unsigned long begin = BPF_CORE_READ(mm, arg_start);
	unsigned long end = BPF_CORE_READ(mm, arg_end);
	unsigned long size = end - begin;

	if (size > FULL_MAX_ARGS_ARR)
		size = FULL_MAX_ARGS_ARR;
	if (bpf_probe_read_user(event->args, size, (void *)begin))
		size = 0;
	event->args_size = size;
	event->args_count = size;
}

SEC("tracepoint/sched/sched_process_exec")
int ig_sched_exec(struct trace_event_raw_sched_process_exec *ctx)
{
	struct task_struct *task, *parent;
	struct file *exe, *parent_exe;
	pid_t tid = ctx->old_pid;
	struct event *event;
	struct inode *inode;
	struct mm_struct *mm;
	__u32 size;

	event = bpf_map_lookup_elem(&execs, &tid);
	if (!event)
		return 0;

	task = (struct task_struct *)bpf_get_current_task();
	mm = BPF_CORE_READ(task, mm);
	exe = BPF_CORE_READ(mm, exe_file);
	inode = BPF_CORE_READ(exe, f_inode);
	event->from_rootfs = is_from_rootfs(task, exe);
	event->upper_layer = has_upper_layer(inode);
	event->ctime = gadget_get_ctime_nanosec_from_inode(inode);

	/*
	 * Where security_bprm_check cannot be probed: the file is the program
	 * that runs, unless it was a script.
	 */
	if (!bpf_map_lookup_elem(&security_bprm_hit_map, &tid))
		fill_file(event, task, exe);

	parent = BPF_CORE_READ(task, real_parent);
	parent_exe = BPF_CORE_READ(parent, mm, exe_file);
	inode = BPF_CORE_READ(parent_exe, f_inode);
	event->pupper_layer = has_upper_layer(inode);
	event->pctime = gadget_get_ctime_nanosec_from_inode(inode);

	if (paths) {
		read_file_path(event->exepath, exe);
		read_file_path(event->parent_exepath, parent_exe);
	}

	event->error_raw = 0;
	gadget_process_populate(&event->proc);
	fill_new_args(event, mm);

	size = event->args_size;
	if (size <= FULL_MAX_ARGS_ARR)
		gadget_output_buf(ctx, &events, event, BASE_EVENT_SIZE + size);
	forget(tid);
	return 0;
}

/* The arguments from where the caller has them, in the form of fill_new_args. */
static __always_inline void fill_callers_args(struct event *event,
					      const char **argv)
{
	const char *arg = NULL;
	__u32 size = 0;
	long read;
	int i;

	/* A first one there is always, be it empty. */
	bpf_probe_read_user(&arg, sizeof(arg), &argv[0]);
	read = bpf_probe_read_user_str(event->args, ARGSIZE, arg);
	if (read > 0 && read <= ARGSIZE) {
		size = read;
	} else {
		event->args[0] = '\0';
		size = 1;
	}
	event->args_count = 1;

	for (i = 1; i < TOTAL_MAX_ARGS; i++) {
		arg = NULL;
		bpf_probe_read_user(&arg, sizeof(arg), &argv[i]);
		if (!arg || size > LAST_ARG)
			goto out;
		read = bpf_probe_read_user_str(&event->args[size], ARGSIZE, arg);
		if (read <= 0 || read > ARGSIZE)
			goto out;
		event->args_count++;
		size += read;
	}

	/* Show that there are more. */
	arg = NULL;
	bpf_probe_read_user(&arg, sizeof(arg), &argv[TOTAL_MAX_ARGS]);
	if (arg)
		event->args_count++;
out:
	event->args_size = size;
}

static __always_inline int leave(struct syscall_trace_exit *ctx)
{
	pid_t tid = (pid_t)bpf_get_current_pid_tgid();
	struct task_struct *task;
	struct event *event;
	__u64 *argv;
	__u32 size;

	event = bpf_map_lookup_elem(&execs, &tid);
	if (!event)
		return 0;
	if (ignore_failed)
		goto cleanup;
	argv = bpf_map_lookup_elem(&exec_argv, &tid);
	if (!argv)
		goto cleanup;

	event->error_raw = -ctx->ret;
	gadget_process_populate(&event->proc);
	fill_callers_args(event, (const char **)*argv);
	if (paths) {
		task = (struct task_struct *)bpf_get_current_task();
		read_file_path(event->exepath, BPF_CORE_READ(task, mm, exe_file));
	}

	size = event->args_size;
	if (size <= FULL_MAX_ARGS_ARR)
		gadget_output_buf(ctx, &events, event, BASE_EVENT_SIZE + size);
cleanup:
	forget(tid);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_execve")
int ig_execve_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx);
}

SEC("tracepoint/syscalls/sys_exit_execveat")
int ig_execveat_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx);
}

char LICENSE[] SEC("license") = "GPL";
