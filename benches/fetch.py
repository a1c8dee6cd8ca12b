#!/usr/bin/env python3
"""What fetching costs beside libbpf in C doing the same: iterators, maps, and many intervals.

  benches/fetch.py PATH-TO-IG

processes   snapshot_process with 5,000 processes, JSON: `whole` from the start of the command to the end of its line, `fetch` the part of it
            after "running..."; beside what reading the same iterator takes in C
sockets     snapshot_socket in 100 network namespaces of containers with ten sockets each, likewise
map         a map of a million entries taken out in batches: from "running..." to the end of the run, shown as JSON and not at all,
            beside the time that C needs for its batches
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
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running = []

    def watch():
        for line in child.stderr:
            if "running..." in line:
                running.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    if not child.stdout.readline().endswith("\n"):
        sys.exit(f"{command[0]} printed nothing")
    end = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.stdout.close()
    child.wait()
    watcher.join()
    return (end - start) * 1e3, (end - running[0]) * 1e3


def in_c(command):
    """The milliseconds that the C program says it took."""
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1])


def compare(name, command, floor):
    times = [(*ours(command), in_c(floor)) for _ in range(ROUNDS)]
    whole, fetch, floor = (statistics.median(column) for column in zip(*times))
    print(f"{name:20} {whole:9.1f} {fetch:9.1f} {floor:9.1f} {fetch / floor:7.2f}", flush=True)


def snapshot(ig, gadget, *flags):
    return [ig, "run", gadget, "--pull", "never", "-v", "-o", "json", *flags]


def sockets():
    return [opened for _ in range(10) if (opened := socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", 0)) is None]


def after_running(ig, output):
    """Milliseconds from "running..." to the end of a run that fetches the filled map once."""
    gadget = os.path.join(HERE, "fetch/filled")
    command = [ig, "run", gadget, "-v", "-o", output, "--map-fetch-count", "1", "--map-fetch-interval", "1ms"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    start = None
    for line in child.stderr:
        if "running..." in line:
            start = time.monotonic()
    if child.wait() or start is None:
        sys.exit("the filled map could not be fetched")
    return (time.monotonic() - start) * 1e3


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
        print(f"{'':20} {'whole':>9} {'fetch':>9} {'floor':>9} {'ratio':>7}")

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
        after_running(ig, "none")  # compiles, if that has not been done
        floor_map = [floor, "map", filled, "entries"]
        times = [(in_c(floor_map), after_running(ig, "none"), after_running(ig, "json")) for _ in range(ROUNDS)]
        bare, silent, as_json = (statistics.median(column) for column in zip(*times))
        print(f"{'map, not shown':20} {'':9} {silent:9.1f} {bare:9.1f} {silent / bare:7.2f}")
        print(f"{'map, as JSON':20} {'':9} {as_json:9.1f} {bare:9.1f} {as_json / bare:7.2f}")
        intervals(ig)


main()
