// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("raw_tracepoint/sched_process_exit")
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	return REPORT(ctx, "raw_tracepoint");
}

SEC("raw_tp.w/sched_process_exec")
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	return REPORT(ctx, "raw_tp.w");
}

char LICENSE[] SEC("license") = "GPL";
