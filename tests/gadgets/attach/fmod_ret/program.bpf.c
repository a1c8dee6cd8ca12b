// SPDX-License-Identifier: GPL-2.0
#include "../report.h"

SEC("fmod_ret/security_file_open")
int BPF_PROG(on_open, struct file *file, int ret)
{
	REPORT(ctx, "fmod_ret");
	return ret;
}

char LICENSE[] SEC("license") = "GPL";
