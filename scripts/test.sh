#!/bin/sh
# Runs all tests of this machine: pure ones, and those that load programs, start containers and talk to a registry.
#
# What a test needs is started here. A test whose need is not there fails; with IG_TEST_ALLOW_SKIP=1 it says SKIPPED instead,
# and the number of these is printed at the end.
set -eu
cd "$(dirname "$0")/.."

PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

# Only what needs root gets it: with a cargo of root's the user could not write to target/ afterwards.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E env "PATH=$PATH" "$@"; fi
}
if [ "$(id -u)" != 0 ]; then
    triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${triple}_RUNNER=sudo -E env PATH=$PATH"
fi

mountpoint -q /sys/kernel/tracing || as_root mount -t tracefs tracefs /sys/kernel/tracing || true
mountpoint -q /sys/fs/bpf || as_root mount -t bpf bpf /sys/fs/bpf || true
as_root scripts/testenv/docker.sh

command -v clang-16 >/dev/null || export CLANG="${CLANG:-clang}"
as_root env "CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}" tests/headers/check.sh
scripts/guests.sh --check
for manifest in wasmapi/rust/Cargo.toml gadgets/*/rust/Cargo.toml; do
    # A directory for each: cargo takes packages of one name for the same.
    CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/guests-tests/$manifest cargo test --quiet --manifest-path "$manifest"
done

# What a test that passes has printed is shown only on demand, and SKIPPED is such a line.
show=${IG_TEST_ALLOW_SKIP:+--nocapture}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The library's ignored tests need root, which is here; those of the live kernel that are ignored say which feature they wait for.
# Tests of the live kernel see each other's events and share the docker daemon: one at a time.
status=0
{
    cargo test --lib --bins --examples -- --include-ignored --skip a_panic_of_another_thread $show &&
        cargo test --doc &&
        cargo test --test '*' -- --test-threads=1 $show
} 2>&1 | tee "$log" || status=$?
if grep -q '^test result: FAILED\|^error' "$log"; then status=1; fi
passed=$(awk '/^test result:/ { n += $4 } END { print n + 0 }' "$log")
failed=$(awk '/^test result:/ { n += $6 } END { print n + 0 }' "$log")
skipped=$(grep -c 'SKIPPED: ' "$log" || true)
echo "$passed passed, $failed failed, $skipped skipped"
exit $status
