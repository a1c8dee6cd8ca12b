// SPDX-License-Identifier: GPL-2.0-only
/*
 * top_file: for each file and thread, how often it was read and written and
 * how many bytes were asked for, since the last report.
 *
 * The system calls are looked at, not vfs_read() and vfs_write(), which do
 * their work: that needs no kprobes.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/common.h>
#include <gadget/filesystem.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/maps.bpf.h>
#include <gadget/types.h>

enum type {
	R, /* regular file */
	S, /* socket */
	O, /* other */
};

struct file_id {
	__u64 inode;
	__u32 dev;
	__u64 __pid_tgid;
};

struct file_stat {
	struct gadget_process proc; /* as it was at the first call */
	__u64 reads;
	gadget_bytes rbytes_raw;
	__u64 writes;
	gadget_bytes wbytes_raw;
	char file[GADGET_PATH_MAX];
	enum type t_raw;
};

const volatile bool all_files = false;
GADGET_PARAM(all_files);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct file_id);
	__type(value, struct file_stat);
} stats SEC(".maps");

/*
 * Where an entry is put together, being too large for the stack: it is whole
 * when it gets into the map, which may be emptied at any time.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct file_stat);
} fresh SEC(".maps");

GADGET_MAPITER(file, stats);

/* The type bits of an inode's mode. */
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFSOCK 0140000

static __always_inline struct file_stat *
first_call(const struct file_id *id, struct file *file, enum type type)
{
	struct file_stat *stat;
	__u32 zero = 0;
	void *path;

	stat = bpf_map_lookup_elem(&fresh, &zero);
	if (!stat)
		return NULL;
	__builtin_memset(stat, 0, sizeof(*stat));
	gadget_process_populate(&stat->proc);
	stat->t_raw = type;
	path = get_path_str(__builtin_preserve_access_index(&file->f_path));
	if (path)
		bpf_probe_read_kernel_str(stat->file, sizeof(stat->file), path);
	return bpf_map_lookup_or_try_init(&stats, id, stat);
}

static __always_inline int count(int fd, __u64 bytes, bool is_write)
{
	struct file_stat *stat;
	struct inode *inode;
	struct file_id id;
	struct file *file;
	enum type type;
	__u16 mode;

	if (gadget_should_discard_data_current())
		return 0;
	file = get_struct_file_for_fd(fd);
	if (!file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	mode = BPF_CORE_READ(inode, i_mode) & S_IFMT;
	type = mode == S_IFREG ? R : mode == S_IFSOCK ? S : O;
	if (!all_files && type != R)
		return 0;

	/* All bytes of a key count, those between its members too. */
	__builtin_memset(&id, 0, sizeof(id));
	id.inode = BPF_CORE_READ(inode, i_ino);
	id.dev = BPF_CORE_READ(inode, i_rdev);
	id.__pid_tgid = bpf_get_current_pid_tgid();
	stat = bpf_map_lookup_elem(&stats, &id);
	if (!stat)
		stat = first_call(&id, file, type);
	if (!stat)
		return 0;
	/* One thread, one call at a time: nobody else adds to this entry. */
	if (is_write) {
		stat->writes++;
		stat->wbytes_raw += bytes;
	} else {
		stat->reads++;
		stat->rbytes_raw += bytes;
	}
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_read")
int ig_topfile_rd_e(struct syscall_trace_enter *ctx)
{
	return count((int)ctx->args[0], ctx->args[2], false);
}

SEC("tracepoint/syscalls/sys_enter_pread64")
int ig_topfile_prd_e(struct syscall_trace_enter *ctx)
{
	return count((int)ctx->args[0], ctx->args[2], false);
}

SEC("tracepoint/syscalls/sys_enter_write")
int ig_topfile_wr_e(struct syscall_trace_enter *ctx)
{
	return count((int)ctx->args[0], ctx->args[2], true);
}

SEC("tracepoint/syscalls/sys_enter_pwrite64")
int ig_topfile_pwr_e(struct syscall_trace_enter *ctx)
{
	return count((int)ctx->args[0], ctx->args[2], true);
}

char LICENSE[] SEC("license") = "GPL";
