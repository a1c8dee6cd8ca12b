// SPDX-License-Identifier: GPL-2.0-only
/*
 * trace_tcp: one event for each TCP connection that is made, accepted or
 * closed.
 *
 * Whether a connection came about is known in the context of a packet, so the
 * process that asked for it is kept by its socket until then. No kprobes: the
 * state of sockets, system call tracepoints, and the root control group's hook
 * for sockets that are released.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <gadget/buffer.h>
#include <gadget/common.h>
#include <gadget/filesystem.h>
#include <gadget/filter.h>
#include <gadget/macros.h>
#include <gadget/types.h>

#define AF_INET 2
#define AF_INET6 10
#define MAX_ENTRIES 8192
#define S_IFMT 00170000
#define S_IFSOCK 0140000
#define SOCKFS_MAGIC 0x534F434B

enum event_type : u8 {
	connect,
	accept,
	close,
};

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;
	gadget_netns_id netns_id;

	struct gadget_l4endpoint_t src;
	struct gadget_l4endpoint_t dst;
	enum event_type type_raw;
	gadget_errno error_raw;
	int fd;
	int accept_fd;
};

/* Who asked for a connection. */
struct connecting {
	struct gadget_process proc;
	int fd;
	int pad;
};

const volatile bool accept_only = false;
GADGET_PARAM(accept_only);

const volatile bool connect_only = false;
GADGET_PARAM(connect_only);

const volatile bool failure_only = false;
GADGET_PARAM(failure_only);

/* Descriptors of calls that have not returned, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, __u32);
	__type(value, int);
} tcp_tid_fd SEC(".maps");

/* Connections that are neither there nor refused yet, by socket. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_ENTRIES);
	__type(key, __u64);
	__type(value, struct connecting);
} tcp_connecting SEC(".maps");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(tracetcp, events, event);

/* Whether both ends of the connection are known. */
static __always_inline bool endpoints(struct sock *sk, struct event *event)
{
	struct inet_sock *inet = (struct inet_sock *)sk;

	event->netns_id = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	event->src.proto_raw = event->dst.proto_raw = IPPROTO_TCP;
	event->src.port = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	event->dst.port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (event->src.port == 0 || event->dst.port == 0)
		return false;
	switch (BPF_CORE_READ(sk, __sk_common.skc_family)) {
	case AF_INET:
		event->src.version = event->dst.version = 4;
		event->src.addr_raw.v4 = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		event->dst.addr_raw.v4 = BPF_CORE_READ(sk, __sk_common.skc_daddr);
		break;
	case AF_INET6:
		event->src.version = event->dst.version = 6;
		BPF_CORE_READ_INTO(&event->src.addr_raw.v6, sk,
				   __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&event->dst.addr_raw.v6, sk,
				   __sk_common.skc_v6_daddr.in6_u.u6_addr8);
		break;
	default:
		return false;
	}
	return event->src.addr_raw.v6_raw != 0 && event->dst.addr_raw.v6_raw != 0;
}

/* An event of `sk` that is zero but for both ends; NULL if these are not known. */
static __always_inline struct event *new_event(struct sock *sk, enum event_type type)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return NULL;
	__builtin_memset(event, 0, sizeof(*event));
	if (!endpoints(sk, event)) {
		gadget_discard_buf(event);
		return NULL;
	}
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	event->type_raw = type;
	event->accept_fd = -1;
	return event;
}

static __always_inline bool is_tcp(struct sock *sk)
{
	__u32 proto = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);

	return proto == IPPROTO_TCP || proto == IPPROTO_MPTCP;
}

static __always_inline int enter(int fd)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	if (gadget_should_discard_data_current())
		return 0;
	bpf_map_update_elem(&tcp_tid_fd, &tid, &fd, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_connect")
int sys_connect_e(struct syscall_trace_enter *ctx)
{
	return accept_only ? 0 : enter((int)ctx->args[0]);
}

SEC("tracepoint/syscalls/sys_exit_connect")
int sys_connect_x(struct syscall_trace_exit *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&tcp_tid_fd, &tid);
	return 0;
}

