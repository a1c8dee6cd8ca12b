// SPDX-License-Identifier: GPL-2.0-only
/* The older convention: a map called print_ is a tracer, here with a ring buffer, and the type of its values is that of an event. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/mntns.h>
#include <gadget/mntns_filter.h>
#include <gadget/types.h>

struct event {
	gadget_mntns_id mntns_id;
	gadget_pid pid;
	__u32 fd;
	char comm[TASK_COMM_LEN];
};

/* Parameters need no marker. */
const volatile int first_fd = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
	__type(value, struct event);
} print_closed SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_close")
int enter_close(struct syscall_trace_enter *ctx)
{
	struct event event = {};

	event.mntns_id = gadget_get_current_mntns_id();
	if (ctx->args[0] < first_fd || gadget_should_discard_mntns_id(event.mntns_id))
		return 0;
	event.pid = bpf_get_current_pid_tgid() >> 32;
	event.fd = ctx->args[0];
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	bpf_ringbuf_output(&print_closed, &event, sizeof(event), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
