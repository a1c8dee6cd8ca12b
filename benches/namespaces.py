#!/usr/bin/env python3
"""How long `ig` takes until a gadget is attached in many network namespaces.

  benches/namespaces.py PATH-TO-IG [COUNT]

Makes COUNT processes (100) with network and mount namespaces of their own, tells ig of them through a socket that answers as docker
would, and runs tests/gadgets/attach/socket, built before, five times. Prints for each run the milliseconds from its start to
"running...", how often the gadget's program is in the kernel meanwhile, how many dispatchers there are, and the milliseconds from the signal to its end. Needs root.
"""

import ctypes
import http.server
import json
import os
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
GADGET = os.path.join(os.path.dirname(__file__), "../tests/gadgets/attach/socket")


def processes(count):
    """Processes that wait in namespaces of their own."""
    libc = ctypes.CDLL(None, use_errno=True)
    read, write = os.pipe()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os.write(write, b"x" if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) == 0 else b"-")
            signal.pause()
            os._exit(0)
        pids.append(pid)
    answers = b""
    while len(answers) < count:
        answers += os.read(read, count)
    if answers.strip(b"x"):
        sys.exit("unshare failed: root is needed")
    return pids


class Docker(http.server.BaseHTTPRequestHandler):
    """Answers what is asked about containers, and never has news."""

    protocol_version = "HTTP/1.1"
    containers = {}

    def log_message(self, *_):
        pass

    def address_string(self):
        return ""

    def do_GET(self):
        path = self.path.split("?")[0].lstrip("/")
        if path.startswith("v1."):
            path = path.split("/", 1)[1]
        if path == "events":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            threading.Event().wait()
        answer = self.answer(path)
        body = json.dumps(answer if answer is not None else {"message": "no such thing"}).encode()
        self.send_response(200 if answer is not None else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, path):
        if path == "version":
            return {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "0"}
        if path == "containers/json":
            state = {"Image": "img", "ImageID": "sha256:1", "State": "running"}
            return [{"Id": id, "Names": ["/" + id[-8:]], **state} for id in self.containers]
        id = path.removeprefix("containers/").removesuffix("/json")
        if id in self.containers:
            state = {"Status": "running", "Pid": self.containers[id]}
            return {"Id": id, "Name": "/" + id[-8:], "Image": "sha256:1", "State": state, "Config": {"Image": "img"}}
        return None


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


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
        Docker.containers = {f"{number:064x}": pid for number, pid in enumerate(pids, 1)}
        with tempfile.TemporaryDirectory() as directory:
            socket = os.path.join(directory, "docker.sock")
            server = Server(socket, Docker)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            run(ig, socket)  # compiles, if that has not been done
            print(f"{'ready ms':>9} {'programs':>9} {'dispatchers':>12} {'end ms':>8}")
            for _ in range(5):
                ready, programs, dispatchers, end = run(ig, socket)
                print(f"{ready * 1e3:9.0f} {programs:9} {dispatchers:12} {end * 1e3:8.0f}")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


main()
