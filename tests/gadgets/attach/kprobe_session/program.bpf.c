// SPDX-License-Identifier: GPL-2.0
/* One program at both ends of the calls of a kernel function. */
#include "../report.h"

extern bool bpf_session_is_return(void) __ksym __weak;

SEC("kprobe.session/do_unlinkat")
int on_unlink(struct pt_regs *ctx)
{
	if (bpf_session_is_return())
		return REPORT(ctx, "return");
	/* 0: the return is wanted, too */
	return REPORT(ctx, "entry");
}

char LICENSE[] SEC("license") = "GPL";
