/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Paths of files.
 *
 * A path is put together from its end, in the lower half of a per-CPU buffer.
 * The result stays valid until the next call on the same CPU, so it has to be
 * copied at once.
 */
#ifndef __GADGET_FILESYSTEM_H
#define __GADGET_FILESYSTEM_H

#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define MAX_PERCPU_BUFSIZE (1 << 15)
#define GADGET_PATH_MAX 512
#ifndef PATH_MAX
#define PATH_MAX 4096
#endif
#define MAX_STR_FILTER_SIZE 16
#define MAX_BIN_PATH_SIZE 256
#define FILE_MAGIC_HDR_SIZE 32
#define FILE_MAGIC_MASK 31
#define NET_SEQ_OPS_SIZE 4
#define NET_SEQ_OPS_TYPES 6
#define MAX_KSYM_NAME_SIZE 64
#define UPROBE_MAGIC_NUMBER 20220829
#define ARGS_BUF_SIZE 32000
#define SEND_META_SIZE 24
#define MAX_MEM_DUMP_SIZE 127
#define MAX_PATH_COMPONENTS 80

enum buf_idx_e {
	STRING_BUF_IDX,
	MAX_BUFFERS,
};

typedef struct {
	__u8 buf[MAX_PERCPU_BUFSIZE];
} buf_t;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_BUFFERS);
	__type(key, __u32);
	__type(value, buf_t);
} bufs SEC(".maps");

static __always_inline buf_t *get_buf(int idx)
{
	return bpf_map_lookup_elem(&bufs, &idx);
}

static __always_inline struct dentry *
get_mnt_root_ptr_from_vfsmnt(struct vfsmount *vfsmnt)
{
	return BPF_CORE_READ(vfsmnt, mnt_root);
}

static __always_inline struct dentry *
get_d_parent_ptr_from_dentry(struct dentry *dentry)
{
	return BPF_CORE_READ(dentry, d_parent);
}

static __always_inline struct qstr get_d_name_from_dentry(struct dentry *dentry)
{
	return BPF_CORE_READ(dentry, d_name);
}

/* The struct mount that a struct vfsmount is part of. */
static inline struct mount *real_mount(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

/* Longest name of one directory entry (NAME_MAX), without its NUL. */
#define __GADGET_NAME_MAX 255

/* Offset of the path's last byte, its NUL: the end of the lower half. */
#define __GADGET_PATH_END ((MAX_PERCPU_BUFSIZE >> 1) - 1)

/*
 * get_path_str: path from the root of the mount namespace, or the bare name of
 * an object without a path (a memfd, a pipe). NULL only without a buffer.
 *
 * Not from the root of the process: containers get paths of their own because
 * the mounts of their namespace start at their root. Of a path with more than
 * MAX_PATH_COMPONENTS components, or too long for the buffer, the end is
 * returned.
 */
static __always_inline void *get_path_str(struct path *path)
{
	struct dentry *dentry = BPF_CORE_READ(path, dentry);
	struct vfsmount *vfsmnt = BPF_CORE_READ(path, mnt);
	struct mount *mnt = real_mount(vfsmnt);
	volatile __u32 *cursor;
	struct dentry *parent;
	struct mount *mnt_parent;
	struct qstr name;
	__u32 off, len;
	buf_t *string;
	int i;

	string = get_buf(STRING_BUF_IDX);
	if (!string)
		return NULL;

	/*
	 * Where the path begins so far. It is kept in the unused half of the
	 * buffer because the verifier would otherwise follow its range through
	 * all 80 rounds, with all ways to go through each, and give up.
	 */
	cursor = (volatile __u32 *)&string->buf[MAX_PERCPU_BUFSIZE - 8];
	*cursor = __GADGET_PATH_END;

	for (i = 0; i < MAX_PATH_COMPONENTS; i++) {
		parent = get_d_parent_ptr_from_dentry(dentry);
		if (dentry == get_mnt_root_ptr_from_vfsmnt(vfsmnt)) {
			mnt_parent = BPF_CORE_READ(mnt, mnt_parent);
			if (mnt_parent == mnt)
				break;
			/* Go on where this file system is mounted. */
			dentry = BPF_CORE_READ(mnt, mnt_mountpoint);
			mnt = mnt_parent;
			vfsmnt = __builtin_preserve_access_index(&mnt->mnt);
			continue;
		}
		if (dentry == parent)
			break;

		name = get_d_name_from_dentry(dentry);
		len = name.len;
		off = *cursor;
		if (len == 0 || len > __GADGET_NAME_MAX || off <= len)
			break;
		/*
		 * The name ends where the slash of the next one is. Its NUL,
		 * which a concurrent renaming makes necessary, goes there too.
		 */
		bpf_probe_read_kernel_str(
			&string->buf[(off - len) & __GADGET_PATH_END],
			(len & __GADGET_NAME_MAX) + 1, name.name);
		string->buf[off & __GADGET_PATH_END] =
			off == __GADGET_PATH_END ? '\0' : '/';
		*cursor = off - len - 1;
		dentry = parent;
	}

	off = *cursor;
	if (off == __GADGET_PATH_END) {
		/* The root itself has the name "/". */
		name = get_d_name_from_dentry(dentry);
		if (bpf_probe_read_kernel_str(string->buf,
					      __GADGET_NAME_MAX + 1,
					      name.name) < 0)
			string->buf[0] = '\0';
		return string->buf;
	}

	string->buf[off & __GADGET_PATH_END] = '/';
	return &string->buf[off & __GADGET_PATH_END];
}

/* get_struct_file_for_fd: open file of the current task, or NULL. */
static __always_inline struct file *get_struct_file_for_fd(int fd_num)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct file **fds, *file = NULL;

	if (fd_num < 0 || (__u32)fd_num >= BPF_CORE_READ(fdt, max_fds))
		return NULL;
	fds = BPF_CORE_READ(fdt, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &fds[fd_num]);
	return file;
}

/*
 * read_full_path_of_open_file_fd: copy the path of an open file of the current
 * task. Returns its length with the NUL, or -1.
 */
static __always_inline long read_full_path_of_open_file_fd(int fd_num, char *buf,
							   __u64 len)
{
	struct file *file = get_struct_file_for_fd(fd_num);
	void *path;

	if (!file)
		return -1;
	path = get_path_str(__builtin_preserve_access_index(&file->f_path));
	if (!path)
		return -1;
	return bpf_probe_read_kernel_str(buf, len, path);
}

#endif /* __GADGET_FILESYSTEM_H */
