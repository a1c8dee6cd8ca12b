// SPDX-License-Identifier: GPL-2.0
/*
 * Work that is known beforehand. `work burn` computes until it is killed, in functions whose names a profile has to show; `work alloc` asks
 * the C library for memory in all ways, sizes that nobody else asks for.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

volatile unsigned long sink;

/* Only debugging information knows that it is there. */
static inline __attribute__((always_inline)) void burn_inlined(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		sink += i * i;
}

__attribute__((noinline)) void burn_leaf(unsigned long n)
{
	burn_inlined(n);
}

__attribute__((noinline)) void burn_outer(unsigned long rounds)
{
	for (unsigned long i = 0; i < rounds; i++) {
		burn_leaf(1000000);
		sink += i;
	}
}

/* The compiler leaves pairs of calls out whose memory nobody sees. */
__attribute__((noinline)) static void use_and_free(void *memory)
{
	sink += (unsigned long)memory;
	free(memory);
}

__attribute__((noinline)) static void alloc_all(void)
{
	void *memory = malloc(54321);

	sink += (unsigned long)memory;
	use_and_free(realloc(memory, 65432));
	use_and_free(calloc(3, 11111));
	if (posix_memalign(&memory, 64, 22222) == 0)
		use_and_free(memory);
	use_and_free(aligned_alloc(64, 64 * 333));
	use_and_free(memalign(64, 44444));
	use_and_free(valloc(55555));
	memory = mmap(NULL, 8192 * 5, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(memory, 8192 * 5);
	sink += 1;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "burn") == 0)
		for (;;)
			burn_outer(1000);
	/* Whoever wants to look at the process has the time to do so. */
	alloc_all();
	usleep(200 * 1000);
	return 0;
}
