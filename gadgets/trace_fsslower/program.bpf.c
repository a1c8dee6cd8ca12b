// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_fsslower: one event for each operation of a file system that takes
 * longer than a limit.
 *
 * The functions that the sections name do not exist. Which ones to look at
 * depends on the file system; the gadget's wasm module says so before the
 * programs are attached.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#define FILE_NAME_LEN 32

enum fs_file_op {
	F_READ,
	F_WRITE,
	F_OPEN,
	F_FSYNC,
	F_STATFS,
	F_MAX_OP,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;

	__u64 delta_us;
	__s64 offset;
	__u64 size;
	enum fs_file_op op_raw;
	char file[FILE_NAME_LEN];
};

const volatile __u64 min_lat_us = 0;
GADGET_PARAM(min_lat_us);

/* One operation can lead to another one: reading, with an old atime, to a sync. */
struct start_key {
	gadget_tid tid;
	enum fs_file_op op;
};

struct start {
	__u64 ts;
	loff_t start;
	loff_t end;
	struct dentry *dentry;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct start_key);
	__type(value, struct start);
} starts SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
/* The name is upstream's. */
GADGET_TRACER(malloc, events, event);

static __always_inline int enter(enum fs_file_op op, struct dentry *dentry,
				 loff_t start, loff_t end)
{
	struct start_key key = {
		.tid = (__u32)bpf_get_current_pid_tgid(),
		.op = op,
	};
	struct start value = {
		.start = start,
		.end = end,
		.dentry = dentry,
	};

	if (!dentry || gadget_should_discard_data_current())
		return 0;
	value.ts = bpf_ktime_get_boot_ns();
	bpf_map_update_elem(&starts, &key, &value, BPF_ANY);
	return 0;
}

static __always_inline int leave(void *ctx, enum fs_file_op op, __s64 ret)
{
	struct start_key key = {
		.tid = (__u32)bpf_get_current_pid_tgid(),
		.op = op,
	};
	struct start *found, start;
	const unsigned char *name;
	struct dentry *dentry;
	struct event *event;
	__u64 delta;

	found = bpf_map_lookup_elem(&starts, &key);
	if (!found)
		return 0;
	start = *found;
	bpf_map_delete_elem(&starts, &key);

	delta = bpf_ktime_get_boot_ns() - start.ts;
	if (delta <= min_lat_us * 1000)
		return 0;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = start.ts;
	gadget_process_populate(&event->proc);
	event->delta_us = delta / 1000;
	event->offset = start.start;
	event->op_raw = op;
	switch (op) {
	case F_READ:
	case F_WRITE:
		event->size = ret < 0 ? 0 : ret;
		break;
	case F_FSYNC:
		event->size = start.end - start.start;
		break;
	default:
		break;
	}
	dentry = start.dentry;
	name = BPF_CORE_READ(dentry, d_name.name);
	bpf_probe_read_kernel_str(event->file, sizeof(event->file), name);
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("kprobe/dummy_file_read")
int BPF_KPROBE(ig_fssl_read_e, struct kiocb *iocb)
{
	return enter(F_READ, BPF_CORE_READ(iocb, ki_filp, f_path.dentry),
		     BPF_CORE_READ(iocb, ki_pos), 0);
}

SEC("kretprobe/dummy_file_read")
int BPF_KRETPROBE(ig_fssl_read_x, ssize_t ret)
{
	return leave(ctx, F_READ, ret);
}

SEC("kprobe/dummy_file_write")
int BPF_KPROBE(ig_fssl_wr_e, struct kiocb *iocb)
{
	return enter(F_WRITE, BPF_CORE_READ(iocb, ki_filp, f_path.dentry),
		     BPF_CORE_READ(iocb, ki_pos), 0);
}

SEC("kretprobe/dummy_file_write")
int BPF_KRETPROBE(ig_fssl_wr_x, ssize_t ret)
{
	return leave(ctx, F_WRITE, ret);
}

SEC("kprobe/dummy_file_open")
int BPF_KPROBE(ig_fssl_open_e, struct inode *inode, struct file *file)
{
	return enter(F_OPEN, BPF_CORE_READ(file, f_path.dentry), 0, 0);
}

SEC("kretprobe/dummy_file_open")
int BPF_KRETPROBE(ig_fssl_open_x)
{
	return leave(ctx, F_OPEN, 0);
}

SEC("kprobe/dummy_file_sync")
int BPF_KPROBE(ig_fssl_sync_e, struct file *file, loff_t start, loff_t end)
{
	return enter(F_FSYNC, BPF_CORE_READ(file, f_path.dentry), start, end);
}

SEC("kretprobe/dummy_file_sync")
int BPF_KRETPROBE(ig_fssl_sync_x)
{
	return leave(ctx, F_FSYNC, 0);
}

SEC("kprobe/dummy_file_statfs")
int BPF_KPROBE(ig_fssl_statfs_e, struct dentry *dentry)
{
	return enter(F_STATFS, dentry, 0, 0);
}

SEC("kretprobe/dummy_file_statfs")
int BPF_KRETPROBE(ig_fssl_statfs_x)
{
	return leave(ctx, F_STATFS, 0);
}

char LICENSE[] SEC("license") = "GPL";
