/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * FNV-1a hashes of integers, taken in as little-endian bytes whatever the byte
 * order of the machine.
 *
 *     __u32 hash = fnv_32a_init();
 *     fnv_32a_update_u64(&hash, value);
 */
#ifndef __GADGET_FNV1A_H
#define __GADGET_FNV1A_H

#include <gadget/kernel_types.h>
#include <bpf/bpf_helpers.h>

#define FNV1_32_INIT ((__u32)0x811c9dc5)
#define FNV1_32_PRIME ((__u32)0x01000193)
#define FNV1_64_INIT ((__u64)0xcbf29ce484222325ULL)
#define FNV1_64_PRIME ((__u64)0x100000001b3ULL)

static __always_inline __u32 fnv_32a_init(void)
{
	return FNV1_32_INIT;
}

static __always_inline __u64 fnv_64a_init(void)
{
	return FNV1_64_INIT;
}

#define __GADGET_FNV1A_UPDATE(function, hash_type, prime, value_type)    \
	static __always_inline void function(hash_type *hash,            \
					     value_type value)           \
	{                                                                \
		__u32 byte;                                              \
		_Pragma("unroll")                                        \
		for (byte = 0; byte < sizeof(value); byte++) {           \
			*hash ^= (__u8)((__u64)value >> (8 * byte));     \
			*hash *= (prime);                                \
		}                                                        \
	}

__GADGET_FNV1A_UPDATE(fnv_32a_update_u64, __u32, FNV1_32_PRIME, __u64)
__GADGET_FNV1A_UPDATE(fnv_32a_update_u32, __u32, FNV1_32_PRIME, __u32)
__GADGET_FNV1A_UPDATE(fnv_32a_update_u16, __u32, FNV1_32_PRIME, __u16)
__GADGET_FNV1A_UPDATE(fnv_32a_update_u8, __u32, FNV1_32_PRIME, __u8)

__GADGET_FNV1A_UPDATE(fnv_64a_update_u64, __u64, FNV1_64_PRIME, __u64)
__GADGET_FNV1A_UPDATE(fnv_64a_update_u32, __u64, FNV1_64_PRIME, __u32)
__GADGET_FNV1A_UPDATE(fnv_64a_update_u16, __u64, FNV1_64_PRIME, __u16)
__GADGET_FNV1A_UPDATE(fnv_64a_update_u8, __u64, FNV1_64_PRIME, __u8)

#endif /* __GADGET_FNV1A_H */
