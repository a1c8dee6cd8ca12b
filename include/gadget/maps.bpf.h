/* SPDX-License-Identifier: GPL-2.0-only */
/* Helpers for maps. */
#ifndef __GADGET_MAPS_BPF_H
#define __GADGET_MAPS_BPF_H

#include <gadget/kernel_types.h>
#include <bpf/bpf_helpers.h>

/* On a machine without the kernel's user-space headers the one number will do. */
#if __has_include(<asm-generic/errno.h>)
#include <asm-generic/errno.h>
#elif !defined(EEXIST)
#define EEXIST 17
#endif

/*
 * bpf_map_lookup_or_try_init: the value of `key`, which starts as a copy of
 * `init` if there is none. NULL if the map is full. Another CPU may insert at
 * the same time; then both get the one that won.
 */
static __always_inline void *
bpf_map_lookup_or_try_init(void *map, const void *key, const void *init)
{
	void *value = bpf_map_lookup_elem(map, key);
	long err;

	if (value)
		return value;
	err = bpf_map_update_elem(map, key, init, BPF_NOEXIST);
	if (err && err != -EEXIST)
		return 0;
	return bpf_map_lookup_elem(map, key);
}

#endif /* __GADGET_MAPS_BPF_H */
