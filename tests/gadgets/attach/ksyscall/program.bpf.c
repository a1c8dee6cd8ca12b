// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("ksyscall/unlink")
int on_unlink(struct pt_regs *ctx)
{
	return REPORT(ctx, "ksyscall");
}

SEC("kretsyscall/unlinkat")
int on_unlinkat(struct pt_regs *ctx)
{
	return REPORT(ctx, "ksyscall");
}

SEC("ksyscall/unlinkat")
int on_unlinkat_entry(struct pt_regs *ctx)
{
	return REPORT(ctx, "ksyscall");
}

char LICENSE[] SEC("license") = "GPL";
