// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("syscall")
int on_start(void *ctx)
{
	return REPORT(ctx, "syscall");
}

char LICENSE[] SEC("license") = "GPL";