/* The process that runs asks for a connection. */
static __always_inline void begin_connect(__u64 key)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	int *fd = bpf_map_lookup_elem(&tcp_tid_fd, &tid);
	struct connecting connecting;

	if (gadget_should_discard_data_current())
		return;
	__builtin_memset(&connecting, 0, sizeof(connecting));
	gadget_process_populate(&connecting.proc);
	/* Not by connect(): sendto() can do it, too. */
	connecting.fd = fd ? *fd : -1;
	bpf_map_update_elem(&tcp_connecting, &key, &connecting, BPF_ANY);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(ig_tcp_state, const struct sock *const_sk, int oldstate, int newstate)
{
	struct sock *sk = (struct sock *)const_sk;
	struct connecting *connecting;
	struct event *event;
	__u64 key = (__u64)sk;
	__u32 error;

	if (accept_only || !is_tcp(sk))
		return 0;
	if (newstate == TCP_SYN_SENT) {
		begin_connect(key);
		return 0;
	}
	if (newstate != TCP_ESTABLISHED && newstate != TCP_CLOSE)
		return 0;
	connecting = bpf_map_lookup_elem(&tcp_connecting, &key);
	if (!connecting)
		return 0;
	error = BPF_CORE_READ(sk, sk_err);
	event = failure_only && error == 0 ? NULL : new_event(sk, connect);
	if (event) {
		event->proc = connecting->proc;
		event->fd = connecting->fd;
		event->error_raw = error;
		gadget_submit_buf(ctx, &events, event, sizeof(*event));
	}
	bpf_map_delete_elem(&tcp_connecting, &key);
	return 0;
}

static __always_inline struct sock *sock_of(int fd)
{
	struct file *file = get_struct_file_for_fd(fd);
	struct socket *socket;
	struct inode *inode;

	if (!file)
		return NULL;
	inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK ||
	    BPF_CORE_READ(inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline int leave_accept(struct syscall_trace_exit *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	int *found = bpf_map_lookup_elem(&tcp_tid_fd, &tid);
	struct event *event;
	struct sock *sk;
	int fd;

	if (!found)
		return 0;
	fd = *found;
	bpf_map_delete_elem(&tcp_tid_fd, &tid);
	/* What was not accepted has no ends. */
	if (failure_only || ctx->ret < 0)
		return 0;
	sk = sock_of(ctx->ret);
	if (!sk || !is_tcp(sk))
		return 0;
	event = new_event(sk, accept);
	if (!event)
		return 0;
	gadget_process_populate(&event->proc);
	event->fd = fd;
	event->accept_fd = ctx->ret;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_accept")
int sys_accept_e(struct syscall_trace_enter *ctx)
{
	return connect_only ? 0 : enter((int)ctx->args[0]);
}

SEC("tracepoint/syscalls/sys_exit_accept")
int sys_accept_x(struct syscall_trace_exit *ctx)
{
	return leave_accept(ctx);
}

SEC("tracepoint/syscalls/sys_enter_accept4")
int sys_accept4_e(struct syscall_trace_enter *ctx)
{
	return connect_only ? 0 : enter((int)ctx->args[0]);
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int sys_accept4_x(struct syscall_trace_exit *ctx)
{
	return leave_accept(ctx);
}

SEC("cgroup/sock_release")
int ig_tcp_close(struct bpf_sock *ctx)
{
	struct event *event;
	struct sock *sk = NULL;
	__u8 state;

	if (accept_only || connect_only || failure_only)
		return 1;
	if (gadget_should_discard_data_current())
		return 1;
	/* The context is the socket itself, of which programs are shown a part. */
	bpf_probe_read_kernel(&sk, sizeof(sk), &ctx);
	if (!is_tcp(sk))
		return 1;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV ||
	    state == TCP_NEW_SYN_RECV)
		return 1;
	event = new_event(sk, close);
	if (!event)
		return 1;
	gadget_process_populate(&event->proc);
	event->fd = -1;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
