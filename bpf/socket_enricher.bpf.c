// SPDX-License-Identifier: GPL-2.0
/*
 * Remembers which process a local TCP or UDP port belongs to, for gadgets that see packets and sockets outside of the process.
 *
 * An entry has to be there before the first packet leaves, and has to stay a while after the last one has come. No kprobes are
 * needed for that:
 *   bind(), connect()   the exits of the system calls
 *   TCP connections     BPF_SOCK_OPS_TCP_CONNECT_CB, after the port was chosen and before the SYN is sent
 *   UDP                 cgroup/sendmsg, after the port was chosen and before the datagram is sent
 *   the end             cgroup/sock_release, and inet_sock_set_state for TCP
 * Programs of control groups need version 2 of these; where there is none, kprobes see the same if the kernel has them. Sockets that
 * are older than we are found by an iterator over all open files.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include <gadget/filesystem.h>

#include "socket_enricher.h"

#define AF_INET 2
#define AF_INET6 10
#define EINPROGRESS 115
#define S_IFMT 00170000
#define S_IFSOCK 0140000
#define SOCKFS_MAGIC 0x534F434B
#define PATH_FIELD_MAX 4096
#define MAX_SOCKETS 16384
/* How long an entry outlives its socket, for late packets. */
#define LATE_NS (5ULL * 1000 * 1000 * 1000)

const volatile struct socket_config socket_config = {};

/* The layouts that gadgets know as gadget_socket_key and gadget_socket_value. */
struct socket_key {
	__u32 netns;
	__u16 family;
	__u8 proto;
	__u8 pad1;
	__u16 port;
	__u16 pad2;
};

struct socket_value {
	__u64 mntns;
	__u64 pid_tgid;
	__u64 uid_gid;
	char task[16];
	char ptask[16];
	__u64 sock;
	__u64 deletion_timestamp;
	__u32 ppid;
	__u32 ptid;
	char ipv6only;
	char pad[7];
};
_Static_assert(sizeof(struct socket_value) == 88, "the fixed part is an interface");

struct largest_value {
	struct socket_value fixed;
	char paths[2 * PATH_FIELD_MAX];
};

/* The size of a value and the flags are set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SOCKETS);
	__type(key, struct socket_key);
	__type(value, struct socket_value);
} gadget_sockets SEC(".maps");

/* Descriptors between the entry of a system call and its exit, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, int);
} descriptors SEC(".maps");

/* Values being made, which are too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct largest_value);
} scratch SEC(".maps");

/* Programs of different kinds can interrupt one another. */
enum { BY_CALL, BY_ITERATOR, BY_GROUP };

static const char zeroes[PATH_FIELD_MAX] = {};

static __always_inline bool key_of(struct sock *sk, struct socket_key *key)
{
	__u32 proto = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);

	/* The subflows of multipath TCP are TCP connections with the port of the whole. */
	if (proto == IPPROTO_MPTCP)
		proto = IPPROTO_TCP;
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return false;
	__builtin_memset(key, 0, sizeof(*key));
	key->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (key->family != AF_INET && key->family != AF_INET6)
		return false;
	key->proto = proto;
	key->port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	key->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	return key->port != 0;
}

/* Adds `sk` with `task` as its owner, unless it is there. */
static __always_inline void insert(struct task_struct *task, struct sock *sk, __u32 kind, bool replace)
{
	struct largest_value *value;
	struct socket_value *known;
	const struct cred *cred;
	struct socket_key key;
	struct fs_struct *fs;
	struct file *exe;
	void *path;

	if (!key_of(sk, &key))
		return;
	known = bpf_map_lookup_elem(&gadget_sockets, &key);
	if (known && known->deletion_timestamp == 0 && !replace) {
		/* Without news of their end, another socket of this port tells that the old one is gone. */
		if (socket_config.sees_release || known->sock == (__u64)sk)
			return;
	}
	value = bpf_map_lookup_elem(&scratch, &kind);
	if (!value)
		return;
	__builtin_memset(&value->fixed, 0, sizeof(value->fixed));
	value->fixed.mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	value->fixed.pid_tgid = (__u64)BPF_CORE_READ(task, tgid) << 32 | (__u32)BPF_CORE_READ(task, pid);
	cred = BPF_CORE_READ(task, cred);
	value->fixed.uid_gid = (__u64)BPF_CORE_READ(cred, gid.val) << 32 | BPF_CORE_READ(cred, uid.val);
	BPF_CORE_READ_STR_INTO(&value->fixed.task, task, comm);
	BPF_CORE_READ_STR_INTO(&value->fixed.ptask, task, real_parent, comm);
	value->fixed.ppid = BPF_CORE_READ(task, real_parent, tgid);
	value->fixed.ptid = BPF_CORE_READ(task, real_parent, pid);
	value->fixed.sock = (__u64)sk;
	if (key.family == AF_INET6)
		value->fixed.ipv6only = BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_ipv6only);
	if (socket_config.cwd_size) {
		char *cwd = (char *)value + socket_config.cwd_offset;

		bpf_probe_read_kernel(cwd, socket_config.cwd_size, zeroes);
		fs = BPF_CORE_READ(task, fs);
		path = fs ? get_path_str(__builtin_preserve_access_index(&fs->pwd)) : NULL;
		if (path)
			bpf_probe_read_kernel_str(cwd, socket_config.cwd_size, path);
	}
	if (socket_config.exepath_size) {
		char *exepath = (char *)value + socket_config.exepath_offset;

		bpf_probe_read_kernel(exepath, socket_config.exepath_size, zeroes);
		exe = BPF_CORE_READ(task, mm, exe_file);
		path = exe ? get_path_str(__builtin_preserve_access_index(&exe->f_path)) : NULL;
		if (path)
			bpf_probe_read_kernel_str(exepath, socket_config.exepath_size, path);
	}
	bpf_map_update_elem(&gadget_sockets, &key, value, BPF_ANY);
}

