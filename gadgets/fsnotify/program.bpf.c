// SPDX-License-Identifier: GPL-2.0-only
/*
 * fsnotify: one event for each notification of inotify or fanotify that a
 * process reads, with who caused it (the tracee) and who reads it (the tracer).
 *
 * What the kernel calls an event is queued in the context of the tracee and
 * taken from the queue in that of the tracer. In between a record is kept under
 * the event's address. What kind it is, and which inodes it is about, only the
 * function knows that makes it, so that leaves a note for the one that queues.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/filesystem.h>
#include <gadget/macros.h>
#include <gadget/mntns.h>
#include <gadget/mntns_filter.h>
#include <gadget/types.h>

#define NAME_LEN 512
/* Of an event that asks for permission: somebody has answered. */
#define FAN_EVENT_ANSWERED 2
#define FAN_RESPONSE_MASK 0x3
#define NO_FA_TYPE ((enum fanotify_event_type)-1)

enum type {
	unknown,
	dnotify,
	inotify,
	fanotify,
	fa_resp,
};

enum fa_response {
	na,
	allow,
	deny,
	interrupted,
};

enum i_mask_set : __u32 {
	IN_ACCESS = 0x00000001,
	IN_MODIFY = 0x00000002,
	IN_ATTRIB = 0x00000004,
	IN_CLOSE_WRITE = 0x00000008,
	IN_CLOSE_NOWRITE = 0x00000010,
	IN_OPEN = 0x00000020,
	IN_MOVED_FROM = 0x00000040,
	IN_MOVED_TO = 0x00000080,
	IN_CREATE = 0x00000100,
	IN_DELETE = 0x00000200,
	IN_DELETE_SELF = 0x00000400,
	IN_MOVE_SELF = 0x00000800,
	IN_UNMOUNT = 0x00002000,
	IN_Q_OVERFLOW = 0x00004000,
	IN_IGNORED = 0x00008000,
	IN_CLOSE = 0x00000018,
	IN_MOVE = 0x000000c0,
	IN_ONLYDIR = 0x01000000,
	IN_DONT_FOLLOW = 0x02000000,
	IN_EXCL_UNLINK = 0x04000000,
	IN_MASK_CREATE = 0x10000000,
	IN_MASK_ADD = 0x20000000,
	IN_ISDIR = 0x40000000,
	IN_ONESHOT = 0x80000000,
};

enum fa_mask_set : __u32 {
	FAN_ACCESS = 0x00000001,
	FAN_MODIFY = 0x00000002,
	FAN_ATTRIB = 0x00000004,
	FAN_CLOSE_WRITE = 0x00000008,
	FAN_CLOSE_NOWRITE = 0x00000010,
	FAN_OPEN = 0x00000020,
	FAN_MOVED_FROM = 0x00000040,
	FAN_MOVED_TO = 0x00000080,
	FAN_CREATE = 0x00000100,
	FAN_DELETE = 0x00000200,
	FAN_DELETE_SELF = 0x00000400,
	FAN_MOVE_SELF = 0x00000800,
	FAN_OPEN_EXEC = 0x00001000,
	FAN_Q_OVERFLOW = 0x00004000,
	FAN_FS_ERROR = 0x00008000,
	FAN_OPEN_PERM = 0x00010000,
	FAN_ACCESS_PERM = 0x00020000,
	FAN_OPEN_EXEC_PERM = 0x00040000,
	FAN_EVENT_ON_CHILD = 0x08000000,
	FAN_RENAME = 0x10000000,
	FAN_ONDIR = 0x40000000,
};

struct process {
	__u32 ppid;
	__u32 pid;
	__u32 tid;
	char comm[TASK_COMM_LEN];
	char pcomm[TASK_COMM_LEN];
};

