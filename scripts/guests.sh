#!/bin/sh
# Builds the gadgets' own code in Rust and puts each module beside its gadget, as program.wasm.
#
#   scripts/guests.sh           build
#   scripts/guests.sh --check   say whether what is there is what would be built
#
# The modules are in the repository so that building `ig` needs neither the wasm32-wasip1 target nor a second run of cargo. The same
# compiler gives the same bytes, wherever the tree is; which one it was is in gadgets/guests.rustc. Another one only compiles.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
target=${CARGO_TARGET_DIR:-$root/target}/guests
export RUSTFLAGS="--remap-path-prefix=$root=/ig --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
stale=""
compiler=$(rustc --version)
comparable=true
[ "$compiler" = "$(cat gadgets/guests.rustc 2>/dev/null)" ] || comparable=false
for manifest in gadgets/*/rust/Cargo.toml; do
    [ -e "$manifest" ] || continue
    gadget=${manifest%/rust/Cargo.toml}
    CARGO_TARGET_DIR=$target/${gadget##*/} cargo build --quiet --locked --target wasm32-wasip1 --release --manifest-path "$manifest"
    built=$target/${gadget##*/}/wasm32-wasip1/release/program.wasm
    if [ "${1:-}" = --check ]; then
        if $comparable; then cmp -s "$built" "$gadget/program.wasm" || stale="$stale $gadget"; fi
    else
        cp "$built" "$gadget/program.wasm"
    fi
done
[ "${1:-}" = --check ] || echo "$compiler" >gadgets/guests.rustc
if [ -n "$stale" ]; then
    echo "guests: these modules are not what their sources give; run scripts/guests.sh:$stale" >&2
    exit 1
fi
