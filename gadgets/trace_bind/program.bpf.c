// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_bind: one event for each bind() of an IPv4 or IPv6 socket.
 *
 * The socket is looked at when the call returns, because only then it is known
 * which port was chosen. System call tracepoints: no kprobes are needed.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filesystem.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#define AF_INET 2
#define AF_INET6 10
#define S_IFMT 00170000
#define S_IFSOCK 0140000
#define SOCKFS_MAGIC 0x534F434B

enum bind_options_set : u8 {
	FREEBIND = 0x01,
	TRANSPARENT = 0x02,
	BIND_ADDRESS_NO_PORT = 0x04,
	REUSEADDRESS = 0x08,
	REUSEPORT = 0x10,
};

/* Bits of inet_flags. */
#define INET_FREEBIND 11
#define INET_TRANSPARENT 15
#define INET_BIND_ADDRESS_NO_PORT 18

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_l4endpoint_t addr;
	struct gadget_process proc;

	gadget_errno error_raw;
	enum bind_options_set opts_raw;
	__u32 bound_dev_if;
};

const volatile bool ignore_errors = true;
GADGET_PARAM(ignore_errors);

/* Descriptors of calls that have not returned, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, int);
} sockets SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(bind, events, event);

/* Before 6.6. */
struct inet_sock___bitfields {
	__u8 freebind : 1;
	__u8 transparent : 1;
	__u8 bind_address_no_port : 1;
} __attribute__((preserve_access_index));

static __always_inline __u8 options(struct sock *sk)
{
	struct inet_sock *inet = (struct inet_sock *)sk;
	struct inet_sock___bitfields *old = (void *)sk;
	unsigned long flags;
	__u8 found = 0;

	if (bpf_core_field_exists(old->freebind)) {
		if (BPF_CORE_READ_BITFIELD_PROBED(old, freebind))
			found |= FREEBIND;
		if (BPF_CORE_READ_BITFIELD_PROBED(old, transparent))
			found |= TRANSPARENT;
		if (BPF_CORE_READ_BITFIELD_PROBED(old, bind_address_no_port))
			found |= BIND_ADDRESS_NO_PORT;
	} else {
		flags = BPF_CORE_READ(inet, inet_flags);
		if (flags & (1UL << INET_FREEBIND))
			found |= FREEBIND;
		if (flags & (1UL << INET_TRANSPARENT))
			found |= TRANSPARENT;
		if (flags & (1UL << INET_BIND_ADDRESS_NO_PORT))
			found |= BIND_ADDRESS_NO_PORT;
	}
	if (BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_reuse))
		found |= REUSEADDRESS;
	if (BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_reuseport))
		found |= REUSEPORT;
	return found;
}

/* The socket of a descriptor, NULL if it is of another family. */
static __always_inline struct sock *inet_socket(int fd)
{
	struct file *file = get_struct_file_for_fd(fd);
	struct socket *socket;
	struct inode *inode;
	struct sock *sk;
	__u16 family;

	if (!file)
		return NULL;
	inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK ||
	    BPF_CORE_READ(inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	return family == AF_INET || family == AF_INET6 ? sk : NULL;
}

SEC("tracepoint/syscalls/sys_enter_bind")
int ig_bind_e(struct syscall_trace_enter *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	int fd = ctx->args[0];

	if (gadget_should_discard_data_current())
		return 0;
	bpf_map_update_elem(&sockets, &tid, &fd, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_bind")
int ig_bind_x(struct syscall_trace_exit *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	int *found = bpf_map_lookup_elem(&sockets, &tid);
	struct event *event;
	struct sock *sk;
	int fd;

	if (!found)
		return 0;
	fd = *found;
	bpf_map_delete_elem(&sockets, &tid);
	if (ignore_errors && ctx->ret != 0)
		return 0;
	sk = inet_socket(fd);
	if (!sk)
		return 0;

	event = gadget_reserve_buf(&events, sizeof(*event));
	if (!event)
		return 0;
	/* The padding, too. */
	__builtin_memset(event, 0, sizeof(*event));
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
		event->addr.version = 4;
		event->addr.addr_raw.v4 = BPF_CORE_READ((struct inet_sock *)sk, inet_saddr);
	} else {
		event->addr.version = 6;
		BPF_CORE_READ_INTO(&event->addr.addr_raw.v6, sk,
				   __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
	}
	event->addr.port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	event->addr.proto_raw = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
	event->error_raw = -ctx->ret;
	event->opts_raw = options(sk);
	event->bound_dev_if = BPF_CORE_READ(sk, __sk_common.skc_bound_dev_if);
	gadget_process_populate(&event->proc);
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
