#!/bin/sh
# Looks for inputs that break what reads texts and bytes of others: scripts/fuzz.sh [SECONDS [TARGET]…]
#
# Builds the targets of fuzz/ with libFuzzer and the address sanitizer (but that of guests), and runs each of them for SECONDS (60),
# beginning with the corpus in the tree. What is found is in fuzz/artifacts/TARGET; it goes into fuzz/corpus/TARGET with the fix. Inputs
# that only reach code which no other does are kept in target/fuzz/TARGET, so that the next run goes on from them.
#
# The sanitizer is an unstable flag of the compiler. RUSTC_BOOTSTRAP has the stable one accept it, so that the code that is fuzzed
# is compiled by the compiler that releases are built with.
set -eu
cd "$(dirname "$0")/.."
PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
export PATH RUSTC_BOOTSTRAP=1

seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | grep -v fuzz)

# Its own build is no business of the flags above.
cargo fuzz --version >/dev/null 2>&1 || env -u RUSTC_BOOTSTRAP cargo install --locked cargo-fuzz

status=0
for target in "$@"; do
    seen=target/fuzz/$target
    mkdir -p "$seen"
    echo "fuzz: $target for $seconds seconds" >&2
    # Guests run on stacks of their own, which the sanitizer takes for damaged ones.
    sanitizer=address
    [ "$target" != guest ] || sanitizer=none
    # Replays of recordings have threads and take more memory than texts.
    cargo fuzz run --sanitizer "$sanitizer" "$target" "$seen" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 || status=1
done
exit $status
