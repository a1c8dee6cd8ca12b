// SPDX-License-Identifier: GPL-2.0-only
/*
 * btf2header: one C header of all the types of a kernel and of its modules.
 *
 *     btf2header IMAGE [MODULE.ko]... > vmlinux.h
 *
 * IMAGE is any file that holds the kernel's BTF as it is in memory: a vmlinux,
 * a decompressed boot image, or a raw BTF file. MODULE.ko (decompressed) is an
 * ELF file with a .BTF section whose type ids continue those of the kernel.
 *
 * libbpf can neither find a BTF in a boot image nor append a split BTF, so
 * these two are done here; deduplication and C output are libbpf's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/btf.h>

static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("btf2header: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/*
 * The largest BTF in the file: a header of version 1 without flags whose two
 * sections follow it directly and fit into the file.
 */
static struct btf *find_btf(const char *path)
{
	const unsigned char *best = NULL, *data, *p, *end;
	size_t best_size = 0;
	struct btf *btf;
	struct stat st;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", path, strerror(errno));
	data = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	end = data + st.st_size;

	for (p = data; p + sizeof(struct btf_header) <= end; p++) {
		struct btf_header header;
		size_t size;

		if (p[0] != 0x9f || p[1] != 0xeb)
			continue;
		memcpy(&header, p, sizeof(header));
		if (header.version != BTF_VERSION || header.flags ||
		    header.hdr_len != sizeof(header) || header.type_off ||
		    header.str_off != header.type_len)
			continue;
		size = sizeof(header) + (size_t)header.str_off + header.str_len;
		if (size <= (size_t)(end - p) && size > best_size) {
			best = p;
			best_size = size;
		}
	}
	if (!best)
		die("%s: no BTF found", path);
	btf = btf__new(best, best_size);
	if (!btf)
		die("%s: %s", path, strerror(errno));
	munmap((void *)data, st.st_size);
	close(fd);
	return btf;
}

/* Where the types of a module have got to among all types. */
struct move {
	__u32 first; /* id of the module's first own type */
	__u32 to;    /* its id among all types */
};

static void move_id(__u32 *id, const struct move *move)
{
	if (*id >= move->first)
		*id += move->to - move->first;
}

/* Apply `move` to each reference of the type to another one. */
static void move_type(struct btf_type *type, const struct move *move)
{
	__u16 i, n = btf_vlen(type);

	switch (btf_kind(type)) {
	case BTF_KIND_PTR:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
	case BTF_KIND_TYPE_TAG:
		move_id(&type->type, move);
		break;
	case BTF_KIND_ARRAY:
		move_id(&btf_array(type)->type, move);
		move_id(&btf_array(type)->index_type, move);
		break;
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		for (i = 0; i < n; i++)
			move_id(&btf_members(type)[i].type, move);
		break;
	case BTF_KIND_FUNC_PROTO:
		move_id(&type->type, move);
		for (i = 0; i < n; i++)
			move_id(&btf_params(type)[i].type, move);
		break;
	case BTF_KIND_DATASEC:
		for (i = 0; i < n; i++)
			move_id(&btf_var_secinfos(type)[i].type, move);
		break;
	default: /* INT, FLOAT, FWD, ENUM, ENUM64 refer to nothing */
		break;
	}
}

/*
 * Names of one word (struct histogram, struct entry, DATA) are those that
 * gadgets give to their own types. Where a module is the first to take one, it
 * gets a flavour: CO-RE ignores what follows three underscores.
 */
static __u32 own_name(struct btf *all, const struct btf *kernel, __u32 name_off)
{
	const char *name = btf__name_by_offset(all, name_off);
	char flavoured[256];
	int off;

	if (!*name || strchr(name, '_') ||
	    btf__find_by_name(kernel, name) > 0)
		return name_off;
	snprintf(flavoured, sizeof(flavoured), "%s___module", name);
	off = btf__add_str(all, flavoured);
	if (off < 0)
		die("%s: %s", name, strerror(-off));
	return off;
}

static void rename_type(struct btf *all, const struct btf *kernel, __u32 id)
{
	/* Adding a string can move the types, so each is looked up anew. */
#define TYPE ((struct btf_type *)btf__type_by_id(all, id))
	__u16 i, n = btf_vlen(TYPE);
	__u32 off;

	switch (btf_kind(TYPE)) {
	case BTF_KIND_ENUM:
		for (i = 0; i < n; i++) {
			off = own_name(all, kernel, btf_enum(TYPE)[i].name_off);
			btf_enum(TYPE)[i].name_off = off;
		}
		break;
	case BTF_KIND_ENUM64:
		for (i = 0; i < n; i++) {
			off = own_name(all, kernel, btf_enum64(TYPE)[i].name_off);
			btf_enum64(TYPE)[i].name_off = off;
		}
		break;
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
		break;
	default:
		return;
	}
	off = own_name(all, kernel, TYPE->name_off);
	TYPE->name_off = off;
#undef TYPE
}

static void append_module(struct btf *all, struct btf *kernel, const char *path)
{
	struct btf *module = btf__parse_split(path, kernel);
	struct move move = { .first = btf__type_cnt(kernel),
			     .to = btf__type_cnt(all) };
	__u32 id, n;

	if (!module) {
		fprintf(stderr, "btf2header: %s: no usable BTF, left out\n", path);
		return;
	}
	n = btf__type_cnt(module);
	for (id = move.first; id < n; id++) {
		int to = btf__add_type(all, module, btf__type_by_id(module, id));

		if (to < 0)
			die("%s: type %u: %s", path, id, strerror(-to));
		/* The type is in our own copy, so it may be written to. */
		move_type((struct btf_type *)btf__type_by_id(all, to), &move);
		rename_type(all, kernel, to);
	}
	btf__free(module);
}

static void print(void *ctx, const char *format, va_list args)
{
	(void)ctx;
	vprintf(format, args);
}

int main(int argc, char **argv)
{
	struct btf *kernel, *all;
	struct btf_dump *dump;
	__u32 id, n;
	int i, err;

	if (argc < 2)
		die("usage: btf2header IMAGE [MODULE.ko]...");

	kernel = find_btf(argv[1]);
	all = btf__new_empty();
	if (!all || btf__add_btf(all, kernel) < 0)
		die("copying the kernel's types: %s", strerror(errno));
	for (i = 2; i < argc; i++)
		append_module(all, kernel, argv[i]);
	if (argc > 2) {
		err = btf__dedup(all, NULL);
		if (err)
			die("deduplication: %s", strerror(-err));
	}

	dump = btf_dump__new(all, print, NULL, NULL);
	if (!dump)
		die("%s", strerror(errno));
	puts("#ifndef __VMLINUX_H__\n"
	     "#define __VMLINUX_H__\n\n"
	     "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n"
	     "#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)\n"
	     "#endif\n");
	n = btf__type_cnt(all);
	for (id = 1; id < n; id++) {
		err = btf_dump__dump_type(dump, id);
		if (err)
			die("writing type %u: %s", id, strerror(-err));
	}
	puts("#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n"
	     "#pragma clang attribute pop\n"
	     "#endif\n\n"
	     "#endif /* __VMLINUX_H__ */");
	if (fflush(stdout) || ferror(stdout))
		die("writing: %s", strerror(errno));
	btf_dump__free(dump);
	btf__free(all);
	btf__free(kernel);
	return 0;
}
