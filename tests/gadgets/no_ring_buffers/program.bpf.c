// SPDX-License-Identifier: GPL-2.0-only
/* Makes a kernel that has ring buffers refuse them, as long as it runs. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EPERM 1

SEC("lsm/bpf")
int BPF_PROG(refuse, int cmd, union bpf_attr *attr, unsigned int size)
{
	if (cmd == BPF_MAP_CREATE && attr->map_type == BPF_MAP_TYPE_RINGBUF)
		return -EPERM;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
