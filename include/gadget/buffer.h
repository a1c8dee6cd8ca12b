/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sending events to user space: through a ring buffer where the kernel has one
 * (5.8), through a perf buffer otherwise.
 *
 * The same object serves both. The runtime rewrites the map's type, and the
 * code below chooses by a CO-RE relocation on the ids of the helpers, so that
 * the other branch is dead code when the verifier sees it.
 *
 * Switches, to be defined before the inclusion:
 *   GADGET_NO_BUF_RESERVE  only gadget_output_buf() is wanted: no gadget_heap
 *   GADGET_MAX_EVENT_SIZE  largest event of gadget_reserve_buf(), in bytes
 *
 * Neither a reserved record nor gadget_heap is zeroed: an event must have all
 * of its bytes written before it is submitted, padding included.
 */
#ifndef __GADGET_BUFFER_H
#define __GADGET_BUFFER_H

#include <gadget/kernel_types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <gadget/macros.h>

#ifndef GADGET_MAX_EVENT_SIZE
#define GADGET_MAX_EVENT_SIZE 10240
#endif

/*
 * GADGET_TRACER_MAP: buffer `name` of `size` bytes (a power of two and a
 * multiple of the page size), and a per-CPU counter of the events that found
 * no room in it.
 */
#define GADGET_TRACER_MAP(name, size)                     \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_RINGBUF);       \
		__uint(max_entries, size);                \
	} name SEC(".maps");                              \
	__GADGET_MARKER(gadget_map_tracer_##name)         \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);  \
		__uint(max_entries, 1);                   \
		__type(key, __u32);                       \
		__type(value, __u64);                     \
	} name##_lost_samples SEC(".maps");

/* Atomic, since an interrupt can lose an event in the middle of the addition. */
static __always_inline void __gadget_count_lost(void *lost_samples)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(lost_samples, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

#ifndef GADGET_NO_BUF_RESERVE

/* Where an event is put together when it cannot be in the buffer itself. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, GADGET_MAX_EVENT_SIZE);
} gadget_heap SEC(".maps");

static __always_inline void *__gadget_reserve_buf(void *map, void *lost_samples,
						  __u64 size)
{
	__u32 zero = 0;
	void *buf;

	if (!bpf_core_enum_value_exists(enum bpf_func_id,
					BPF_FUNC_ringbuf_reserve))
		return bpf_map_lookup_elem(&gadget_heap, &zero);

	buf = bpf_ringbuf_reserve(map, size, 0);
	if (!buf)
		__gadget_count_lost(lost_samples);
	return buf;
}

/*
 * gadget_reserve_buf: room for an event of `size` bytes (a constant), or NULL.
 * Every reserved event has to be submitted or discarded. `map` has to be
 * written as `&name`, since the name of the lost-sample counter follows from
 * it.
 */
#define gadget_reserve_buf(map, size) \
	__gadget_reserve_buf(map, map##_lost_samples, size)

/* gadget_discard_buf: give back what gadget_reserve_buf() returned. */
static __always_inline void gadget_discard_buf(void *buf)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id,
				       BPF_FUNC_ringbuf_discard))
		bpf_ringbuf_discard(buf, 0);
}

/*
 * gadget_submit_buf: send an event that came from gadget_reserve_buf().
 *
 * The kernel wakes the reader only if it has read everything before (flags 0),
 * so a reader that drains on a timer costs no wake-ups.
 */
static __always_inline long gadget_submit_buf(void *ctx, void *map, void *buf,
					      __u64 size)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id,
				       BPF_FUNC_ringbuf_submit)) {
		bpf_ringbuf_submit(buf, 0);
		return 0;
	}
	return bpf_perf_event_output(ctx, map, BPF_F_CURRENT_CPU, buf, size);
}

#endif /* GADGET_NO_BUF_RESERVE */

static __always_inline long __gadget_output_buf(void *ctx, void *map,
						void *lost_samples, void *buf,
						__u64 size)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id,
				       BPF_FUNC_ringbuf_output)) {
		if (bpf_ringbuf_output(map, buf, size, 0))
			__gadget_count_lost(lost_samples);
		return 0;
	}
	return bpf_perf_event_output(ctx, map, BPF_F_CURRENT_CPU, buf, size);
}

/*
 * gadget_output_buf: copy `size` bytes (not necessarily a constant) into the
 * buffer. `map` has to be written as `&name`.
 */
#define gadget_output_buf(ctx, map, buf, size) \
	__gadget_output_buf(ctx, map, map##_lost_samples, buf, size)

#endif /* __GADGET_BUFFER_H */