struct gadget_event {
	gadget_timestamp timestamp_raw;
	enum type type_raw;
	struct process tracee;
	struct process tracer;
	gadget_mntns_id tracee_mntns_id;
	/* Of another type, so that it is the tracee's container that is told. */
	__u64 tracer_mntns_id;
	gadget_uid tracee_uid_raw;
	gadget_gid tracee_gid_raw;
	gadget_uid tracer_uid_raw;
	gadget_gid tracer_gid_raw;
	__u32 prio;
	enum fa_mask_set fa_mask_raw;
	enum i_mask_set i_mask_raw;
	enum fanotify_event_type fa_type_raw;
	__u32 fa_pid;
	__u32 fa_flags;
	__u32 fa_f_flags;
	enum fa_response fa_response_raw;
	__s32 i_wd;
	__u32 i_cookie;
	__u32 i_ino;
	__u32 i_ino_dir;
	char name[NAME_LEN];
};

const volatile __u64 tracer_group = 0;
GADGET_PARAM(tracer_group);

const volatile int tracer_pid = 0;
GADGET_PARAM(tracer_pid);

const volatile int tracee_pid = 0;
GADGET_PARAM(tracee_pid);

const volatile bool inotify_only = false;
GADGET_PARAM(inotify_only);

const volatile bool fanotify_only = false;
GADGET_PARAM(fanotify_only);

/* What the function that makes an event says of it. */
struct note {
	enum type type;
	__u32 i_ino;
	__u32 i_ino_dir;
};

/* By thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct note);
} fsnotify_insert_event_ctx SEC(".maps");

/* The group whose queue a thread takes an event from. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} fsnotify_remove_first_event_ctx SEC(".maps");

/* Events that are queued or wait for an answer, by their addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct gadget_event);
} enriched_fsnotify_events SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(fsnotify, events, gadget_event);

static const struct gadget_event empty_event;

/* An int before 6.10. */
struct fsnotify_group___int {
	unsigned int priority;
} __attribute__((preserve_access_index));

/* An enum, and not the bits of one, before 5.13. */
struct fanotify_event___enum {
	enum fanotify_event_type type;
} __attribute__((preserve_access_index));

static __always_inline void fill_process(struct process *to)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	to->pid = pid_tgid >> 32;
	to->tid = (__u32)pid_tgid;
	to->ppid = BPF_CORE_READ(parent, tgid);
	bpf_get_current_comm(to->comm, sizeof(to->comm));
	BPF_CORE_READ_STR_INTO(&to->pcomm, parent, comm);
}

static __always_inline void fill_tracee(struct gadget_event *event)
{
	__u64 uid_gid = bpf_get_current_uid_gid();

	fill_process(&event->tracee);
	event->tracee_mntns_id = gadget_get_current_mntns_id();
	event->tracee_uid_raw = (__u32)uid_gid;
	event->tracee_gid_raw = uid_gid >> 32;
}

static __always_inline void fill_tracer(struct gadget_event *event)
{
	__u64 uid_gid = bpf_get_current_uid_gid();

	fill_process(&event->tracer);
	event->tracer_mntns_id = gadget_get_current_mntns_id();
	event->tracer_uid_raw = (__u32)uid_gid;
	event->tracer_gid_raw = uid_gid >> 32;
}

static __always_inline bool is_other(int wanted, __u32 tgid)
{
	return wanted && (__u32)wanted != tgid;
}

static __always_inline int begin(enum type type, struct inode *inode,
				 struct inode *dir)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct note note = { .type = type };

	if (inode)
		note.i_ino = BPF_CORE_READ(inode, i_ino);
	if (dir)
		note.i_ino_dir = BPF_CORE_READ(dir, i_ino);
	bpf_map_update_elem(&fsnotify_insert_event_ctx, &pid_tgid, &note,
			    BPF_ANY);
	return 0;
}

static __always_inline int end(void)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&fsnotify_insert_event_ctx, &pid_tgid);
	return 0;
}

SEC("kprobe/inotify_handle_inode_event")
int BPF_KPROBE(inotify_handle_inode_event_e, struct fsnotify_mark *mark,
	       __u32 mask, struct inode *inode, struct inode *dir)
{
	return begin(inotify, inode, dir);
}

