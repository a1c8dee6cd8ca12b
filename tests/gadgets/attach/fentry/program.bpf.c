// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("fentry/vfs_unlink")
int BPF_PROG(on_entry)
{
	return REPORT(ctx, "fentry");
}

SEC("fexit/vfs_unlink")
int BPF_PROG(on_return)
{
	return REPORT(ctx, "fexit");
}

char LICENSE[] SEC("license") = "GPL";
