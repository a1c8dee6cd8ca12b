#!/bin/sh
# Counts how often ig wakes up while its gadget has nothing to report: benches/idle.sh [PATH-TO-IG [SECONDS]]
#
# A wake-up is a voluntary context switch that ended: what the kernel counts for each thread. Prints them per second for each thread
# and for all, and fails if these are more than LIMIT (20).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
ig=$(realpath "${1:-$here/../target/release/ig}")
seconds=${2:-20}
: "${LIMIT:=20}"
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing

# No container has this name, so that the kernel side reports nothing.
"$ig" run trace_open -c no-such-container --verify-image=false --pull never -o json >/dev/null &
pid=$!
trap 'kill -INT $pid 2>/dev/null; wait $pid 2>/dev/null || true' EXIT

# Prints thread id, wake-ups and name of each thread.
threads() {
    for task in /proc/$pid/task/*; do
        sed -n 's/^voluntary_ctxt_switches:[[:space:]]*//p' "$task/status" 2>/dev/null | tr '\n' ' '
        echo "${task##*/} $(cat "$task/comm" 2>/dev/null)"
    done
}

# What a start leaves behind is not idling.
sleep 5
kill -0 $pid || { echo "ig has ended" >&2; exit 1; }
before=$(mktemp)
threads >"$before"
sleep "$seconds"
threads | awk -v seconds="$seconds" -v limit="$LIMIT" -v before="$before" '
    BEGIN { while ((getline line < before) > 0) { split(line, part, " "); count[part[2]] = part[1] } }
    {
        rate = ($1 - count[$2]) / seconds
        total += rate
        name = $0
        sub(/^[0-9]+ [0-9]+ /, "", name)
        if (rate > 0) printf "%-16s %6.1f\n", name, rate
    }
    END {
        printf "%-16s %6.1f wake-ups per second\n", "all threads", total
        exit total > limit
    }' || status=1
rm -f "$before"
exit ${status:-0}
