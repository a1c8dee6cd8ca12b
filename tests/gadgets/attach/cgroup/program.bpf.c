// SPDX-License-Identifier: GPL-2.0
/* Programs of control groups: they see packets and connections, not processes. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>

struct event {
	gadget_timestamp timestamp_raw;
	char program[24];
	__u32 value;
};

GADGET_TRACER_MAP(events, 1024 * 256);

GADGET_TRACER(attach, events, event);

static __always_inline void report(void *ctx, const char *program, __u32 size, __u32 value)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return;
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	__builtin_memset(event->program, 0, sizeof(event->program));
	__builtin_memcpy(event->program, program, size);
	event->value = value;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
}

SEC("cgroup_skb/egress")
int on_packet(struct __sk_buff *skb)
{
	report(skb, "cgroup_skb", sizeof("cgroup_skb"), skb->len);
	return 1;
}

SEC("sockops")
int on_socket(struct bpf_sock_ops *ops)
{
	report(ops, "sockops", sizeof("sockops"), ops->op);
	return 1;
}

SEC("cgroup/connect4")
int on_connect(struct bpf_sock_addr *address)
{
	report(address, "cgroup/connect4", sizeof("cgroup/connect4"), address->user_port);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