SEC("kretprobe/inotify_handle_inode_event")
int inotify_handle_inode_event_x(struct pt_regs *ctx)
{
	return end();
}

/* Before 5.11. */
SEC("kprobe/inotify_handle_event")
int BPF_KPROBE(inotify_handle_event_e, struct fsnotify_group *group, __u32 mask,
	       const void *data, int data_type, struct inode *dir)
{
	return begin(inotify, NULL, dir);
}

SEC("kretprobe/inotify_handle_event")
int inotify_handle_event_x(struct pt_regs *ctx)
{
	return end();
}

SEC("kprobe/fanotify_handle_event")
int BPF_KPROBE(fanotify_handle_event_e)
{
	return begin(fanotify, NULL, NULL);
}

SEC("kretprobe/fanotify_handle_event")
int fanotify_handle_event_x(struct pt_regs *ctx)
{
	return end();
}

static __always_inline __u32 priority_of(struct fsnotify_group *group)
{
	struct fsnotify_group___int *older = (void *)group;

	if (bpf_core_field_exists(older->priority))
		return BPF_CORE_READ(older, priority);
	if (bpf_core_field_exists(group->priority))
		return BPF_CORE_READ(group, priority);
	return 0;
}

static __always_inline enum fanotify_event_type
fa_type_of(struct fanotify_event *event)
{
	struct fanotify_event___enum *older = (void *)event;

	if (bpf_core_field_exists(older->type))
		return BPF_CORE_READ(older, type);
	if (bpf_core_field_exists(event->type))
		return BPF_CORE_READ_BITFIELD_PROBED(event, type);
	return NO_FA_TYPE;
}

static __always_inline void fill_inotify(struct gadget_event *to,
					 struct inotify_event_info *event)
{
	to->i_mask_raw = BPF_CORE_READ(event, mask);
	to->i_wd = BPF_CORE_READ(event, wd);
	to->i_cookie = BPF_CORE_READ(event, sync_cookie);
	/* Without a name nothing has been written there. */
	if (BPF_CORE_READ(event, name_len) > 0)
		bpf_probe_read_kernel_str(
			to->name, sizeof(to->name),
			__builtin_preserve_access_index(&event->name));
}

static __always_inline void fill_fanotify(struct gadget_event *to,
					  struct fsnotify_group *group,
					  struct fanotify_event *event)
{
	struct fanotify_path_event *of_path = (void *)event;
	struct fanotify_perm_event *of_perm = (void *)event;
	struct path *path = NULL;
	struct pid *pid;
	void *text;

	to->fa_mask_raw = BPF_CORE_READ(event, mask);
	to->fa_type_raw = fa_type_of(event);
	pid = BPF_CORE_READ(event, pid);
	to->fa_pid = BPF_CORE_READ(pid, numbers[0].nr);
	to->fa_flags = BPF_CORE_READ(group, fanotify_data.flags);
	to->fa_f_flags = BPF_CORE_READ(group, fanotify_data.f_flags);
	if (to->fa_type_raw == FANOTIFY_EVENT_TYPE_PATH)
		path = __builtin_preserve_access_index(&of_path->path);
	else if (to->fa_type_raw == FANOTIFY_EVENT_TYPE_PATH_PERM)
		path = __builtin_preserve_access_index(&of_perm->path);
	if (!path)
		return;
	text = get_path_str(path);
	if (text)
		bpf_probe_read_kernel_str(to->name, sizeof(to->name), text);
}

