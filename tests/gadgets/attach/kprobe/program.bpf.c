// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("kprobe/vfs_unlink")
int on_entry(struct pt_regs *ctx)
{
	return REPORT(ctx, "kprobe");
}

SEC("kretprobe/vfs_unlink")
int on_return(struct pt_regs *ctx)
{
	return REPORT(ctx, "kretprobe");
}

char LICENSE[] SEC("license") = "GPL";
