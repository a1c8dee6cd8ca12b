/* SPDX-License-Identifier: GPL-2.0 */
/* What container_hook.bpf.c and src/containers/hook.rs share. */
#ifndef CONTAINER_HOOK_H
#define CONTAINER_HOOK_H

/* How many filter maps can be kept up to date at once. */
#define HOOK_FILTERS 16
/* cgroup names: the process's own, its parent's and grandparent's. */
#define HOOK_LEVELS 3
/* Long enough for "cri-containerd-<64 digits>.scope" and NUL. */
#define HOOK_NAME 96

/* Values of a filter map. */
#define HOOK_SELECTED 1
#define HOOK_UNDECIDED 2

enum hook_kind {
	HOOK_CREATED = 1, /* a mount namespace was created */
	HOOK_PIVOT_ROOT,  /* a process changed its root */
	HOOK_EXEC,	  /* a process in a namespace that is not decided executed a program */
};

struct hook_record {
	__u64 mntns;
	__u64 parent_mntns; /* where the creator came from */
	__u64 netns;
	__u64 cgroup_id;  /* in the default hierarchy */
	__u64 timestamp;  /* since boot, ns */
	__u64 started_at; /* of the process, since boot, ns */
	__u32 kind;
	__u32 pid;
	char comm[16];
	char names[HOOK_LEVELS][HOOK_NAME];    /* default hierarchy */
	char v1_names[HOOK_LEVELS][HOOK_NAME]; /* a v1 hierarchy */
};

/* hook.rs reads a record by these. */
_Static_assert(sizeof(struct hook_record) == 72 + 2 * HOOK_LEVELS * HOOK_NAME, "layout of hook_record");
_Static_assert(__builtin_offsetof(struct hook_record, kind) == 48, "layout of hook_record");
_Static_assert(__builtin_offsetof(struct hook_record, names) == 72, "layout of hook_record");

/* Set before the programs are loaded. */
struct hook_config {
	__u64 host_mntns;
	__u32 use_perf;
	__u32 unused;
};

/* Seen by user space through a memory mapping. */
struct hook_state {
	__u64 sequence;		  /* raised after each record */
	__u64 lost;		  /* records that found no room */
	__u64 full[HOOK_FILTERS]; /* namespaces that found no room in the filter map of that index */
};

#endif
