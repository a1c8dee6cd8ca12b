/* SPDX-License-Identifier: GPL-2.0-only */
/* Slots of a histogram whose ranges double. */
#ifndef __GADGET_BITS_BPF_H
#define __GADGET_BITS_BPF_H

#include <gadget/kernel_types.h>
#include <bpf/bpf_helpers.h>

/* log2: number of the highest bit that is set, 0 for 0. */
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wincompatible-library-redeclaration"
static __always_inline __u64 log2(__u32 v)
{
	__u32 result = 0, shift;

	/* Halve the range that the highest bit can be in; no branches. */
	shift = (v > 0xffff) << 4;
	v >>= shift;
	result |= shift;
	shift = (v > 0xff) << 3;
	v >>= shift;
	result |= shift;
	shift = (v > 0xf) << 2;
	v >>= shift;
	result |= shift;
	shift = (v > 0x3) << 1;
	v >>= shift;
	result |= shift;
	return result | (v >> 1);
}
#pragma clang diagnostic pop

/* get_slot_idx: slot 0 is for 0, slot k is for 2^(k-1) ... 2^k - 1. */
static __always_inline __u64 get_slot_idx(__u64 v)
{
	__u32 high = v >> 32;

	if (v == 0)
		return 0;
	return high ? log2(high) + 33 : log2((__u32)v) + 1;
}

#endif /* __GADGET_BITS_BPF_H */
