"""What stands between a node and its registry: an HTTPS proxy that speaks HTTP/2, and a forward proxy."""
import base64
import os
import select
import socket
import socketserver
import subprocess
import tempfile
import threading
import time

from registry import keys, server

NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format berth "$server_protocol $connection $status $request_method $uri";
  access_log {folder}/access.log berth;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location / {{
      proxy_pass http://{upstream};
      proxy_set_header Host $http_host;
      proxy_buffering off;
    }}
  }}
}}
"""


class Nginx:
    """Debian's nginx as an HTTPS server with HTTP/2 in front of a plain registry; a context manager."""

    def __init__(self, upstream):
        self.upstream, self.port = upstream, server.free_port()
        self.host = f"127.0.0.1:{self.port}"

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="berth-nginx-")
        folder = self.scratch.name
        os.chmod(folder, 0o755)    # its workers are somebody else
        self.ca, certificate, key = keys.server_certificate(folder)
        with open(f"{folder}/nginx.conf", "w", encoding="utf-8") as out:
            out.write(NGINX.format(folder=folder, port=self.port, certificate=certificate, key=key,
                                   upstream=self.upstream))
        self.process = subprocess.Popen(["nginx", "-p", folder, "-c", f"{folder}/nginx.conf"],
                                        stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    raise
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        self.scratch.cleanup()

    def requests(self):
        """(protocol, connection, status, method, path) of each request so far."""
        with open(f"{self.scratch.name}/access.log", encoding="utf-8") as log:
            return [line.split() for line in log]


class _Tunnel(socketserver.BaseRequestHandler):
    def handle(self):
        owner = self.server.owner
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.request.recv(4096)
            if not piece:
                return
            head += piece
        lines = head.split(b"\r\n\r\n")[0].decode().split("\r\n")
        method, target, _ = lines[0].split()
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        owner.requests.append(f"{method} {target}")
        if owner.secret and headers.get("proxy-authorization", "") != owner.secret.lower():
            self.request.sendall(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")
            return
        if method != "CONNECT" or target not in owner.targets:
            self.request.sendall(b"HTTP/1.1 502 Unknown host\r\nContent-Length: 0\r\n\r\n")
            return
        host, port = owner.targets[target].rsplit(":", 1)
        with socket.create_connection((host, int(port)), 10) as there:
            self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            ends = {self.request: there, there: self.request}
            while True:
                for end in select.select(list(ends), [], [], 60)[0] or [None]:
                    data = end.recv(65536) if end else b""
                    if not data:
                        return
                    ends[end].sendall(data)


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


class ForwardProxy:
    """A proxy for CONNECT; a context manager.

    targets: which "host:port" leads where, since the names of tests mean nothing to a resolver. With `user`, only for
    who has user and password. `requests` is what it was asked for.
    """

    def __init__(self, targets, user="", password=""):
        self.targets, self.requests = targets, []
        self.secret = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self.server = _Server(("127.0.0.1", 0), _Tunnel)
        self.server.owner = self
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