/* An event is queued. Called fsnotify_add_event before 5.16. */
SEC("kprobe/fsnotify_insert_event")
int BPF_KPROBE(fsnotify_insert_event_e, struct fsnotify_group *group,
	       struct fsnotify_event *event)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u64 address = (__u64)event;
	struct gadget_event *record;
	struct note *note;

	note = bpf_map_lookup_elem(&fsnotify_insert_event_ctx, &pid_tgid);
	if (!note || is_other(tracee_pid, pid_tgid >> 32) ||
	    (tracer_group && tracer_group != (__u64)group) ||
	    (inotify_only && note->type != inotify) ||
	    (fanotify_only && note->type != fanotify))
		return 0;

	if (bpf_map_update_elem(&enriched_fsnotify_events, &address,
				&empty_event, BPF_ANY))
		return 0;
	record = bpf_map_lookup_elem(&enriched_fsnotify_events, &address);
	if (!record)
		return 0;
	record->type_raw = note->type;
	record->i_ino = note->i_ino;
	record->i_ino_dir = note->i_ino_dir;
	record->fa_type_raw = NO_FA_TYPE;
	record->prio = priority_of(group);
	fill_tracee(record);
	if (note->type == inotify)
		fill_inotify(record, (struct inotify_event_info *)event);
	else
		fill_fanotify(record, group, (struct fanotify_event *)event);
	return 0;
}

static __always_inline struct gadget_event *
reserve(const struct gadget_event *record)
{
	struct gadget_event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return NULL;
	__builtin_memcpy(event, record, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	return event;
}

/*
 * An event is no longer needed. If it asked for permission, the tracee has
 * waited for the answer and goes on now.
 */
SEC("kprobe/fsnotify_destroy_event")
int BPF_KPROBE(fsnotify_destroy_event, struct fsnotify_group *group,
	       struct fsnotify_event *fsn_event)
{
	struct fanotify_perm_event *perm = (void *)fsn_event;
	__u64 address = (__u64)fsn_event;
	struct gadget_event *record, *event;
	__u32 response;

	record = bpf_map_lookup_elem(&enriched_fsnotify_events, &address);
	if (!record)
		return 0;
	if (record->type_raw == fanotify &&
	    record->fa_type_raw == FANOTIFY_EVENT_TYPE_PATH_PERM &&
	    !is_other(tracer_pid, record->tracer.pid)) {
		event = reserve(record);
		if (event) {
			event->type_raw = fa_resp;
			response = BPF_CORE_READ(perm, response);
			if (BPF_CORE_READ(perm, state) == FAN_EVENT_ANSWERED)
				event->fa_response_raw =
					response & FAN_RESPONSE_MASK;
			else
				event->fa_response_raw = interrupted;
			gadget_submit_buf(ctx, &events, event, sizeof(*event));
		}
	}
	bpf_map_delete_elem(&enriched_fsnotify_events, &address);
	return 0;
}

SEC("kprobe/fsnotify_remove_first_event")
int BPF_KPROBE(ig_fa_pick_e, struct fsnotify_group *group)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u64 address = (__u64)group;

	if (is_other(tracer_pid, pid_tgid >> 32) ||
	    (tracer_group && tracer_group != address))
		return 0;
	bpf_map_update_elem(&fsnotify_remove_first_event_ctx, &pid_tgid,
			    &address, BPF_ANY);
	return 0;
}

SEC("kretprobe/fsnotify_remove_first_event")
int BPF_KRETPROBE(ig_fa_pick_x, struct fsnotify_event *fsn_event)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct gadget_event *record, *event;
	__u64 address = (__u64)fsn_event;
	bool is_known;

	if (!bpf_map_lookup_elem(&fsnotify_remove_first_event_ctx, &pid_tgid))
		return 0;
	bpf_map_delete_elem(&fsnotify_remove_first_event_ctx, &pid_tgid);
	if (!fsn_event)
		return 0;

	/* What was queued before is not known, so neither whose it is. */
	record = bpf_map_lookup_elem(&enriched_fsnotify_events, &address);
	is_known = record;
	if (!is_known) {
		if (inotify_only || fanotify_only || tracee_pid)
			return 0;
		event = reserve(&empty_event);
		if (!event)
			return 0;
		event->fa_type_raw = NO_FA_TYPE;
	} else {
		/* For when it is answered. */
		if (record->fa_type_raw == FANOTIFY_EVENT_TYPE_PATH_PERM)
			fill_tracer(record);
		event = reserve(record);
		if (!event)
			return 0;
	}
	fill_tracer(event);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
