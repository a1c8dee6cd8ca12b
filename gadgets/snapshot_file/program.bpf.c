// SPDX-License-Identifier: GPL-2.0-only
/*
 * snapshot_file: one element for each open file descriptor of each task.
 *
 * The kernel walks tasks and their descriptors when the iterator is read; what
 * is opened or closed meanwhile may be there or not.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/filesystem.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#define FILE_PATH_MAX 256

enum file_type {
	REGULAR,
	SOCKET,
	PIPE,
	BPF_MAP, /* kept for its number; the kernel gives these no type */
	DIRECTORY,
	CHAR_DEV,
	BLOCK_DEV,
	SYMLINK,
	OTHER,
};

struct gadget_file {
	gadget_mntns_id mntns_id;
	char comm[TASK_COMM_LEN];
	gadget_pid pid;
	gadget_tid tid;
	__u32 fd;
	enum file_type type_raw;
	char path[FILE_PATH_MAX];
	__u64 inode;
	gadget_file_flags flags_raw;
};

const volatile bool paths = false;
GADGET_PARAM(paths);

const volatile __u32 file_type_mask = 1 << REGULAR | 1 << DIRECTORY;
GADGET_PARAM(file_type_mask);

GADGET_SNAPSHOTTER(files, gadget_file, ig_snap_file);

/* The type bits of an inode's mode. */
#define S_IFMT 0170000

static __always_inline enum file_type type_of(__u16 mode)
{
	switch (mode & S_IFMT) {
	case 0100000:
		return REGULAR;
	case 0140000:
		return SOCKET;
	case 0010000:
		return PIPE;
	case 0040000:
		return DIRECTORY;
	case 0020000:
		return CHAR_DEV;
	case 0060000:
		return BLOCK_DEV;
	case 0120000:
		return SYMLINK;
	default:
		return OTHER;
	}
}

SEC("iter/task_file")
int ig_snap_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct gadget_file entry;
	const unsigned char *name;
	void *path = NULL;

	/* The last call, after all files. */
	if (!task || !file)
		return 0;

	/* What is written is copied whole, with every byte between members. */
	__builtin_memset(&entry, 0, sizeof(entry));
	entry.type_raw = type_of(file->f_inode->i_mode);
	if (!(file_type_mask & 1U << entry.type_raw))
		return 0;
	entry.pid = task->tgid;
	entry.tid = task->pid;
	/* 0 for a task that is ending and has left its namespaces. */
	entry.mntns_id = task->nsproxy->mnt_ns->ns.inum;
	bpf_core_read(entry.comm, sizeof(entry.comm), &task->comm);
	if (gadget_should_discard_data(entry.mntns_id, entry.pid, entry.tid,
				       entry.comm, task->cred->uid.val,
				       task->cred->gid.val))
		return 0;

	entry.fd = ctx->fd;
	entry.inode = file->f_inode->i_ino;
	entry.flags_raw = file->f_flags;
	if (paths)
		path = get_path_str(
			__builtin_preserve_access_index(&file->f_path));
	if (path) {
		bpf_probe_read_kernel_str(entry.path, sizeof(entry.path), path);
	} else {
		name = BPF_CORE_READ(file, f_path.dentry, d_name.name);
		bpf_probe_read_kernel_str(entry.path, sizeof(entry.path), name);
	}

	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
