// SPDX-License-Identifier: GPL-2.0-only
/* The older convention: a map called stats_ is a topper, whose rows are the fields of a key and of its value. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/mntns.h>
#include <gadget/mntns_filter.h>
#include <gadget/types.h>

struct call {
	gadget_mntns_id mntns_id;
	gadget_pid pid;
	__u32 fd;
};

const volatile int first_fd = 0;

/* How many calls each one counts as. */
const volatile __u64 weight = 1;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct call);
	__type(value, __u64);
} stats_closed SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_close")
int enter_close(struct syscall_trace_enter *ctx)
{
	struct call call = {};
	__u64 *known, first = weight;

	call.mntns_id = gadget_get_current_mntns_id();
	if (ctx->args[0] < first_fd || gadget_should_discard_mntns_id(call.mntns_id))
		return 0;
	call.pid = bpf_get_current_pid_tgid() >> 32;
	call.fd = ctx->args[0];
	known = bpf_map_lookup_elem(&stats_closed, &call);
	if (known)
		__sync_fetch_and_add(known, weight);
	else
		bpf_map_update_elem(&stats_closed, &call, &first, BPF_NOEXIST);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
