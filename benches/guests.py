#!/usr/bin/env python3
"""What gadgets' own code costs while they run.

  benches/guests.py PATH-TO-IG

ready      exec to the first event of trace_exec, whose module is in the cache, beside trace_open's (ms, median of seven interleaved rounds)
lossless   the highest tried rate of DNS queries on loopback, each seen twice, at which trace_dns showed every one (queries/s)
trace_dns  time in its guest for each of 40,000 recorded packets, replayed (ns)
traceloop  time in its guest for each system call that it showed of a container (ns)

The times in guests are those of `--profile-guest`, host functions that they call included. Needs root and docker with an image named busybox.
"""

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 7
SERVER = ("127.77.0.53", 53)
RATES = [4096, 8192, 16384, 32768, 65536, 131072]
SECONDS = 2
# A query for the address of www.example.test.
QUERY = bytes.fromhex("0001 0100 0001 0000 0000 0000") + b"\x03www\x07example\x04test\x00" + bytes.fromhex("0001 0001")


def started(ig, gadget, *flags, output=subprocess.PIPE):
    """A run of which it is known that everything is attached."""
    command = [ig, "run", gadget, "--pull", "never", "-v", "-o", "json", *flags]
    child = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if "running..." in line:
            return child
    sys.exit(f"{gadget} did not start")


def stopped(child):
    """What the run has printed on both outputs."""
    child.send_signal(signal.SIGINT)
    return child.communicate()


def first_event(ig, gadget):
    start = time.monotonic()
    command = [ig, "run", gadget, "--pull", "never", "-o", "json", "--host"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdout.readline()
    taken = (time.monotonic() - start) * 1e3
    child.send_signal(signal.SIGINT)
    child.stdout.close()
    child.wait()
    return taken


def ready(ig):
    """Both gadgets while a shell does nothing but start `true`, which opens its libraries."""
    work = subprocess.Popen(["sh", "-c", "while :; do /bin/true; done"])
    try:
        for gadget in ("trace_open", "trace_exec"):
            first_event(ig, gadget)  # the module is compiled
        times = [(first_event(ig, "trace_open"), first_event(ig, "trace_exec")) for _ in range(ROUNDS)]
    finally:
        work.kill()
        work.wait()
    plain, guest = (statistics.median(column) for column in zip(*times))
    print(f"ready      {guest:.1f} ms, trace_open {plain:.1f} ms, ratio {guest / plain:.2f}", flush=True)


def ask(client, rate, count):
    """Sends queries at a steady rate; returns the rate that it was."""
    start = time.monotonic()
    for number in range(count):
        if number % 16 == 0:
            while (time.monotonic() - start) * rate < number:
                pass
        client.sendto(QUERY, SERVER)
    return count / (time.monotonic() - start)


def lossless(ig, client):
    best = None
    for rate in RATES:
        with tempfile.TemporaryFile("w+b") as shown:
            child = started(ig, "trace_dns", "--host", output=shown)
            count = rate * SECONDS
            real = ask(client, rate, count)
            time.sleep(1)
            stopped(child)
            shown.seek(0)
            seen = sum(1 for line in shown if b"www.example.test." in line)
        if seen != 2 * count:
            print(f"           at {real:.0f} queries/s {2 * count - seen} of {2 * count} packets were missing")
            break
        best = real
        if real < 0.9 * rate:
            print("           the generator sends no faster")
            break
    print(f"lossless   {best:.0f} queries/s" if best else "lossless   none of the tried rates", flush=True)


def in_guest(said):
    """Nanoseconds of the summary line of `--profile-guest`."""
    line = next((line for line in said.splitlines() if "guest profile:" in line), None)
    if line is None:
        sys.exit(f"no guest profile: {said}")
    units = {"ns": 1, "µs": 1e3, "us": 1e3, "ms": 1e6, "s": 1e9}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)(ns|µs|us|ms|s)\b", line))


def packets(ig, client, directory):
    recording = os.path.join(directory, "dns.igrec")
    child = started(ig, "trace_dns", "--host", "--record", recording, output=subprocess.DEVNULL)
    ask(client, 8192, 20_000)
    time.sleep(1)
    stopped(child)
    command = [ig, "replay", recording, "-o", "json", "--profile-guest"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    count = ran.stdout.count("www.example.test.")
    print(f"trace_dns  {in_guest(ran.stderr) / count:.0f} ns for each of {count} packets", flush=True)


def calls(ig):
    name = "ig-bench-guests"
    subprocess.run(["docker", "rm", "-f", name], capture_output=True)
    subprocess.run(["docker", "run", "-d", "--name", name, "busybox", "sleep", "1000"], check=True, capture_output=True)
    try:
        child = started(ig, "traceloop", "-c", name, "--profile-guest", "-o", "traceloop:json,containers:none")
        subprocess.run(["docker", "exec", name, "sh", "-c", "i=0; while [ $i -lt 200 ]; do cat /etc/hostname; i=$((i+1)); done"], check=True, capture_output=True)
        shown, said = stopped(child)
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True)
    count = sum(1 for line in shown.splitlines() if line.startswith("{"))
    print(f"traceloop  {in_guest(said) / count:.0f} ns for each of {count} calls", flush=True)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    ig = os.path.realpath(sys.argv[1])
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(SERVER)  # it never answers, but somebody must be there
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ready(ig)
    lossless(ig, client)
    with tempfile.TemporaryDirectory() as directory:
        packets(ig, client, directory)
    calls(ig)


main()
