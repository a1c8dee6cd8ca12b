// SPDX-License-Identifier: GPL-2.0-only
/* Sizes and offsets of the ABI between gadgets and the runtime. */
#include "all.h"

#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#define ALIGN(type, align) _Static_assert(_Alignof(type) == (align), #type)
#define AT(type, member, offset) \
	_Static_assert(__builtin_offsetof(type, member) == (offset), #type "." #member)
/* What __uint() and __type() keep in the types of a map's members. */
#define NUMBER(map, member, value) \
	_Static_assert(sizeof(*map.member) / sizeof(int) == (value), #map "." #member)
#define SIZED(map, member, size) \
	_Static_assert(sizeof(*map.member) == (size), #map "." #member)

SIZE(union gadget_ip_addr_t, 16);
ALIGN(union gadget_ip_addr_t, 16);
SIZE(struct gadget_l3endpoint_t, 32);
ALIGN(struct gadget_l3endpoint_t, 16);
AT(struct gadget_l3endpoint_t, version, 16);
SIZE(struct gadget_l4endpoint_t, 32);
ALIGN(struct gadget_l4endpoint_t, 16);
AT(struct gadget_l4endpoint_t, port, 16);
AT(struct gadget_l4endpoint_t, proto_raw, 18);
AT(struct gadget_l4endpoint_t, version, 20);
SIZE(struct gadget_creds, 8);
SIZE(struct gadget_parent, 24);
AT(struct gadget_parent, pid, 16);
AT(struct gadget_parent, tid, 20);
SIZE(struct gadget_process, 64);
AT(struct gadget_process, pid, 16);
AT(struct gadget_process, tid, 20);
AT(struct gadget_process, mntns_id, 24);
AT(struct gadget_process, creds, 32);
AT(struct gadget_process, parent, 40);
SIZE(struct gadget_user_stack, 72);
AT(struct gadget_user_stack, inode, 8);
AT(struct gadget_user_stack, mtime_sec, 16);
AT(struct gadget_user_stack, mtime_nsec, 24);
AT(struct gadget_user_stack, base_addr_hash, 28);
AT(struct gadget_user_stack, stack_id, 32);
AT(struct gadget_user_stack, tgid_level0, 36);
AT(struct gadget_user_stack, pid_level0, 40);
AT(struct gadget_user_stack, pidns_level0, 44);
AT(struct gadget_user_stack, pid_level1, 48);
AT(struct gadget_user_stack, pidns_level1, 52);
AT(struct gadget_user_stack, otel_correlation_id, 56);
AT(struct gadget_user_stack, boot_timestamp, 64);
SIZE(struct gadget_socket_value, 8280);
AT(struct gadget_socket_value, task, 24);
AT(struct gadget_socket_value, ptask, 40);
AT(struct gadget_socket_value, sock, 56);
AT(struct gadget_socket_value, deletion_timestamp, 64);
AT(struct gadget_socket_value, ppid, 72);
AT(struct gadget_socket_value, ptid, 76);
AT(struct gadget_socket_value, ipv6only, 80);
AT(struct gadget_socket_value, optional_fields_start, 88);
AT(struct gadget_socket_value, cwd, 88);
AT(struct gadget_socket_value, exepath, 4184);
SIZE(struct gadget_socket_key, 12);
AT(struct gadget_socket_key, family, 4);
AT(struct gadget_socket_key, proto, 6);
AT(struct gadget_socket_key, port, 8);
SIZE(struct gpu_meta, 32);
AT(struct gpu_meta, clock_offset_ns, 24);
SIZE(struct gpu_device_metrics, 128);
AT(struct gpu_device_metrics, throttle_reasons, 56);
AT(struct gpu_device_metrics, nvlink_tx_kbps, 88);
AT(struct gpu_device_metrics, compute_mode, 124);
SIZE(struct gpu_pid_metrics, 40);
AT(struct gpu_pid_metrics, gpu_device, 32);
SIZE(struct gpu_pid_metrics_aggregated, 32);
AT(struct gpu_pid_metrics_aggregated, gpu_device_primary, 24);

NUMBER(ig_kstack, value_size, 1016);
NUMBER(ig_kstack, max_entries, 10000);
NUMBER(ig_ustack, value_size, 1016);
NUMBER(ig_build_id, value_size, 4064);
NUMBER(ig_build_id, max_entries, 0);
SIZED(otel_generic_params, value, 8);
NUMBER(gadget_heap, value_size, 10240);
SIZED(bufs, value, 32768);
NUMBER(gadget_mntns_filter_map, max_entries, 1024);
SIZED(gadget_mntns_filter_map, key, 8);
SIZED(gadget_mntns_filter_map, value, 4);
NUMBER(gadget_sockets, max_entries, 16384);
SIZED(gadget_sockets, key, 12);
SIZED(gadget_sockets, value, 8280);
NUMBER(gpu_device, max_entries, 16);
NUMBER(gpu_per_pid, max_entries, 4096);
NUMBER(gpu_per_pid_per_device, max_entries, 4096);
SIZED(gpu_per_pid_per_device, key, 8);

_Static_assert(TASK_COMM_LEN == 16, "TASK_COMM_LEN");
_Static_assert(GADGET_INVALID_ID == 0xffffffff, "GADGET_INVALID_ID");
_Static_assert(GADGET_SE_PATH_MAX == 4096 && GADGET_PATH_MAX == 512 && PATH_MAX == 4096, "paths");
