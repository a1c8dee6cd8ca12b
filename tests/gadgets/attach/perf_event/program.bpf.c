// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("perf_event/tick")
int on_tick(struct bpf_perf_event_data *ctx)
{
	return REPORT(ctx, "perf_event");
}

char LICENSE[] SEC("license") = "GPL";
