// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

/* tests/traced/traced.c has it at two places. */
SEC("usdt//var/tmp/ig-test-traced:traced:place")
int on_place(struct pt_regs *ctx)
{
	return REPORT(ctx, "usdt");
}

char LICENSE[] SEC("license") = "GPL";
