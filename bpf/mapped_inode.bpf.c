// SPDX-License-Identifier: GPL-2.0
/*
 * Tells user space which inodes its own mappings are of.
 *
 * The kernel knows a file that is probed by its inode. What stat() says of a file on overlayfs is another inode, one for each
 * container, in front of the one that they share. But what is mapped is the shared one: so user space maps a file, and
 * reads here what was mapped.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

#include "mapped_inode.h"

SEC("iter/task_vma")
int ig_mapped_inode(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct mapped_inode entry = {};
	struct file *file;

	/* Before Linux 6.1 all processes are visited, whoever is asked about. */
	if (!task || !vma || task->tgid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	file = vma->vm_file;
	if (!file)
		return 0;
	entry.start = vma->vm_start;
	entry.inode = (__u64)file->f_inode;
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
