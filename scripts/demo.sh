#!/bin/sh
# Shows trace_open at work for a few seconds: events of a process of the host, and of a container where docker is.
#
#   scripts/demo.sh PATH-TO-IG
set -eu

ig=$1
seconds=${SECONDS_TO_RUN:-5}
name=ig-demo-$$

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

echo "# ig run trace_open --host --comm head --timeout $seconds"
if command -v dockerd >/dev/null && as_root "$(dirname "$0")/testenv/docker.sh"; then
    # A loop in a container: its events carry the container's name.
    as_root docker run -d --rm --name "$name" busybox sh -c 'while sleep 0.5; do head -c1 /etc/hostname >/dev/null; done' >/dev/null
    trap 'as_root docker rm -f "$name" >/dev/null 2>&1 || true' EXIT
fi
( for _ in $(seq $((seconds * 2))); do sleep 0.5; head -c1 /etc/hostname >/dev/null; head -c1 /nonexistent 2>/dev/null || true; done ) &
events=$(mktemp)
as_root "$ig" run trace_open --host --comm head --timeout "$seconds" --fields runtime.containerName,proc.comm,proc.pid,fd,fname,error | tee "$events"
wait
lines=$(($(wc -l <"$events") - 1))
rm -f "$events"
[ "$lines" -gt 0 ] || { echo "demo: no event was seen" >&2; exit 1; }
echo "# $lines events"
