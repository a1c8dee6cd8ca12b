"""What benches put in the place of containers: processes in namespaces of their own, and a socket that answers as docker would."""

import ctypes
import http.server
import json
import os
import signal
import socketserver
import sys
import threading

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000


def processes(count, inside=lambda: None):
    """Processes that wait in namespaces of their own, each after it has called `inside` there."""
    libc = ctypes.CDLL(None, use_errno=True)
    read, write = os.pipe()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            unshared = libc.unshare(CLONE_NEWNS | CLONE_NEWNET) == 0
            kept = inside() if unshared else None  # what it has opened must stay open
            os.write(write, b"x" if unshared else b"-")
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


def docker(directory, pids):
    """The path of a socket that knows a running container for each of these processes."""
    Docker.containers = {f"{number:064x}": pid for number, pid in enumerate(pids, 1)}
    socket = os.path.join(directory, "docker.sock")
    threading.Thread(target=Server(socket, Docker).serve_forever, daemon=True).start()
    return socket
