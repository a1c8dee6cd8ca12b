// SPDX-License-Identifier: GPL-2.0-only
/* A map that a program walks, entry by entry, and that keeps its entries. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/macros.h>

struct seen_key {
	__u32 number;
};

struct seen_value {
	__u64 calls;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct seen_key);
	__type(value, struct seen_value);
} seen SEC(".maps");

struct seen_entry {
	__u64 calls;
	__u32 number;
};

GADGET_ITER(entries, seen_entry, walk);
GADGET_ITER_TARGET_MAP(walk, seen);

SEC("iter/bpf_map_elem")
int walk(struct bpf_iter__bpf_map_elem *ctx)
{
	struct seen_key *key = ctx->key;
	struct seen_value *value = ctx->value;
	struct seen_entry entry = {};

	if (!key || !value)
		return 0;
	entry.number = key->number;
	entry.calls = value->calls;
	bpf_seq_write(ctx->meta->seq, &entry, sizeof(entry));
	return 0;
}

SEC("raw_tp/sys_enter")
int count(void *ctx)
{
	struct seen_key key = { 1 };
	struct seen_value value = { 7 };

	bpf_map_update_elem(&seen, &key, &value, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
