#!/usr/bin/env python3
"""What a traced system call costs who calls it, beside the minimal program in C.

  benches/tax.py PATH-TO-IG

Opens a file that does not exist half a million times, as fast as it goes: in the container that trace_open has selected (`matching`) and on
the host (`not matching`). Prints nanoseconds per call that come on top of those without a tracer: medians of seven interleaved rounds.
Needs what benches/peer.sh needs.
"""

import os
import shlex
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "peer"))
import peer  # noqa: E402

CALLS = 500_000
ROUNDS = 7


def inside():
    return 1e9 / peer.rate_of(peer.gen(0, CALLS))


def outside():
    command = [f"{peer.TMP}/opengen", "0", str(CALLS)]
    return 1e9 / peer.rate_of(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    commands = {"ig": os.path.realpath(sys.argv[1]), "floor": f"{HERE}/peer/minopen.sh json"}
    peer.setup()
    peer.sh(f"{shlex.quote(HERE)}/peer/minopen.sh build")
    times = {name: ([], []) for name in ["free", *commands]}
    try:
        for _ in range(ROUNDS):
            for name, (matching, other) in times.items():
                tracer = peer.started(commands[name]) if name in commands else None
                matching.append(inside())
                other.append(outside())
                if tracer:
                    tracer.stop()
    finally:
        peer.sh("docker rm -f peerload")
    free = [statistics.median(column) for column in times.pop("free")]
    print(f"{'ns per call':12} {'matching':>9} {'not matching':>13}")
    print(f"{'no tracer':12} {free[0]:9.0f} {free[1]:13.0f}")
    tax = {}
    for name, columns in times.items():
        tax[name] = [statistics.median(column) - without for column, without in zip(columns, free)]
        print(f"{name:12} {tax[name][0]:+9.0f} {tax[name][1]:+13.0f}")
    ratios = [ours / floor for ours, floor in zip(tax["ig"], tax["floor"])]
    print(f"{'ratio':12} {ratios[0]:9.2f} {ratios[1]:13.2f}")


main()
