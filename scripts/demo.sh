#!/bin/sh
# Shows trace_open at work for a few seconds: events of a process of the host, and of a container where docker is. Fails when they
# were not seen.
#
#   scripts/demo.sh PATH-TO-IG
set -eu

ig=$1
seconds=${SECONDS_TO_RUN:-5}
name=ig-demo-$$
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

work=$(mktemp -d)
container=
cleanup() {
    [ -z "$container" ] || as_root docker rm -f "$name" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT

# A script that is executed goes by its own name, which no other process has.
cat >"$work/ig-demo" <<'SCRIPT'
#!/bin/sh
{ read -r _ </etc/hostname; read -r _ </nonexistent; } 2>/dev/null || true
SCRIPT
chmod 755 "$work/ig-demo"

if command -v dockerd >/dev/null && as_root "$(dirname "$0")/testenv/docker.sh"; then
    as_root docker run -d --rm --name "$name" -v "$work:/demo:ro" busybox \
        sh -c 'while sleep 0.5; do /demo/ig-demo; done' >/dev/null
    container=$name
fi
(
    for _ in $(seq $((seconds * 2))); do
        sleep 0.5
        "$work/ig-demo"
    done
) &

fields=runtime.containerName,proc.comm,proc.pid,fd,fname,error
echo "# ig run trace_open --host --comm ig-demo --fields $fields --timeout $seconds"
{
    as_root "$ig" run trace_open --host --comm ig-demo --fields $fields --timeout "$seconds" || echo "$?" >"$work/status"
} | tee "$work/events"
wait
[ ! -e "$work/status" ] || exit "$(cat "$work/status")"

saw() {
    grep -q "$2" "$work/events" || { echo "demo: no event of $1 was seen" >&2; exit 1; }
}
saw "a process of the host" '^ .*/etc/hostname'
saw "a file that does not exist" '/nonexistent.*ENOENT'
[ -z "$container" ] || saw "the container" "^$container .*/etc/hostname"
echo "# $(($(wc -l <"$work/events") - 1)) events"
