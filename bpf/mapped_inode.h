/* SPDX-License-Identifier: GPL-2.0 */
/* What mapped_inode.bpf.c writes for each mapping. */
#ifndef MAPPED_INODE_H
#define MAPPED_INODE_H

struct mapped_inode {
	/* The mapping's first address. */
	__u64 start;
	/* The kernel's address of the inode: a name for it, not to be followed. */
	__u64 inode;
};

#endif
