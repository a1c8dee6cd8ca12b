// SPDX-License-Identifier: GPL-2.0-only
/*
 * One entry for each process and file descriptor that it tried to close, with
 * how often. An entry for a number that is used once is never changed after it
 * was put in, so that nothing can be lost while the map is emptied.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

struct call {
	gadget_mntns_id mntns_id;
	gadget_pid pid;
	__u32 fd;
};

struct count {
	__u64 calls;
	gadget_comm comm[TASK_COMM_LEN];
};

const volatile int calls_max_entries = 262144;
GADGET_PARAM(calls_max_entries);

const volatile int first_fd = 0;
GADGET_PARAM(first_fd);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct call);
	__type(value, struct count);
} calls SEC(".maps");

GADGET_MAPITER(closed, calls);

SEC("tracepoint/syscalls/sys_enter_close")
int enter_close(struct syscall_trace_enter *ctx)
{
	struct call call = {};
	struct count count = {}, *known;

	if (ctx->args[0] < first_fd || gadget_should_discard_data_current())
		return 0;
	call.mntns_id = gadget_get_current_mntns_id();
	call.pid = bpf_get_current_pid_tgid() >> 32;
	call.fd = ctx->args[0];
	known = bpf_map_lookup_elem(&calls, &call);
	if (known) {
		__sync_fetch_and_add(&known->calls, 1);
		return 0;
	}
	count.calls = 1;
	bpf_get_current_comm(count.comm, sizeof(count.comm));
	bpf_map_update_elem(&calls, &call, &count, BPF_NOEXIST);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
