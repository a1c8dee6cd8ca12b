#!/bin/sh
# Makes a docker daemon answer on this machine and gives it a `busybox` image, without reaching any network.
#
#   scripts/testenv/docker.sh          start dockerd if none answers, wait until it does, import the image
#   scripts/testenv/docker.sh stop     end the dockerd that an earlier call has started (never another one)
#
# Safe to call again, and by several processes at once. Needs root, dockerd and a static busybox (Debian: docker.io,
# busybox-static).
set -eu

state=/run/ig-testenv
log=$state/dockerd.log
pidfile=$state/dockerd.pid
ready_within=${IG_TESTENV_TIMEOUT:-60}

say() { echo "testenv/docker: $*" >&2; }
die() { say "$*"; exit 1; }
answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

[ "$(id -u)" = 0 ] || die "must be run as root"
mkdir -p "$state"
exec 9>"$state/lock"
flock 9

if [ "${1:-}" = stop ]; then
    if [ -s "$pidfile" ] && pid=$(cat "$pidfile") && grep -qa dockerd "/proc/$pid/cmdline" 2>/dev/null; then
        kill "$pid"
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    fi
    rm -f "$pidfile"
    exit 0
fi

command -v dockerd >/dev/null || die "dockerd is not installed (Debian: apt-get install docker.io)"
command -v docker >/dev/null || die "the docker client is not installed (Debian: apt-get install docker-cli)"

# A dockerd that another hand is just starting deserves a moment before ours is tried.
if ! answers && [ -S /run/docker.sock ] && pgrep -x dockerd >/dev/null; then
    for _ in $(seq 50); do answers && break; sleep 0.2; done
fi

start() {
    say "starting dockerd $*"
    # shellcheck disable=SC2086 # the options are words
    setsid nohup dockerd "$@" >"$log" 2>&1 </dev/null 9>&- &
    echo $! >"$pidfile"
    i=0
    while [ $i -lt $((ready_within * 5)) ]; do
        answers && return 0
        kill -0 "$(cat "$pidfile")" 2>/dev/null || return 1
        i=$((i + 1))
        sleep 0.2
    done
    kill "$(cat "$pidfile")" 2>/dev/null || true
    return 1
}

# Daemons that were killed leave their pid files; one whose process is gone, or dead and not yet reaped, would keep dockerd from
# starting.
forget_dead() {
    [ -s "$1" ] || return 0
    case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$(cat "$1")/status" 2>/dev/null) in
        "" | Z*) rm -f "$1" ;;
    esac
}

if ! answers; then
    forget_dead /run/docker.pid
    forget_dead /run/docker/containerd/containerd.pid
    # The daemon's defaults first. Machines without netfilter have no bridge; without overlayfs (or on top of one), vfs works.
    start || start --iptables=false --ip6tables=false --bridge=none ||
        start --iptables=false --ip6tables=false --bridge=none --storage-driver=vfs || {
        tail -n 20 "$log" >&2
        die "dockerd does not start; its log is $log"
    }
fi

if ! docker image inspect busybox:latest >/dev/null 2>&1; then
    busybox=$(command -v busybox) || die "busybox is not installed (Debian: apt-get install busybox-static)"
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/root" "$root/proc" "$root/sys" "$root/dev"
    cp -L "$busybox" "$root/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    tar -C "$root" -c . | docker import --change 'ENV PATH=/bin' --change 'CMD ["sh"]' - busybox:latest >/dev/null
    docker run --rm busybox true || die "the busybox image does not run (is $busybox a static binary?)"
fi
