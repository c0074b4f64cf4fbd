#!/usr/bin/env python3
"""An HTTP server on 127.0.0.1 whose repositories misbehave. Prints its port, serves until it is killed.

The name of the repository chooses the fault: /v2/<fault>/manifests/... and /v2/<fault>/blobs/... are
answered by fault_<fault>. Every blob is the same 1 MiB, see BLOB. /seen answers with the Authorization
headers that arrived at /elsewhere.
"""
import http.server
import json
import re
import sys
import threading
import time

BLOB = bytes((i * 7 + i // 251) & 255 for i in range(1 << 20))
MANIFEST = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
seen = []
counts = {}
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def cut(self):
        self.close_connection = True

    def visit(self, key):
        """How often `key` was asked for before."""
        with lock:
            counts[key] = counts.get(key, 0) + 1
            return counts[key] - 1

    def good(self):
        self.reply(200, MANIFEST if "/manifests/" in self.path else BLOB)

    def port(self):
        return self.server.server_address[1]

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def do_GET(self):
        try:
            self.route()
        except (BrokenPipeError, ConnectionResetError):
            self.cut()

    def route(self):
        if self.path == "/seen":
            self.reply(200, json.dumps(seen).encode())
        elif self.path.startswith("/elsewhere"):
            seen.append(self.headers.get("Authorization", ""))
            self.reply(200, BLOB)
        elif self.path.startswith("/token"):
            self.token()
        else:
            match = re.fullmatch(r"/v2/([a-z0-9-]+)/(manifests|blobs)/[^/]+", self.path)
            fault = match and getattr(self, "fault_" + match[1].replace("-", "_"), None)
            if fault:
                fault()
            else:
                self.reply(404, b'{"errors":[{"code":"NAME_UNKNOWN",'
                                b'"message":"repository not known"}]}')

    def token(self):
        if self.headers.get("Authorization") == "Basic bWU6cHc=":  # me:pw
            self.reply(200, b'{"token":"the-token","expires_in":300}')
        else:
            self.reply(401, b'{"details":"incorrect username or password"}')

    # --- faults ---

    def fault_good(self):
        self.good()

    def fault_tokened(self):
        if self.headers.get("Authorization") == "Bearer the-token":
            self.good()
        else:
            realm = f"http://127.0.0.1:{self.port()}/token"
            self.reply(401, WWW_Authenticate=f'Bearer realm="{realm}",service="fault"')

    def fault_unauthorized(self):
        self.reply(401, WWW_Authenticate='Basic realm="x"')

    def fault_forbidden(self):
        self.reply(403, b'{"errors":[{"code":"DENIED","message":"requested access is denied"}]}')

    def fault_throttled(self):
        if self.visit(self.path) == 0:
            self.reply(429, Retry_After="1")
        else:
            self.good()

    def fault_throttled_long(self):
        self.reply(429, Retry_After="86400")

    def fault_broken(self):
        self.reply(500, b"<html>oops</html>")

    def fault_flaky(self):
        if self.visit(self.path) < 2:
            self.reply(503)
        else:
            self.good()

    def fault_hang_up(self):
        self.cut()

    def fault_stall(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BLOB)))
        self.end_headers()
        self.wfile.write(BLOB[:1000])
        time.sleep(30)
        self.cut()

    def fault_stall_once(self):
        start = self.range_start()
        if start == 0:
            self.fault_stall()
        else:
            self.partial(start)

    def fault_truncated(self):
        start = self.range_start()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}")
        self.send_header("Content-Length", str(len(BLOB) - start))
        self.end_headers()
        self.wfile.write(BLOB[start:start + 300000])
        self.cut()

    def fault_truncated_forever(self):
        self.reply(200, BLOB[:300000], length=len(BLOB))
        self.cut()

    def fault_short(self):
        self.reply(200, BLOB[:-1])

    def fault_wrong(self):
        self.reply(200, b"\1" + BLOB[1:])

    def fault_endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        while True:
            self.wfile.write(piece)

    def fault_endless_headers(self):
        self.send_response(200)
        self.flush_headers()
        while True:
            self.wfile.write(b"X-Filler: " + b"x" * 1000 + b"\r\n")

    def fault_loop(self):
        self.reply(302, Location=self.path)

    def fault_away(self):
        # Another origin: the same server by another name.
        if not self.headers.get("Authorization"):
            self.reply(401, WWW_Authenticate='Basic realm="x"')
        else:
            self.reply(307, Location=f"http://localhost:{self.port()}/elsewhere?signature=s3cr3t")

    def fault_nonsense(self):
        self.wfile.write(b"this is not HTTP\r\n\r\n")
        self.cut()

    # --- parts ---

    def range_start(self):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else 0

    def partial(self, start):
        self.reply(206, BLOB[start:], Content_Range=f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
