// SPDX-License-Identifier: GPL-2.0
/* Programs for several security hooks, of which no kernel has the second. */
#include "../report.h"

SEC("lsm/inode_unlink")
int BPF_PROG(on_unlink)
{
	REPORT(ctx, "inode_unlink");
	return 0;
}

SEC("lsm/hook_of_tomorrow")
int BPF_PROG(on_tomorrow)
{
	REPORT(ctx, "hook_of_tomorrow");
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
