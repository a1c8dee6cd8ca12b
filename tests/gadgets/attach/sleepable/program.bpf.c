// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("lsm.s/file_open")
int BPF_PROG(on_open, struct file *file, int ret)
{
	REPORT(ctx, "lsm.s");
	return ret;
}

char LICENSE[] SEC("license") = "GPL";
