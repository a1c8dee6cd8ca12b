/* load OBJECT...: how long libbpf takes to open, load and attach each object, in microseconds.
 *
 * What a C programmer would write: everything that libbpf attaches by itself is attached, and what a gadget's runtime has to set before
 * (the size of the map of build ids) is set.
 */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

int main(int argc, char **argv)
{
	libbpf_set_print(quiet);
	for (int i = 1; i < argc; i++) {
		double start = now(), loaded, attached;
		struct bpf_object *object = bpf_object__open(argv[i]);
		struct bpf_program *program;
		struct bpf_map *map;
		struct bpf_link *links[1024];
		int count = 0;

		if (!object) {
			printf("%s\topen failed\n", argv[i]);
			continue;
		}
		bpf_object__for_each_map(map, object)
			if (!strcmp(bpf_map__name(map), "ig_build_id") && !bpf_map__max_entries(map))
				bpf_map__set_max_entries(map, 1);
		if (bpf_object__load(object)) {
			printf("%s\tload failed\n", argv[i]);
			bpf_object__close(object);
			continue;
		}
		loaded = now();
		bpf_object__for_each_program(program, object) {
			struct bpf_link *link = bpf_program__attach(program);

			if (link && count < 1024)
				links[count++] = link;
		}
		attached = now();
		printf("%s\t%.0f\t%.0f\t%d\n", argv[i], loaded - start, attached - loaded, count);
		while (count)
			bpf_link__destroy(links[--count]);
		bpf_object__close(object);
	}
	return 0;
}
