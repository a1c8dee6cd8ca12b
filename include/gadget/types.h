/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Types that the runtime recognises by name.
 *
 * The name of a typedef reaches the field as tag `type:<typedef>`, and decides
 * how its value is shown or enriched. Names, sizes and offsets are part of the
 * gadget ABI.
 */
#ifndef __GADGET_TYPES_H
#define __GADGET_TYPES_H

#ifndef __VMLINUX_H__
#include <stdbool.h>
#include <linux/types.h>
#endif

/*
 * vmlinux.h has an enumerator of this name. The macro hides it with the same
 * value, so both orders of inclusion work.
 */
#ifndef TASK_COMM_LEN
#define TASK_COMM_LEN 16
#endif

/* Inode numbers of the namespaces; the runtime adds the container from them. */
typedef __u64 gadget_mntns_id;
typedef __u32 gadget_netns_id;

/* Nanoseconds since boot (bpf_ktime_get_boot_ns), shown as wall-clock time. */
typedef __u64 gadget_timestamp;

/* Numbers shown by name: SIGTERM, ENOENT, SYS_OPENAT. */
typedef __u32 gadget_signal;
typedef __u32 gadget_errno;
typedef __u64 gadget_syscall;

typedef __u32 gadget_uid;
typedef __u32 gadget_gid;

typedef __u32 gadget_file_mode;
typedef __u32 gadget_file_flags;

/* Index into the map ig_kstack, see kernel_stack_map.h. */
typedef __u32 gadget_kernel_stack;

/*
 * As user space counts: the pid is the thread group's id (the kernel's tgid),
 * the tid is the thread's own (the kernel's pid).
 */
typedef __u32 gadget_pid;
typedef __u32 gadget_ppid;
typedef __u32 gadget_tid;
typedef __u32 gadget_ptid;

/* Element of a command name: `gadget_comm comm[TASK_COMM_LEN]`. */
typedef char gadget_comm;
typedef char gadget_pcomm;

/* Amounts of bytes, and of nanoseconds. */
typedef __u64 gadget_bytes;
typedef __u64 gadget_duration;

/* Metrics: values that only grow, that go up and down, slots of a histogram. */
typedef __u32 gadget_counter__u32;
typedef __u64 gadget_counter__u64;
typedef __u32 gadget_gauge__u32;
typedef __u64 gadget_gauge__u64;
typedef __u32 gadget_histogram_slot__u32;
typedef __u64 gadget_histogram_slot__u64;

/* Address in network byte order. v6_raw is there to copy or compare all of it. */
union gadget_ip_addr_t {
	__u8 v6[16];
	unsigned __int128 v6_raw;
	__u32 v4;
};

/* Address; version is 4 or 6. */
struct gadget_l3endpoint_t {
	union gadget_ip_addr_t addr_raw;
	__u8 version;
};

/* Address, port (host byte order) and IPPROTO_* number; version is 4 or 6. */
struct gadget_l4endpoint_t {
	union gadget_ip_addr_t addr_raw;
	__u16 port;
	__u16 proto_raw;
	__u8 version;
};

struct gadget_creds {
	gadget_uid uid;
	gadget_gid gid;
};

struct gadget_parent {
	gadget_pcomm comm[TASK_COMM_LEN];
	gadget_ppid pid;
	gadget_ptid tid;
};

/* The process behind an event; gadget_process_populate() in common.h fills it. */
struct gadget_process {
	gadget_comm comm[TASK_COMM_LEN];
	gadget_pid pid;
	gadget_tid tid;
	gadget_mntns_id mntns_id;
	struct gadget_creds creds;
	struct gadget_parent parent;
};

/*
 * A user stack and what is needed to name its frames later on: the executable,
 * the process as seen from two levels of pid namespaces, and a hash of its
 * address space. user_stack_map.h fills it.
 */
struct gadget_user_stack {
	__u32 major;
	__u32 minor;
	__u64 inode;
	__u64 mtime_sec;
	__u32 mtime_nsec;
	__u32 base_addr_hash;
	__u32 stack_id;
	__u32 tgid_level0;
	__u32 pid_level0;
	__u32 pidns_level0;
	__u32 pid_level1;
	__u32 pidns_level1;
	__u64 otel_correlation_id;
	__u64 boot_timestamp;
};

/* Largest size that an optional path of gadget_socket_value can be given. */
#define GADGET_SE_PATH_MAX 4096

/*
 * The process that owns a socket, kept in the map gadget_sockets.
 *
 * The members up to ipv6only are always there. Those from
 * optional_fields_start on exist only if the socket enricher was told to
 * collect them, with the sizes it was given. Look before use:
 * bpf_core_field_exists(value->cwd), bpf_core_field_size(value->cwd).
 */
struct gadget_socket_value {
	__u64 mntns;
	__u64 pid_tgid;
	__u64 uid_gid;
	char task[TASK_COMM_LEN];
	char ptask[TASK_COMM_LEN];
	__u64 sock;
	__u64 deletion_timestamp;
	__u32 ppid;
	__u32 ptid;
	char ipv6only;

	char optional_fields_start[0] __attribute__((aligned(8)));
	char cwd[GADGET_SE_PATH_MAX];
	char exepath[GADGET_SE_PATH_MAX];
} __attribute__((preserve_access_index));

#endif /* __GADGET_TYPES_H */
