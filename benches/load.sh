#!/bin/sh
# Measures loading and attaching of bundled gadgets beside libbpf in C. See benches/README.md.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
[ $# -gt 0 ] || set -- $(for source in gadgets/*/program.bpf.c; do basename "$(dirname "$source")"; done)
work=${TMPDIR:-/tmp}/ig-bench-load
mkdir -p "$work"
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
cc -O2 -Wall "$here/load/load.c" -o "$work/load" -lbpf -lelf -lz
case $(uname -m) in aarch64) arch=arm64 ;; *) arch=amd64 ;; esac
objects=
ig=${IG:-target/release/ig}
for gadget in "$@"; do
    mkdir -p "$work/$gadget"
    "$ig" image build "gadgets/$gadget" -o "$work/$gadget" >/dev/null
    cp "gadgets/$gadget/gadget.yaml" "$work/$gadget/"
    objects="$objects $work/$gadget/$arch.bpf.o"
done
# shellcheck disable=SC2086 # one word per object
exec cargo bench --quiet --bench load ${PROFILE:+--profile "$PROFILE"} -- --floor "$work/load" $objects
