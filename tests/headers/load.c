// SPDX-License-Identifier: GPL-2.0-only
/*
 * load [--perf|--sockets] OBJECT [VARIABLE=VALUE]...: load all programs of an object into
 * the running kernel, with one-byte constants set as a user would. Prints what
 * the verifier says of a program that it refuses.
 *
 * --perf makes this a kernel without ring buffers: its helpers are not in the
 * BTF that the object is relocated against, and the events go to perf buffers.
 * --sockets adds the struct of the socket enricher to that BTF.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

static int set_constant(struct bpf_object *object, const char *name, char value)
{
	const struct btf *btf = bpf_object__btf(object);
	int id = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	const struct btf_type *section = btf__type_by_id(btf, id);
	const struct btf_var_secinfo *var;
	struct bpf_map *map;
	char *data = NULL;
	size_t size;
	int i;

	bpf_object__for_each_map(map, object)
		if (strstr(bpf_map__name(map), ".rodata"))
			data = (char *)bpf_map__initial_value(map, &size);
	if (!data || !section)
		return -1;
	var = btf_var_secinfos(section);
	for (i = 0; i < btf_vlen(section); i++, var++) {
		const struct btf_type *type = btf__type_by_id(btf, var->type);

		if (strcmp(btf__name_by_offset(btf, type->name_off), name))
			continue;
		data[var->offset] = value;
		return 0;
	}
	return -1;
}

/* The enricher's struct as it is with cwd=512 alone. */
static void add_socket_value(struct btf *btf)
{
	int u64 = btf__add_int(btf, "unsigned long long", 8, 0);
	int u32 = btf__add_int(btf, "unsigned int", 4, 0);
	int chr = btf__add_int(btf, "char", 1, BTF_INT_SIGNED);
	int comm = btf__add_array(btf, u32, chr, 16);
	int path = btf__add_array(btf, u32, chr, 512);

	btf__add_struct(btf, "gadget_socket_value", 600);
	btf__add_field(btf, "mntns", u64, 0 * 8, 0);
	btf__add_field(btf, "pid_tgid", u64, 8 * 8, 0);
	btf__add_field(btf, "uid_gid", u64, 16 * 8, 0);
	btf__add_field(btf, "task", comm, 24 * 8, 0);
	btf__add_field(btf, "ptask", comm, 40 * 8, 0);
	btf__add_field(btf, "sock", u64, 56 * 8, 0);
	btf__add_field(btf, "deletion_timestamp", u64, 64 * 8, 0);
	btf__add_field(btf, "ppid", u32, 72 * 8, 0);
	btf__add_field(btf, "ptid", u32, 76 * 8, 0);
	btf__add_field(btf, "ipv6only", chr, 80 * 8, 0);
	btf__add_field(btf, "cwd", path, 88 * 8, 0);
}

/* Path of a BTF that is the kernel's but for what the options say. */
static const char *other_btf(bool perf, bool sockets)
{
	static const char prefix[] = "BPF_FUNC_ringbuf_";
	static char path[64];
	const char *raw;
	char *copy, *found;
	__u32 size;
	struct btf *btf = btf__load_vmlinux_btf();
	int fd = memfd_create("btf", 0);

	if (btf && sockets)
		add_socket_value(btf);
	raw = btf ? btf__raw_data(btf, &size) : NULL;
	copy = raw ? malloc(size) : NULL;
	if (!copy || fd < 0)
		return NULL;
	memcpy(copy, raw, size);
	for (found = copy; perf && (found = memmem(found, copy + size - found,
						   prefix, sizeof(prefix) - 1));)
		*found = '_';
	if (write(fd, copy, size) != (ssize_t)size)
		return NULL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

/* What a runtime does to the maps of GADGET_TRACER_MAP(). */
static void use_perf_buffers(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		if (bpf_map__type(map) != BPF_MAP_TYPE_RINGBUF)
			continue;
		bpf_map__set_type(map, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
		bpf_map__set_key_size(map, sizeof(int));
		bpf_map__set_value_size(map, sizeof(int));
		bpf_map__set_max_entries(map, libbpf_num_possible_cpus());
	}
}

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_object_open_opts, options);
	struct bpf_object *object;
	struct bpf_map *map;
	bool perf, sockets;
	int i;

	perf = argc > 1 && !strcmp(argv[1], "--perf");
	sockets = argc > 1 && !strcmp(argv[1], "--sockets");
	if (perf || sockets) {
		argv++;
		argc--;
		options.btf_custom_path = other_btf(perf, sockets);
		if (!options.btf_custom_path) {
			fprintf(stderr, "no BTF\n");
			return 2;
		}
	}
	if (argc < 2) {
		fprintf(stderr, "usage: load [--perf|--sockets] OBJECT [VARIABLE=VALUE]...\n");
		return 2;
	}
	object = bpf_object__open_file(argv[1], &options);
	if (!object)
		return 1;
	if (perf)
		use_perf_buffers(object);
	map = bpf_object__find_map_by_name(object, "gadget_sockets");
	if (sockets && map)
		bpf_map__set_value_size(map, 600);
	/* Sized by the runtime; pinned maps are left alone here. */
	map = bpf_object__find_map_by_name(object, "ig_build_id");
	if (map)
		bpf_map__set_max_entries(map, 1);
	bpf_object__for_each_map(map, object)
		bpf_map__set_pin_path(map, NULL);
	for (i = 2; i < argc; i++) {
		char *equals = strchr(argv[i], '=');

		if (!equals)
			return 2;
		*equals = '\0';
		if (set_constant(object, argv[i], atoi(equals + 1))) {
			fprintf(stderr, "%s: no such constant\n", argv[i]);
			return 2;
		}
	}
	return bpf_object__load(object) ? 1 : 0;
}
