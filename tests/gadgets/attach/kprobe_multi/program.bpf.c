// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("kprobe.multi/vfs_unlin?")
int on_entry(struct pt_regs *ctx)
{
	return REPORT(ctx, "kprobe.multi");
}

SEC("kretprobe.multi/vfs_unlink")
int on_return(struct pt_regs *ctx)
{
	return REPORT(ctx, "kretprobe.multi");
}

char LICENSE[] SEC("license") = "GPL";
