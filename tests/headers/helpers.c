// SPDX-License-Identifier: GPL-2.0-only
/* Runs on the build machine: values of the pure functions. */
#include <stdio.h>

#include <gadget/bits.bpf.h>
#include <gadget/fnv1a.h>

static int failed;

static void expect(const char *what, __u64 have, __u64 want)
{
	if (have == want)
		return;
	printf("%s: %#llx, not %#llx\n", what, have, want);
	failed = 1;
}

int main(void)
{
	static const struct { __u64 value, slot; } slots[] = {
		{ 0, 0 }, { 1, 1 }, { 2, 2 }, { 3, 2 }, { 4, 3 },
		{ 1023, 10 }, { 1024, 11 }, { 0xffffffffULL, 32 },
		{ 1ULL << 32, 33 }, { 1ULL << 63, 64 }, { ~0ULL, 64 },
	};
	__u32 h32;
	__u64 h64;
	unsigned i;

	for (i = 0; i < sizeof(slots) / sizeof(slots[0]); i++)
		expect("get_slot_idx", get_slot_idx(slots[i].value), slots[i].slot);
	expect("log2 of 0", (log2)(0), 0);

	h32 = fnv_32a_init();
	fnv_32a_update_u8(&h32, 0x61);
	expect("fnv_32a u8", h32, 0xe40c292c);
	h32 = fnv_32a_init();
	fnv_32a_update_u32(&h32, 1);
	expect("fnv_32a u32", h32, 0xfb69b604);
	h32 = fnv_32a_init();
	fnv_32a_update_u64(&h32, 0x1122334455667788ULL);
	expect("fnv_32a u64", h32, 0xf24b8e95);
	h64 = fnv_64a_init();
	fnv_64a_update_u8(&h64, 0x61);
	expect("fnv_64a u8", h64, 0xaf63dc4c8601ec8cULL);
	h64 = fnv_64a_init();
	fnv_64a_update_u64(&h64, 1);
	expect("fnv_64a u64", h64, 0x89cd31291d2aefa4ULL);
	/* Integers go in as little-endian bytes. */
	h64 = fnv_64a_init();
	fnv_64a_update_u16(&h64, 0x0102);
	h32 = h64 >> 32;
	h64 = fnv_64a_init();
	fnv_64a_update_u8(&h64, 0x02);
	fnv_64a_update_u8(&h64, 0x01);
	expect("fnv_64a u16", h32, h64 >> 32);
	return failed;
}
