/* SPDX-License-Identifier: GPL-2.0 */
/* Programs that run at both ends of a call. */
#ifndef SESSION_H
#define SESSION_H

#include "report.h"

/* Since Linux 7.0 it wants the context. What stands after the underscores is not part of the name. */
extern bool bpf_session_is_return(void) __ksym __weak;
extern bool bpf_session_is_return___of(void *ctx) __ksym __weak;

static __always_inline bool is_return(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return___of))
		return bpf_session_is_return___of(ctx);
	return bpf_session_is_return();
}

static __always_inline int report_end(void *ctx)
{
	if (is_return(ctx))
		return REPORT(ctx, "return");
	/* 0: the return is wanted, too */
	return REPORT(ctx, "entry");
}

#endif
