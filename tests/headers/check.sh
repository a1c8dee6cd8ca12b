#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Checks the headers and the gadgets: that they compile without warnings for
# both architectures, that layouts and values are those of the ABI, and, as
# root, that the running kernel's verifier takes them. One line per check;
# exit 1 if one failed.
#
#     CLANG=clang-19 tests/headers/check.sh
#
# LIBBPF_INCLUDE is the directory that has libbpf's headers as bpf/*.h; default
# are those of the libbpf-sys crate, or else the system's. LIBBPF_LIBS links the
# loader (default: the system's libbpf); without a libbpf nothing is loaded, and
# the checks say SKIP.
set -u

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/headers
clang=${CLANG:-clang-16}
libbpf_libs=${LIBBPF_LIBS:--lbpf -lelf -lz}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

if [ -n "${LIBBPF_INCLUDE-}" ]; then
	libbpf=$LIBBPF_INCLUDE
else
	libbpf=$work/libbpf
	mkdir -p "$libbpf/bpf"
	for src in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/libbpf-sys-*/libbpf/src /usr/include/bpf; do
		[ -f "$src/bpf_helpers.h" ] || continue
		cp "$src"/*.h "$libbpf/bpf/"
		break
	done
fi

# report NAME STATUS: with the log of a failure.
report() {
	if [ "$2" -eq 0 ]; then
		echo "PASS $1"
	else
		echo "FAIL $1"
		head -n 20 "$work/log" | sed 's/^/    /'
		failed=1
	fi
}

# check NAME COMMAND...: passes if the command does.
check() {
	name=$1
	shift
	"$@" >"$work/log" 2>&1
	report "$name" $?
}

# refused NAME COMMAND...: passes if the command fails.
refused() {
	name=$1
	shift
	if "$@" >"$work/log" 2>&1; then
		echo "accepted, but must not be" >"$work/log"
		report "$name" 1
	else
		report "$name" 0
	fi
}

# bpf ARCH SOURCE OUTPUT [FLAG]...: as the product compiles.
bpf() {
	arch=$1 source=$2 output=$3
	shift 3
	case $arch in
	amd64) target=x86 ;;
	arm64) target=arm64 ;;
	esac
	# The types in the host's asm/ that are needed are the same on both.
	"$clang" -target bpf -Wall -Werror -g -O2 \
		-I"/usr/include/$(uname -m)-linux-gnu" -D "__TARGET_ARCH_$target" \
		"$@" -c "$source" -I "$root/include" -I "$libbpf" \
		-I "$root/vmlinux/$arch" -o "$output"
}

for arch in amd64 arm64; do
	check "$arch: layouts, tracing" bpf $arch "$here/layouts.bpf.c" "$work/layouts.o" -DGADGET_TYPE_TRACING
	check "$arch: layouts, networking" bpf $arch "$here/layouts.bpf.c" "$work/layouts.o" -DGADGET_TYPE_NETWORKING

	for header in "$root"/include/gadget/*.h; do
		header=$(basename "$header")
		echo "#include <gadget/$header>" >"$work/alone.c"
		case $header in
		sockets-map.h)
			refused "$arch: sockets-map.h without kernel types is refused" bpf $arch "$work/alone.c" "$work/alone.o"
			check "$arch: sockets-map.h after vmlinux.h" bpf $arch "$work/alone.c" "$work/alone.o" -include vmlinux.h
			;;
		*)
			check "$arch: $header alone" bpf $arch "$work/alone.c" "$work/alone.o"
			;;
		esac
	done
	echo "#include <gadget/types.h>" >"$work/types.c"
	check "$arch: types.h after vmlinux.h" bpf $arch "$work/types.c" "$work/types.o" -include vmlinux.h
	check "$arch: types.h after linux/types.h" bpf $arch "$work/types.c" "$work/types.o" -include linux/types.h

	for test in fields macros tracing sockets_tracing networking; do
		check "$arch: $test" bpf $arch "$here/$test.bpf.c" "$work/$test.$arch.o"
	done
	check "$arch: networking without vmlinux.h" bpf $arch "$here/networking.bpf.c" "$work/uapi.o" -DUAPI
	for test in "" "skb" "skb, data"; do
		printf '#include <gadget/packetfilter.h>\nGADGET_PF();\nint f(void *skb, void *data);\nint f(void *skb, void *data)\n{\n\treturn gadget_pf_matches(%s);\n}\n' "$test" >"$work/pf.c"
		refused "$arch: gadget_pf_matches($test) is refused" bpf $arch "$work/pf.c" "$work/pf.o"
	done
	printf '#include <vmlinux.h>\n#include <gadget/user_stack_map.h>\nint f(void *ctx, struct gadget_user_stack *s);\nint f(void *ctx, struct gadget_user_stack *s)\n{\n\tgadget_get_user_stack(ctx, s);\n\treturn 0;\n}\n' >"$work/ctx.c"
	refused "$arch: gadget_get_user_stack(void *) is refused" bpf $arch "$work/ctx.c" "$work/ctx.o"

	for gadget in "$root"/gadgets/*/program.bpf.c; do
		name=$(basename "$(dirname "$gadget")")
		check "$arch: gadget $name" bpf $arch "$gadget" "$work/$name.$arch.o"
	done
	for stage in 1 2 3; do
		check "$arch: lab, stage $stage" bpf $arch "$root/tests/gadgets/lab_open/$stage/program.bpf.c" "$work/lab$stage.$arch.o"
	done
