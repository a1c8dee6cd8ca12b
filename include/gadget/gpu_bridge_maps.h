/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Maps of the GPU bridge, pinned by their names under /sys/fs/bpf.
 *
 * Each map that is declared gets created, so a gadget says which it wants by
 * defining before the inclusion GPU_BRIDGE_WANT_META, GPU_BRIDGE_WANT_DEVICE,
 * GPU_BRIDGE_WANT_PER_PID, GPU_BRIDGE_WANT_PER_PID_PER_DEVICE, or for all of
 * them GPU_BRIDGE_WANT_ALL. Without a bridge they are empty.
 */
#ifndef __GADGET_GPU_BRIDGE_MAPS_H
#define __GADGET_GPU_BRIDGE_MAPS_H

#include <gadget/kernel_types.h>
#include <bpf/bpf_helpers.h>

#include <gadget/gpu_types.h>

#ifdef GPU_BRIDGE_WANT_ALL
#ifndef GPU_BRIDGE_WANT_META
#define GPU_BRIDGE_WANT_META
#endif
#ifndef GPU_BRIDGE_WANT_DEVICE
#define GPU_BRIDGE_WANT_DEVICE
#endif
#ifndef GPU_BRIDGE_WANT_PER_PID
#define GPU_BRIDGE_WANT_PER_PID
#endif
#ifndef GPU_BRIDGE_WANT_PER_PID_PER_DEVICE
#define GPU_BRIDGE_WANT_PER_PID_PER_DEVICE
#endif
#endif /* GPU_BRIDGE_WANT_ALL */

#ifdef GPU_BRIDGE_WANT_META
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gpu_meta);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} gpu_meta SEC(".maps");

/*
 * gpu_meta_fresh: the bridge's own record, or NULL if it last wrote more than
 * `stale_threshold_ms` ago. `now_boot_ns` is of bpf_ktime_get_boot_ns().
 */
static __always_inline struct gpu_meta *
gpu_meta_fresh(__u64 now_boot_ns, __u64 stale_threshold_ms)
{
	__u32 zero = 0;
	struct gpu_meta *meta = bpf_map_lookup_elem(&gpu_meta, &zero);
	__u64 updated;

	if (!meta)
		return NULL;
	updated = meta->last_update_boottime_ns;
	/* Never written. */
	if (updated == 0)
		return NULL;
	/* Another CPU may have been a little ahead. */
	if (now_boot_ns > updated &&
	    now_boot_ns - updated > stale_threshold_ms * 1000000ULL)
		return NULL;
	return meta;
}
#endif /* GPU_BRIDGE_WANT_META */

#ifdef GPU_BRIDGE_WANT_DEVICE
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GPU_MAX_DEVICES);
	__type(key, __u32);
	__type(value, struct gpu_device_metrics);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} gpu_device SEC(".maps");

/* gpu_device_underutilized: known, and busy for less than `max_pct` of the time. */
static __always_inline bool gpu_device_underutilized(__u8 dev_idx, __u32 max_pct)
{
	__u32 key = dev_idx;
	struct gpu_device_metrics *device =
		bpf_map_lookup_elem(&gpu_device, &key);

	return device && device->sm_util_pct < max_pct;
}
#endif /* GPU_BRIDGE_WANT_DEVICE */

#ifdef GPU_BRIDGE_WANT_PER_PID
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* process (tgid) */
	__type(value, struct gpu_pid_metrics_aggregated);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} gpu_per_pid SEC(".maps");

/* gpu_pid_holder: the process's record if it holds `min_bytes` of GPU memory. */
static __always_inline struct gpu_pid_metrics_aggregated *
gpu_pid_holder(__u32 tgid, __u64 min_bytes)
{
	struct gpu_pid_metrics_aggregated *metrics =
		bpf_map_lookup_elem(&gpu_per_pid, &tgid);

	if (!metrics || metrics->used_gpu_memory_total < min_bytes)
		return NULL;
	return metrics;
}
#endif /* GPU_BRIDGE_WANT_PER_PID */

#ifdef GPU_BRIDGE_WANT_PER_PID_PER_DEVICE
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* process << 32 | device */
	__type(value, struct gpu_pid_metrics);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} gpu_per_pid_per_device SEC(".maps");
#endif /* GPU_BRIDGE_WANT_PER_PID_PER_DEVICE */

#endif /* __GADGET_GPU_BRIDGE_MAPS_H */
