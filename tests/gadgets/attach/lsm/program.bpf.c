// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("lsm/inode_unlink")
int BPF_PROG(on_unlink, struct inode *dir, struct dentry *victim, int ret)
{
	REPORT(ctx, "lsm");
	return ret;
}

char LICENSE[] SEC("license") = "GPL";
