// SPDX-License-Identifier: GPL-2.0
/*
 * Takes mutexes in orders that are known beforehand. `circle` takes three in a circle, one thread after the other, so that nothing
 * is stuck; `circle ordered` takes them always in the same order. It begins when it may read a line, and ends when there is no other.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t mutexes[3] = {
	PTHREAD_MUTEX_INITIALIZER,
	PTHREAD_MUTEX_INITIALIZER,
	PTHREAD_MUTEX_INITIALIZER,
};

static void *take_two(void *order)
{
	const int *indexes = order;

	pthread_mutex_lock(&mutexes[indexes[0]]);
	pthread_mutex_lock(&mutexes[indexes[1]]);
	pthread_mutex_unlock(&mutexes[indexes[1]]);
	pthread_mutex_unlock(&mutexes[indexes[0]]);
	return NULL;
}

int main(int argc, char **argv)
{
	static const int circle[3][2] = { { 0, 1 }, { 1, 2 }, { 2, 0 } };
	static const int ordered[3][2] = { { 0, 1 }, { 1, 2 }, { 0, 2 } };
	int is_ordered = argc > 1 && strcmp(argv[1], "ordered") == 0;
	char line[16];

	if (!fgets(line, sizeof(line), stdin))
		return 1;
	for (int i = 0; i < 3; i++) {
		const int *order = is_ordered ? ordered[i] : circle[i];
		pthread_t thread;

		pthread_create(&thread, NULL, take_two, (void *)order);
		pthread_join(thread, NULL);
	}
	fgets(line, sizeof(line), stdin);
	return 0;
}
