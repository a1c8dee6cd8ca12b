// SPDX-License-Identifier: GPL-2.0
/* One event with a member of every kind, each with a value that would look different if it were read as another. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>

enum colour { RED = 1, GREEN = 2, BLUE = 0x7fffffff };
enum access_set { READ = 1, WRITE = 2, EXECUTE = 4 };

struct inner {
	__u16 number;
	struct {
		__s8 deeper;
	} below;
};

struct event {
	__u8 u8;
	__u16 u16;
	__u32 u32;
	__u64 u64;
	__s8 s8;
	__s16 s16;
	__s32 s32;
	__s64 s64;
	float f32;
	double f64;
	bool yes;
	char text[8];
	__u32 numbers[3];
	__u8 bytes[4];
	struct inner inner;
	union {
		__u32 word;
		__u8 octet;
	} either;
	enum colour colour_raw;
	enum access_set access_raw;
	__u32 low : 3;
	__u32 middle : 5;
	__u32 high : 24;
	__s64 wide_negative : 40;
};

GADGET_TRACER_MAP(events, 1024 * 256);

GADGET_TRACER(kinds, events, event);

SEC("syscall")
int once(void *ctx)
{
	struct event *event = gadget_reserve_buf(&events, sizeof(*event));

	if (!event)
		return 0;
	__builtin_memset(event, 0, sizeof(*event));
	event->u8 = 200;
	event->u16 = 60000;
	event->u32 = 4000000000;
	event->u64 = 18000000000000000000ULL;
	event->s8 = -100;
	event->s16 = -30000;
	event->s32 = -2000000000;
	event->s64 = -9000000000000000000LL;
	/* There are no floating point registers here: the bits of 1.5 and -0.25. */
	*(__u32 *)&event->f32 = 0x3fc00000;
	*(__u64 *)&event->f64 = 0xbfd0000000000000ULL;
	event->yes = true;
	__builtin_memcpy(event->text, "a\"b\\c", 6);
	event->numbers[0] = 1;
	event->numbers[2] = 3;
	event->bytes[3] = 255;
	event->inner.number = 513;
	event->inner.below.deeper = -1;
	event->either.word = 0x01020304;
	event->colour_raw = BLUE;
	event->access_raw = READ | EXECUTE;
	event->low = 5;
	event->middle = 17;
	event->high = 0xabcdef;
	event->wide_negative = -3;
	gadget_submit_buf(ctx, &events, event, sizeof(*event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
