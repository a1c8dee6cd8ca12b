// SPDX-License-Identifier: GPL-2.0-only
/*
 * A map of one million entries, filled once; to be fetched as rows.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/macros.h>

#define ENTRIES (1 << 20)

struct entry_key {
	__u64 number;
};

struct entry_value {
	__u64 calls;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, struct entry_key);
	__type(value, struct entry_value);
} entries SEC(".maps");

GADGET_MAPITER(filled, entries);

static long put(__u32 number, void *unused)
{
	struct entry_key key = { .number = number };
	struct entry_value value = { .calls = number, .bytes = 4096 };

	bpf_map_update_elem(&entries, &key, &value, BPF_ANY);
	return 0;
}

SEC("syscall")
int fill(void *unused)
{
	bpf_loop(1000000, put, NULL, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
