// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

/* gnu_get_libc_version and gnu_get_libc_release. Kernels without links to many places get one probe for each. */
SEC("uprobe.multi/libc:gnu_get_libc_*")
int on_entry(struct pt_regs *ctx)
{
	return REPORT(ctx, "uprobe.multi");
}

SEC("uretprobe.multi/libc:gnu_get_libc_version")
int on_return(struct pt_regs *ctx)
{
	return REPORT(ctx, "uretprobe.multi");
}

char LICENSE[] SEC("license") = "GPL";
