#!/bin/sh
# Measures ig beside the floor. See benches/README.md.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
ig=$(realpath "${1:-$here/../target/release/ig}")
"$here/../scripts/testenv/docker.sh"
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
exec python3 "$here/peer/peer.py" ${QUICK:+--quick} ours="$ig" floor="$here/peer/minopen.sh json"
