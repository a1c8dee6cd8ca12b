// SPDX-License-Identifier: GPL-2.0-only
/*
 * profile_cpu: how often the clock of a CPU found which code running.
 *
 * Samples are counted in the kernel, by process, kernel stack and user stack.
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define GPU_BRIDGE_WANT_META
#define GPU_BRIDGE_WANT_DEVICE
#define GPU_BRIDGE_WANT_PER_PID
#include <gadget/common.h>
#include <gadget/filter.h>
#include <gadget/gpu_bridge_maps.h>
#include <gadget/kernel_stack_map.h>
#include <gadget/macros.h>
#include <gadget/maps.bpf.h>
#include <gadget/types.h>
#include <gadget/user_stack_map.h>

/* What an id is when there is no stack. */
#define NO_STACK ((__u32)-1)

const volatile bool kernel_stacks_only = false;
GADGET_PARAM(kernel_stacks_only);

const volatile bool user_stacks_only = false;
GADGET_PARAM(user_stacks_only);

const volatile bool include_idle = false;
GADGET_PARAM(include_idle);

const volatile bool gpu_idle_only = false;
GADGET_PARAM(gpu_idle_only);

const volatile __u32 gpu_util_max_pct = 70;
GADGET_PARAM(gpu_util_max_pct);

const volatile __u64 min_gpu_mem_bytes = 1;
GADGET_PARAM(min_gpu_mem_bytes);

const volatile __u64 stale_threshold_ms = 300;
GADGET_PARAM(stale_threshold_ms);

struct key_t {
	__u64 kernel_ip;
	__u32 user_stack_id;
	gadget_kernel_stack kern_stack_raw;
	struct gadget_process proc;
};

struct values {
	__u64 samples;
	struct gadget_user_stack user_stack_raw;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, struct key_t);
	__type(value, struct values);
} counts SEC(".maps");
GADGET_MAPITER(samples, counts);

/* What does not fit on the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct key_t);
} tmp_key SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct values);
} tmp_values SEC(".maps");

/* Whether the process holds memory of a GPU that has little to do. */
static __always_inline bool waits_for_gpu(__u32 tgid)
{
	struct gpu_pid_metrics_aggregated *holder;

	if (!gpu_meta_fresh(bpf_ktime_get_boot_ns(), stale_threshold_ms))
		return false;
	holder = gpu_pid_holder(tgid, min_gpu_mem_bytes);
	if (!holder)
		return false;
	return holder->gpu_device_primary == GPU_DEVICE_PRIMARY_MULTI ||
	       gpu_device_underutilized(holder->gpu_device_primary,
					gpu_util_max_pct);
}

SEC("perf_event/profiler")
int ig_prof_cpu(struct bpf_perf_event_data *ctx)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct values *new, *values;
	struct key_t *key;
	__u32 zero = 0;
	long id;
	__u64 ip;

	if (!include_idle && (__u32)pid_tgid == 0)
		return 0;
	if (gadget_should_discard_data_current())
		return 0;
	if (gpu_idle_only && !waits_for_gpu(pid_tgid >> 32))
		return 0;

	key = bpf_map_lookup_elem(&tmp_key, &zero);
	new = bpf_map_lookup_elem(&tmp_values, &zero);
	if (!key || !new)
		return 0;
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memset(new, 0, sizeof(*new));
	gadget_process_populate(&key->proc);

	/* Negative where the sample was taken in user mode. */
	id = user_stacks_only ? -1 : bpf_get_stackid(ctx, &ig_kstack, 0);
	key->kern_stack_raw = id < 0 ? NO_STACK : id;
	if (id >= 0) {
		ip = PT_REGS_IP(&ctx->regs);
		/* Kernel addresses have their top bit set. */
		if ((__s64)ip < 0)
			key->kernel_ip = ip;
	}
	if (!kernel_stacks_only)
		gadget_get_user_stack(ctx, &new->user_stack_raw);
	key->user_stack_id = new->user_stack_raw.stack_id;

	values = bpf_map_lookup_or_try_init(&counts, key, new);
	if (values)
		__sync_fetch_and_add(&values->samples, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
