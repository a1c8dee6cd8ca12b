// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	return REPORT(ctx, "tp_btf");
}

char LICENSE[] SEC("license") = "GPL";
