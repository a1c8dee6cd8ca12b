// SPDX-License-Identifier: GPL-2.0
/* One program at both ends of the calls of a function. */
#include "../report.h"

/* Since Linux 7.0 it wants the context. What stands after the underscores is not part of the name. */
extern bool bpf_session_is_return(void) __ksym __weak;
extern bool bpf_session_is_return___of(void *ctx) __ksym __weak;

static __always_inline bool is_return(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return___of))
		return bpf_session_is_return___of(ctx);
	return bpf_session_is_return();
}

SEC("uprobe.session/libc:gnu_get_libc_*")
int on_call(struct pt_regs *ctx)
{
	if (is_return(ctx))
		return REPORT(ctx, "return");
	/* 0: the return is wanted, too */
	return REPORT(ctx, "entry");
}

char LICENSE[] SEC("license") = "GPL";
