/* The same fetches with libbpf in C and nothing else.
 *
 *   floor iter OBJECT [NETNS...]   attaches the object's iterators and reads each once, in every network namespace (files to setns to)
 *   floor map OBJECT MAP           runs the object's programs of type syscall, and takes every entry out of MAP in batches
 *   floor sleepers COUNT           starts processes that do nothing, says so, and ends them when its input ends
 *
 * Prints the bytes or entries that it got, and the milliseconds that getting them took.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH 4096

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct bpf_link *links[16];
static int link_count;

static void attach_all(struct bpf_object *object)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) {
		if (link_count == 16)
			die("too many programs");
		links[link_count] = bpf_program__attach_iter(program, NULL);
		if (!links[link_count++])
			die("attach");
	}
}

static long read_all(void)
{
	static char buffer[64 * 1024];
	long total = 0;
	ssize_t n;

	for (int i = 0; i < link_count; i++) {
		int fd = bpf_iter_create(bpf_link__fd(links[i]));

		if (fd < 0)
			die("iterator");
		while ((n = read(fd, buffer, sizeof(buffer))) > 0)
			total += n;
		if (n < 0)
			die("read");
		close(fd);
	}
	return total;
}

static long take_all(struct bpf_object *object, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(object, name);
	struct bpf_map_info info = {};
	__u32 size = sizeof(info), count, place, *from = NULL;
	char *keys, *values;
	long total = 0;
	int error;

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
		die("map");
	keys = malloc((size_t)BATCH * info.key_size);
	values = malloc((size_t)BATCH * info.value_size);
	do {
		count = BATCH;
		error = bpf_map_lookup_and_delete_batch(fd, from, &place, keys, values, &count, NULL);
		if (error && errno != ENOENT)
			die("batch");
		total += count;
		from = &place;
	} while (!error);
	return total;
}

static int sleepers(int count)
{
	setpgid(0, 0);
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid)
			for (;;)
				pause();
	}
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	return 0;
}

int main(int argc, char **argv)
{
	struct bpf_object *object;
	struct bpf_program *program;
	double start;
	long total = 0;

	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "sleepers"))
		return sleepers(atoi(argv[2]));
	libbpf_set_print(quiet);
	object = bpf_object__open(argv[2]);
	if (!object || bpf_object__load(object))
		die(argv[2]);
	if (!strcmp(argv[1], "map")) {
		LIBBPF_OPTS(bpf_test_run_opts, options);

		bpf_object__for_each_program(program, object)
			if (bpf_prog_test_run_opts(bpf_program__fd(program), &options))
				die("run");
		start = now();
		total = take_all(object, argv[3]);
	} else {
		attach_all(object);
		start = now();
		if (argc == 3)
			total = read_all();
		for (int i = 3; i < argc; i++) {
			int fd = open(argv[i], O_RDONLY | O_CLOEXEC);

			if (fd < 0 || setns(fd, CLONE_NEWNET))
				die(argv[i]);
			close(fd);
			total += read_all();
		}
	}
	printf("%ld %.2f\n", total, now() - start);
	return 0;
}
