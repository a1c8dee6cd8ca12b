// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("tracepoint/syscalls/sys_enter_unlink")
int on_unlink(struct syscall_trace_enter *ctx)
{
	return REPORT(ctx, "tracepoint");
}

SEC("tp/syscalls/sys_enter_unlinkat")
int on_unlinkat(struct syscall_trace_enter *ctx)
{
	return REPORT(ctx, "tracepoint");
}

char LICENSE[] SEC("license") = "GPL";