static __always_inline void insert_current(struct sock *sk, __u32 kind)
{
	insert((struct task_struct *)bpf_get_current_task(), sk, kind, false);
}

/* The entry of `sk` may go, soon. */
static __always_inline void release(struct sock *sk)
{
	struct socket_value *known;
	struct socket_key key;

	if (!key_of(sk, &key))
		return;
	known = bpf_map_lookup_elem(&gadget_sockets, &key);
	if (known && known->sock == (__u64)sk && known->deletion_timestamp == 0)
		known->deletion_timestamp = bpf_ktime_get_ns();
}

static __always_inline struct sock *sock_of(struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct socket *socket;

	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK || BPF_CORE_READ(inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline int enter(int fd)
{
	__u64 thread = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&descriptors, &thread, &fd, BPF_ANY);
	return 0;
}

static __always_inline int leave(bool done)
{
	__u64 thread = bpf_get_current_pid_tgid();
	int *fd = bpf_map_lookup_elem(&descriptors, &thread);
	struct file *file;
	struct sock *sk;

	if (!fd)
		return 0;
	file = done ? get_struct_file_for_fd(*fd) : NULL;
	bpf_map_delete_elem(&descriptors, &thread);
	if (!file)
		return 0;
	sk = sock_of(file);
	if (sk)
		insert_current(sk, BY_CALL);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_bind")
int ig_sock_bind_e(struct syscall_trace_enter *ctx)
{
	return enter((int)ctx->args[0]);
}

SEC("tracepoint/syscalls/sys_exit_bind")
int ig_sock_bind_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx->ret == 0);
}

SEC("tracepoint/syscalls/sys_enter_connect")
int ig_sock_conn_e(struct syscall_trace_enter *ctx)
{
	return enter((int)ctx->args[0]);
}

SEC("tracepoint/syscalls/sys_exit_connect")
int ig_sock_conn_x(struct syscall_trace_exit *ctx)
{
	return leave(ctx->ret == 0 || ctx->ret == -EINPROGRESS);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(ig_sock_state, const struct sock *sk, int oldstate, int newstate)
{
	if (newstate == TCP_CLOSE)
		release((struct sock *)sk);
	else if (newstate == TCP_LISTEN)
		insert_current((struct sock *)sk, BY_CALL);
	return 0;
}

/* The address behind a context's socket, which the verifier shows to programs only in part. */
static __always_inline struct sock *kernel_sock(struct bpf_sock *shown)
{
	struct sock *sk = NULL;

	bpf_probe_read_kernel(&sk, sizeof(sk), &shown);
	return sk;
}

SEC("sockops")
int ig_sock_ops(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk;

	if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB)
		return 1;
	sk = ctx->sk;
	if (sk)
		insert_current(kernel_sock(sk), BY_GROUP);
	return 1;
}

SEC("cgroup/sendmsg4")
int ig_sock_send4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (sk)
		insert_current(kernel_sock(sk), BY_GROUP);
	return 1;
}

SEC("cgroup/sendmsg6")
int ig_sock_send6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (sk)
		insert_current(kernel_sock(sk), BY_GROUP);
	return 1;
}

SEC("cgroup/sock_release")
int ig_sock_release(struct bpf_sock *ctx)
{
	release(kernel_sock(ctx));
	return 1;
}

/* Where there are no control groups of version 2. */

SEC("kprobe/tcp_connect")
int BPF_KPROBE(ig_kp_tcp_conn, struct sock *sk)
{
	insert_current(sk, BY_CALL);
	return 0;
}

SEC("kprobe/udp_sendmsg")
int BPF_KPROBE(ig_kp_send4, struct sock *sk)
{
	insert_current(sk, BY_CALL);
	return 0;
}

SEC("kprobe/udpv6_sendmsg")
int BPF_KPROBE(ig_kp_send6, struct sock *sk)
{
	insert_current(sk, BY_CALL);
	return 0;
}

/* inet6_release() ends in it. */
SEC("kprobe/inet_release")
int BPF_KPROBE(ig_kp_release, struct socket *sock)
{
	release(BPF_CORE_READ(sock, sk));
	return 0;
}

SEC("iter/task_file")
int ig_sockets_it(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sock *sk;

	if (!task || !file)
		return 0;
	sk = sock_of(file);
	if (!sk)
		return 0;
	/* A listener is what a port is known for, whoever else has it. */
	insert(task, sk, BY_ITERATOR, BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN);
	return 0;
}

SEC("iter/bpf_map_elem")
int ig_sk_cleanup(struct bpf_iter__bpf_map_elem *ctx)
{
	struct socket_value *value = ctx->value;
	struct socket_key *found = ctx->key;
	struct socket_key key;

	if (!found || !value || value->deletion_timestamp == 0)
		return 0;
	if (bpf_ktime_get_ns() - value->deletion_timestamp < LATE_NS)
		return 0;
	key = *found;
	bpf_map_delete_elem(&gadget_sockets, &key);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
