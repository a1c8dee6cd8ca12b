/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Selection of containers by their mount namespaces.
 *
 * The runtime sets the variable and puts its own map in the place of this one;
 * both exist only in gadgets that include this header.
 */
#ifndef __GADGET_MNTNS_FILTER_H
#define __GADGET_MNTNS_FILTER_H

#include <gadget/kernel_types.h>
#include <bpf/bpf_helpers.h>

#include <gadget/types.h>

const volatile bool gadget_filter_by_mntns = false;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, gadget_mntns_id);
	__type(value, __u32);
} gadget_mntns_filter_map SEC(".maps");

/* gadget_should_discard_mntns_id: the namespace is none of the selected ones. */
static __always_inline bool gadget_should_discard_mntns_id(gadget_mntns_id mntns_id)
{
	return gadget_filter_by_mntns &&
	       !bpf_map_lookup_elem(&gadget_mntns_filter_map, &mntns_id);
}

#endif /* __GADGET_MNTNS_FILTER_H */
