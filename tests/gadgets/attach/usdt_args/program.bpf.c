// SPDX-License-Identifier: GPL-2.0
#include "../report.h"
#include <bpf/usdt.bpf.h>

/* tests/traced/traced.c has it at two places: one with -5 and a value in memory, one with two constants. */
SEC("usdt//var/tmp/ig-test-traced:traced:place")
int on_place(struct pt_regs *ctx)
{
	long first = 0, second = 0;

	if (bpf_usdt_arg_cnt(ctx) != 2 || bpf_usdt_arg(ctx, 0, &first) || bpf_usdt_arg(ctx, 1, &second))
		return 0;
	if (first == -5 && second == 424242)
		return REPORT(ctx, "memory");
	if (first == -6 && second == 7)
		return REPORT(ctx, "constants");
	return 0;
}

/* The program gets there only because somebody traces it. */
SEC("usdt//var/tmp/ig-test-traced:traced:guarded")
int on_guarded(struct pt_regs *ctx)
{
	return REPORT(ctx, "guarded");
}

char LICENSE[] SEC("license") = "GPL";
