// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

/* A function that nobody calls by accident. */
SEC("uprobe/libc:gnu_get_libc_version")
int on_entry(struct pt_regs *ctx)
{
	return REPORT(ctx, "uprobe");
}

SEC("uretprobe/libc:gnu_get_libc_version")
int on_return(struct pt_regs *ctx)
{
	return REPORT(ctx, "uretprobe");
}

char LICENSE[] SEC("license") = "GPL";
