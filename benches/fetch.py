#!/usr/bin/env python3
"""What fetching costs beside libbpf in C doing the same: iterators, maps, and many intervals.

  benches/fetch.py PATH-TO-IG

processes   snapshot_process with 5,000 processes, JSON: `whole` from the start of the command to the end of its line, `fetch` the part of it
            after "running..."; beside what the same takes in C: loading the object and reading the iterator, and the part of reading
sockets     snapshot_socket in 100 network namespaces of containers with ten sockets each, likewise
map         a map of a million entries taken out in batches: from "running..." to the end of the line, shown as JSON and all filtered
            out, beside the time that C needs for its batches
intervals   resident memory of top_file that is asked every 10 ms, after 100 and after 1,000 intervals

Times are medians of five interleaved rounds, in milliseconds. Needs root, gcc and libbpf-dev.
"""

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from fakes import docker, processes

HERE = os.path.dirname(os.path.abspath(__file__))
GADGETS = os.path.join(HERE, "../gadgets")
ROUNDS = 5
# Every entry is fetched and looked at, and none is shown.
NOTHING = ["--filter", "calls==18446744073709551615"]
ARCH = "arm64" if os.uname().machine == "aarch64" else "amd64"


def built(ig, source, directory):
    """The object of a gadget's directory."""
    out = os.path.join(directory, os.path.basename(source))
    os.mkdir(out)
    subprocess.run([ig, "image", "build", source, "-o", out], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(out, f"{ARCH}.bpf.o")


def ours(command):
    """Milliseconds until the command has printed a line whole, and how many of them were after it said that it runs."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1 << 20)
    running = []

    def watch():
        for line in child.stderr:
            if "running..." in line:
                running.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = child.stdout.fileno()
    while not (part := os.read(output, 1 << 20)).endswith(b"\n"):
        if not part:
            sys.exit(f"{command[0]} printed nothing")
    end = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.stdout.close()
    child.wait()
    watcher.join()
    return (end - start) * 1e3, (end - running[0]) * 1e3


def in_c(command):
    """Milliseconds that the C program took, and how many of them it says that getting the data took."""
    start = time.monotonic()
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]
    return (time.monotonic() - start) * 1e3, float(said)


def row(name, *columns):
    cells = "".join(f"{column:9.1f} " if column else f"{'':9} " for column in columns)
    whole = f"{columns[0] / columns[2]:7.2f}" if columns[0] else f"{'':7}"
    print(f"{name:20} {cells}{whole} {columns[1] / columns[3]:7.2f}", flush=True)


def compare(name, command, floor):
    times = [(*ours(command), *in_c(floor)) for _ in range(ROUNDS)]
    row(name, *(statistics.median(column) for column in zip(*times)))


def snapshot(ig, gadget, *flags):
    return [ig, "run", gadget, "--pull", "never", "-v", "-o", "json", *flags]


def sockets():
    return [opened for _ in range(10) if (opened := socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", 0)) is None]


def after_running(ig, *flags):
    """Milliseconds from "running..." to the end of the line of JSON of a run that fetches the filled map once."""
    gadget = os.path.join(HERE, "fetch/filled")
    fetch = ["--map-fetch-count", "1", "--map-fetch-interval", "1ms"]
    return ours([ig, "run", gadget, "-v", "-o", "json", *fetch, *flags])[1]


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def intervals(ig):
    command = [ig, "run", "top_file", "--pull", "never", "--host", "-o", "json", "--map-fetch-interval", "10ms"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    readings = {}
    for number, _ in enumerate(child.stdout, 1):
        if number in (100, 1000):
            readings[number] = resident(child.pid)
        if number == 1000:
            break
    child.send_signal(signal.SIGINT)
    child.stdout.close()
    child.wait()
    print(f"intervals            {readings[100]:9} {readings[1000]:9} KiB")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    ig = os.path.realpath(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        floor = os.path.join(directory, "floor")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", floor, f"{HERE}/fetch/floor.c", "-lbpf", "-lelf", "-lz"], check=True)
        print(f"{'':20} {'whole':>9} {'fetch':>9} {'C whole':>9} {'C fetch':>9} {'ratio':>7} {'ratio':>7}")

        sleepers = subprocess.Popen([floor, "sleepers", "5000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        sleepers.stdout.readline()
        process = built(ig, f"{GADGETS}/snapshot_process", directory)
        compare("processes", snapshot(ig, "snapshot_process", "--host"), [floor, "iter", process])
        sleepers.stdin.close()
        sleepers.wait()

        pids = processes(100, sockets)
        try:
            path = docker(directory, pids)
            names = [f"/proc/{pid}/ns/net" for pid in pids]
            object = built(ig, f"{GADGETS}/snapshot_socket", directory)
            compare("sockets", snapshot(ig, "snapshot_socket", "--docker-socketpath", path), [floor, "iter", object, *names])
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        filled = built(ig, f"{HERE}/fetch/filled", directory)
        after_running(ig, *NOTHING)  # compiles, if that has not been done
        floor_map = [floor, "map", filled, "entries"]
        times = [(in_c(floor_map)[1], after_running(ig, *NOTHING), after_running(ig)) for _ in range(ROUNDS)]
        bare, silent, as_json = (statistics.median(column) for column in zip(*times))
        row("map, filtered out", 0, silent, 0, bare)
        row("map, as JSON", 0, as_json, 0, bare)
        intervals(ig)


main()
