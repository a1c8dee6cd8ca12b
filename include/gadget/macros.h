/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Declarations through which a gadget tells the runtime what it offers.
 *
 * Every macro leaves a global pointer in the object whose name carries the
 * information, its parts separated by three underscores. The runtime reads the
 * names from the BTF and never the values, so the pointers must stay global
 * and of type `const void *`: anything else is ignored.
 */
#ifndef __GADGET_MACROS_H
#define __GADGET_MACROS_H

/* One marker. It ends in a semicolon, so one more from the user does no harm. */
#define __GADGET_MARKER(marker) const void *marker __attribute__((unused));

/* Keeps `struct type` in the BTF even when only pointers to it are used. */
#define __GADGET_KEEP_TYPE(pointer, type) \
	const struct type *pointer __attribute__((unused));

/*
 * GADGET_TRACER: data source `name` gets one event per record of buffer `map`.
 * Records are of `struct type`. See GADGET_TRACER_MAP in buffer.h.
 */
#define GADGET_TRACER(name, map, type)                        \
	__GADGET_MARKER(gadget_tracer_##name##___##map##___##type) \
	__GADGET_KEEP_TYPE(__gadget_tracer_type_##name, type)

/* GADGET_PARAM: the `const volatile` variable `name` can be set by the user. */
#define GADGET_PARAM(name) __GADGET_MARKER(gadget_param_##name)

#define __GADGET_ITER_1(name, type, p1)                            \
	__GADGET_KEEP_TYPE(unusedevent_##name##___##type, type)    \
	__GADGET_MARKER(gadget_iter_##name##___##type##___##p1)

#define __GADGET_ITER_2(name, type, p1, p2)                        \
	__GADGET_KEEP_TYPE(unusedevent_##name##___##type, type)    \
	__GADGET_MARKER(gadget_iter_##name##___##type##___##p1##___##p2)

#define __GADGET_ITER_3(name, type, p1, p2, p3)                    \
	__GADGET_KEEP_TYPE(unusedevent_##name##___##type, type)    \
	__GADGET_MARKER(                                           \
		gadget_iter_##name##___##type##___##p1##___##p2##___##p3)

#define __GADGET_ITER_PICK(_1, _2, _3, chosen, ...) chosen

/*
 * GADGET_ITER: data source `name` is an array filled by one to three iterator
 * programs (SEC("iter/...")), each writing records of `struct type`.
 */
#define GADGET_ITER(name, type, ...)                                      \
	__GADGET_ITER_PICK(__VA_ARGS__, __GADGET_ITER_3, __GADGET_ITER_2, \
			   __GADGET_ITER_1, )                             \
	(name, type, __VA_ARGS__)

/* Deprecated name of GADGET_ITER, kept for older gadgets. */
#define GADGET_SNAPSHOTTER(name, type, ...) GADGET_ITER(name, type, __VA_ARGS__)

/*
 * GADGET_MAPITER: data source `name` is the content of `map`, which must be a
 * BPF_MAP_TYPE_HASH whose key and value are structs. Fetching empties it.
 */
#define GADGET_MAPITER(name, map) __GADGET_MARKER(gadget_mapiter_##name##___##map)

/* GADGET_ITER_TARGET_MAP: SEC("iter/bpf_map_elem") program `prog` walks `map`. */
#define GADGET_ITER_TARGET_MAP(prog, map) \
	__GADGET_MARKER(gadget_mapelem_iter_target_##prog##___##map)

/* GADGET_SK_TARGET_MAP: sk_skb or sk_msg program `prog` is attached to `map`. */
#define GADGET_SK_TARGET_MAP(prog, map) \
	__GADGET_MARKER(gadget_sk_prog_target_##prog##___##map)

#endif /* __GADGET_MACROS_H */
