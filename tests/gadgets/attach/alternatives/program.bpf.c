// SPDX-License-Identifier: GPL-2.0
/* Three ways to see that something was done. The first that the kernel can do is taken. */
#include "../report.h"

SEC("fentry/vfs_unlink")
int BPF_PROG(by_fentry)
{
	return REPORT(ctx, "fentry");
}

SEC("kprobe/vfs_unlink")
int by_kprobe(struct pt_regs *ctx)
{
	return REPORT(ctx, "kprobe");
}

SEC("tracepoint/sched/sched_process_exit")
int by_tracepoint(void *ctx)
{
	return REPORT(ctx, "tracepoint");
}

char LICENSE[] SEC("license") = "GPL";
