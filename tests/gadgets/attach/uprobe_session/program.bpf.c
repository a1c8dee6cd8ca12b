// SPDX-License-Identifier: GPL-2.0
/* One program at both ends of the calls of a function. */
#include "../session.h"

SEC("uprobe.session/libc:gnu_get_libc_*")
int on_call(struct pt_regs *ctx)
{
	return report_end(ctx);
}

char LICENSE[] SEC("license") = "GPL";
