// SPDX-License-Identifier: GPL-2.0-only
/* A struct with a member of each kind that becomes a field, or does not. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>

enum e1 { A = 1 };
enum flags_set { FA = 1, FB = 2 };

struct event {
	gadget_timestamp timestamp_raw;
	struct gadget_process proc;
	struct gadget_l3endpoint_t l3;
	struct gadget_l4endpoint_t l4;
	enum e1 e_raw;
	enum flags_set f_raw;
	char name[7];
	unsigned char uname[8];
	union {
		u32 x;
		u64 y;
	};
	struct {
		u16 p;
	} anon;
	u32 bf1 : 3;
	u32 bf2 : 5;
	void *ptr;
	char names[2][4];
	u32 arr[3];
	bool flag;
	struct gadget_user_stack ustack;
	u8 __priv;
};
_Static_assert(sizeof(struct event) == 304, "event");
_Static_assert(__builtin_offsetof(struct event, l3) == 80, "l3");
_Static_assert(__builtin_offsetof(struct event, l4) == 112, "l4");
_Static_assert(__builtin_offsetof(struct event, uname) == 159, "uname");
_Static_assert(__builtin_offsetof(struct event, x) == 168, "x");
_Static_assert(__builtin_offsetof(struct event, names) == 192, "names");
_Static_assert(__builtin_offsetof(struct event, ustack) == 216, "ustack");

GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(open, events, event);

SEC("tracepoint/syscalls/sys_enter_openat")
int enter(struct syscall_trace_enter *ctx)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->timestamp_raw = bpf_ktime_get_boot_ns();
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
