#!/bin/sh
# Builds the gadgets' own code in Rust and puts each module beside its gadget, as program.wasm.
#
#   scripts/guests.sh           build
#   scripts/guests.sh --check   say whether what is there was built from these sources, and whether these sources build
#
# The modules are in the repository so that building `ig` needs neither the wasm32-wasip1 target nor a second run of cargo. Compilers
# give other bytes where the tree or cargo's home have other paths, so what is compared are sums: gadgets/guests.sums has a line for
# each module with the sum of its sources, of itself, and its gadget.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
target=${CARGO_TARGET_DIR:-$root/target}/guests
sums=gadgets/guests.sums
export LC_ALL=C
export RUSTFLAGS="--remap-path-prefix=$root=/ig --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"

# One sum over the sources of the gadget in $1 and of the SDK that it is built with: names and contents.
sources() {
    find "$1/rust" wasmapi/rust \( -name target -prune \) -o -type f \( -name '*.rs' -o -name Cargo.toml -o -name Cargo.lock \) -print |
        sort | xargs sha256sum | sha256sum | cut -d' ' -f1
}

check=false
[ "${1:-}" != --check ] || check=true
new=$(mktemp)
trap 'rm -f "$new"' EXIT
for manifest in gadgets/*/rust/Cargo.toml; do
    [ -e "$manifest" ] || continue
    gadget=${manifest%/rust/Cargo.toml}
    CARGO_TARGET_DIR=$target/${gadget##*/} cargo build --quiet --locked --target wasm32-wasip1 --release --manifest-path "$manifest"
    $check || cp "$target/${gadget##*/}/wasm32-wasip1/release/program.wasm" "$gadget/program.wasm"
    echo "$(sources "$gadget") $(sha256sum <"$gadget/program.wasm" | cut -d' ' -f1) $gadget" >>"$new"
done
if $check; then
    diff "$sums" "$new" >&2 || { echo "guests: these modules were not built from these sources; run scripts/guests.sh" >&2; exit 1; }
else
    cp "$new" "$sums"
fi
