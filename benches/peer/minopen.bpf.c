// SPDX-License-Identifier: GPL-2.0
// The floor: what a hand-written libbpf program would do for `trace_open -c NAME`: enter and exit paired, one container, all fields.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "minopen.h"
char LICENSE[] SEC("license") = "GPL";
const volatile __u64 mntns = 0;
const volatile __u32 batch = 65536;
__u64 drops = 0;
struct args { const char *fname; __u32 flags; __u16 mode; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 22); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, __u32); __type(value, struct args); } start SEC(".maps");

static __always_inline int enter(const char *fname, __u32 flags, __u16 mode)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	__u32 tid = bpf_get_current_pid_tgid();
	if (BPF_CORE_READ(t, nsproxy, mnt_ns, ns.inum) != mntns)
		return 0;
	struct args a = { .fname = fname, .flags = flags, .mode = mode };
	bpf_map_update_elem(&start, &tid, &a, BPF_ANY);
	return 0;
}
static __always_inline int leave(long ret)
{
	__u64 id = bpf_get_current_pid_tgid(), ug;
	__u32 tid = id;
	struct args *a = bpf_map_lookup_elem(&start, &tid);
	if (!a)
		return 0;
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) { __sync_fetch_and_add(&drops, 1); goto out; }
	struct task_struct *t = (void *)bpf_get_current_task(), *p = BPF_CORE_READ(t, real_parent);
	ug = bpf_get_current_uid_gid();
	e->ts = bpf_ktime_get_boot_ns();
	e->pid = id >> 32; e->tid = tid; e->uid = ug; e->gid = ug >> 32; e->mntns = mntns;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->ppid = BPF_CORE_READ(p, tgid); e->ptid = BPF_CORE_READ(p, pid);
	BPF_CORE_READ_STR_INTO(&e->pcomm, p, comm);
	e->flags = a->flags; e->mode = a->mode; e->ret = ret;
	bpf_probe_read_user_str(e->fname, sizeof(e->fname), a->fname);
	bpf_ringbuf_submit(e, bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= batch ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
out:
	bpf_map_delete_elem(&start, &tid);
	return 0;
}
SEC("tp/syscalls/sys_enter_open") int e1(struct trace_event_raw_sys_enter *c) { return enter((void *)c->args[0], c->args[1], c->args[2]); }
SEC("tp/syscalls/sys_enter_openat") int e2(struct trace_event_raw_sys_enter *c) { return enter((void *)c->args[1], c->args[2], c->args[3]); }
SEC("tp/syscalls/sys_exit_open") int x1(struct trace_event_raw_sys_exit *c) { return leave(c->ret); }
SEC("tp/syscalls/sys_exit_openat") int x2(struct trace_event_raw_sys_exit *c) { return leave(c->ret); }
