// SPDX-License-Identifier: GPL-2.0
/*
 * A program to be traced. `traced N` does N times what the tests wait for: a function is called, and static probes are
 * reached. The notes of these are written here, because sys/sdt.h is not everywhere.
 */
#include <stdlib.h>

#ifdef __x86_64__
#define OPERAND "nor"
#else
#define OPERAND "nZr"
#endif

/* A counter that the kernel raises as long as somebody traces the probe. */
unsigned short traced_guarded_semaphore __attribute__((section(".probes"), used));

/* The sizes of arguments are part of the text: 4 signed bytes, 8 unsigned ones. */
#define STATIC_PROBE(name, semaphore, first, second)                                                     \
	__asm__ volatile("990: nop\n"                                                                    \
			 ".pushsection .note.stapsdt,\"?\",\"note\"\n"                                   \
			 ".balign 4\n"                                                                   \
			 ".4byte 992f-991f, 994f-993f, 3\n"                                              \
			 "991: .asciz \"stapsdt\"\n"                                                     \
			 "992: .balign 4\n"                                                              \
			 "993: .8byte 990b, _.stapsdt.base, " semaphore "\n"                             \
			 ".asciz \"traced\"\n"                                                           \
			 ".asciz \"" name "\"\n"                                                         \
			 ".asciz \"-4@%[a] 8@%[b]\"\n"                                                   \
			 "994: .balign 4\n"                                                              \
			 ".popsection\n"                                                                 \
			 ".ifndef _.stapsdt.base\n"                                                      \
			 ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"         \
			 ".weak _.stapsdt.base\n"                                                        \
			 ".hidden _.stapsdt.base\n"                                                      \
			 "_.stapsdt.base: .space 1\n"                                                    \
			 ".size _.stapsdt.base, 1\n"                                                     \
			 ".popsection\n"                                                                 \
			 ".endif\n" ::[a] OPERAND((int)(first)),                                         \
			 [b] OPERAND((unsigned long)(second)))

__attribute__((noinline, visibility("default"))) int traced_function(int x)
{
	__asm__ volatile("");
	return x + 1;
}

/* Not visible in a library or program without its full table of symbols. */
__attribute__((noinline)) static void traced_local(volatile unsigned long *memory)
{
	STATIC_PROBE("place", "0", -5, *memory);
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 1;
	volatile unsigned long memory = 424242;

	for (int i = 0; i < times; i++) {
		traced_function(i);
		traced_local(&memory);
		/* The same probe at another place, its arguments elsewhere. */
		STATIC_PROBE("place", "0", -6, 7);
		if (*(volatile unsigned short *)&traced_guarded_semaphore)
			STATIC_PROBE("guarded", "traced_guarded_semaphore", 1, 2);
	}
	return 0;
}
