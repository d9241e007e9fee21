"""What test pods run: serves a directory on the pod's own address; DIR/fail makes it unhealthy, /exit ends it."""

from __future__ import annotations

import http.server
import os
import socketserver
import sys
from functools import partial
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/exit":
            os._exit(3)
        if self.path == "/healthz":
            self.send_error(500) if Path(self.directory, "fail").exists() else self._say(b"ok")
        elif self.path == "/whoami":
            self._say(f"{os.environ['POD_NAME']} {os.getpid()}".encode())
        else:
            super().do_GET()

    def _say(self, text: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


address, port, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with Server((address, port), partial(Handler, directory=directory)) as server:
    server.serve_forever()
