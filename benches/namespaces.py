#!/usr/bin/env python3
"""How long `ig` takes until a gadget is attached in many network namespaces.

  benches/namespaces.py PATH-TO-IG [COUNT]

Makes COUNT processes (100) with network and mount namespaces of their own, tells ig of them through a socket that answers as docker
would, and runs tests/gadgets/attach/socket, built before, five times. Prints for each run the milliseconds from its start to
"running...", how often the gadget's program is in the kernel meanwhile, how many dispatchers there are, and the milliseconds from the signal to its end. Needs root.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

from fakes import docker, processes

GADGET = os.path.join(os.path.dirname(__file__), "../tests/gadgets/attach/socket")


def loaded(name):
    output = subprocess.run(["bpftool", "-j", "prog"], capture_output=True, check=True).stdout
    return sum(1 for program in json.loads(output) if program.get("name") == name)


def run(ig, socket):
    args = [ig, "run", GADGET, "--docker-socketpath", socket, "-v", "-o", "none"]
    start = time.monotonic()
    child = subprocess.Popen(args, stderr=subprocess.PIPE, text=True)
    for line in child.stderr:
        if "running..." in line:
            break
    ready = time.monotonic() - start
    programs, dispatchers = loaded("on_packet"), loaded("ig_dispatch")
    threading.Thread(target=child.stderr.read).start()
    stop = time.monotonic()
    child.send_signal(signal.SIGINT)
    child.wait()
    return ready, programs, dispatchers, time.monotonic() - stop


def main():
    ig = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    pids = processes(count)
    try:
        with tempfile.TemporaryDirectory() as directory:
            socket = docker(directory, pids)
            run(ig, socket)  # compiles, if that has not been done
            print(f"{'ready ms':>9} {'programs':>9} {'dispatchers':>12} {'end ms':>8}")
            for _ in range(5):
                ready, programs, dispatchers, end = run(ig, socket)
                print(f"{ready * 1e3:9.0f} {programs:9} {dispatchers:12} {end * 1e3:8.0f}")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


main()
