// SPDX-License-Identifier: GPL-2.0
/* A function of a program, and another one that takes its place. */
#include "../report.h"

__noinline int answer(int question)
{
	/* Not to be computed by the compiler. */
	asm volatile("" : "+r"(question));
	return question;
}

SEC("tracepoint/sched/sched_process_exit")
int on_exit(void *ctx)
{
	if (answer(1) == 2)
		return REPORT(ctx, "replaced");
	return REPORT(ctx, "original");
}

SEC("freplace/answer")
int other_answer(int question)
{
	return question + 1;
}

char LICENSE[] SEC("license") = "GPL";