done

# The names by which the runtime finds things.
for marker in \
	gadget_tracer_one___events___entry __gadget_tracer_type_one \
	gadget_tracer_two___more___entry gadget_map_tracer_events \
	events_lost_samples gadget_param_first gadget_param_second \
	gadget_iter_it1___entry___p1 unusedevent_it1___entry \
	gadget_iter_it2___entry___p1___p2 gadget_iter_it3___entry___p1___p2___p3 \
	gadget_iter_snap___entry___p1 gadget_mapiter_walk___counts \
	gadget_mapelem_iter_target_p1___counts gadget_sk_prog_target_p2___counts; do
	# Names are NUL terminated, so this does not take a part for the whole.
	check "marker $marker" sh -c "tr '\\0' '\\n' <'$work/macros.amd64.o' | grep -aqx '$marker'"
done
check "GADGET_NO_BUF_RESERVE: no gadget_heap" sh -c "test -s '$work/macros.amd64.o' && ! grep -aq gadget_heap '$work/macros.amd64.o'"

# The pure functions, compiled for this machine.
mkdir -p "$work/host/bpf"
echo 'typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;' >"$work/host/vmlinux.h"
printf '#undef __always_inline\n#define __always_inline inline __attribute__((always_inline))\n' >"$work/host/bpf/bpf_helpers.h"
check "helper values" sh -c "'$clang' -O1 -Wall -Werror -fno-builtin -I'$work/host' -I'$root/include' '$here/helpers.c' -o '$work/helpers' && '$work/helpers'"

# load OBJECT [VARIABLE=VALUE]...
load() {
	object=$1
	shift
	check "loads: $object${1:+ }$*" "$work/load" "$work/$object.$native.o" "$@"
}
case $(uname -m) in
x86_64) native=amd64 ;;
aarch64) native=arm64 ;;
*) native= ;;
esac
# shellcheck disable=SC2086 # libraries are meant to be split
if [ -z "$native" ] || [ "$(id -u)" -ne 0 ]; then
	echo "SKIP loading: needs root on amd64 or arm64"
elif ! ${CC:-cc} -I"$libbpf" -o "$work/load" "$here/load.c" $libbpf_libs 2>"$work/log"; then
	echo "SKIP loading: no libbpf to link with"
else
	load lab1
	load lab2
	load lab3
	load fields
	load tracing
	load tracing collect_ustack=1 collect_build_id=1
	load trace_open
	load trace_open paths=1 targ_failed=1 gadget_filter_by_mntns=1 targ_comm=65
	load trace_open collect_ustack=1 collect_build_id=1
	refused "refused: trace_open collect_ustack=1 collect_otel_stack=1" \
		"$work/load" "$work/trace_open.$native.o" collect_ustack=1 collect_otel_stack=1
	load trace_exec
	load trace_exec paths=1 ignore_failed=0
	for object in lab3 fields tracing trace_open trace_exec; do
		check "loads without ring buffers: $object" "$work/load" --perf "$work/$object.$native.o"
	done
	for object in networking sockets_tracing; do
		check "loads with a socket enricher: $object" "$work/load" --sockets "$work/$object.$native.o"
		check "loads with a socket enricher: $object targ_pid=1 gadget_filter_by_mntns=1 targ_comm=65" \
			"$work/load" --sockets "$work/$object.$native.o" targ_pid=1 gadget_filter_by_mntns=1 targ_comm=65
	done
	check "loads without ring buffers: trace_open paths=1" "$work/load" --perf "$work/trace_open.$native.o" paths=1
fi

exit $failed
