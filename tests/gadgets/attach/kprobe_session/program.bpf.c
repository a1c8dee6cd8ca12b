// SPDX-License-Identifier: GPL-2.0
/* One program at both ends of the calls of a kernel function. */
#include "../session.h"

SEC("kprobe.session/vfs_unlink")
int on_unlink(struct pt_regs *ctx)
{
	return report_end(ctx);
}

char LICENSE[] SEC("license") = "GPL";
