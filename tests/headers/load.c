// SPDX-License-Identifier: GPL-2.0-only
/*
 * load OBJECT [VARIABLE=VALUE]...: load all programs of an object into the
 * running kernel, with one-byte constants set as a user would. Prints what the
 * verifier says of a program that it refuses.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(int argc, char **argv)
{
	struct bpf_object *object;
	struct bpf_map *map;
	int i;

	if (argc < 2) {
		fprintf(stderr, "usage: load OBJECT [VARIABLE=VALUE]...\n");
		return 2;
	}
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return 1;
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
