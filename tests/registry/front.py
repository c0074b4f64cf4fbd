"""What stands between a node and its registry: an HTTPS server that speaks HTTP/2, and forward proxies."""
import base64
import os
import select
import socket
import socketserver
import ssl
import struct
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


def _carry(one, other):
    """Bytes both ways until one of them ends."""
    ends = {one: other, other: one}
    while True:
        # TLS may have read more than was asked of it: then the socket below has nothing to tell.
        ready = [end for end in ends if isinstance(end, ssl.SSLSocket) and end.pending()] or select.select(list(ends), [], [], 60)[0]
        for end in ready or [None]:
            data = end.recv(65536) if end else b""
            if not data:
                return
            ends[end].sendall(data)


class _Connection(socketserver.BaseRequestHandler):
    """One client; `tunnel` speaks the proxy's protocol with it."""

    def handle(self):
        if self.server.owner.tls:
            try:
                self.request = self.server.owner.tls.wrap_socket(self.request, server_side=True)
            except OSError:
                return    # it does not trust us
        try:
            self.tunnel(self.server.owner)
        except (ConnectionError, EOFError):
            pass

    def take(self, count):
        data = b""
        while len(data) < count:
            piece = self.request.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def connect(self, target):
        host, port = self.server.owner.targets[target].rsplit(":", 1)
        return socket.create_connection((host, int(port)), 10)


class _Tunnel(_Connection):
    """CONNECT (RFC 9110, 9.3.6)."""

    def tunnel(self, owner):
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.take(1)
        lines = head.split(b"\r\n\r\n")[0].decode().split("\r\n")
        method, target, _ = lines[0].split()
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        owner.requests.append(f"{method} {target}")
        secret = "Basic " + base64.b64encode(f"{owner.user}:{owner.password}".encode()).decode()
        if owner.user and headers.get("proxy-authorization", "") != secret.lower():
            self.request.sendall(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")
            return
        if method != "CONNECT" or target not in owner.targets:
            self.request.sendall(b"HTTP/1.1 502 Unknown host\r\nContent-Length: 0\r\n\r\n")
            return
        with self.connect(target) as there:
            self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            _carry(self.request, there)


class _Socks(_Connection):
    """SOCKS 5 with user and password (RFC 1928, RFC 1929), for targets that are named."""

    def tunnel(self, owner):
        _, count = self.take(2)
        methods = self.take(count)
        method = 2 if owner.user else 0
        if method not in methods:
            self.request.sendall(b"\x05\xff")
            return
        self.request.sendall(bytes([5, method]))
        if method:
            user = self.take(self.take(2)[1])
            password = self.take(self.take(1)[0])
            good = (user, password) == (owner.user.encode(), owner.password.encode())
            self.request.sendall(bytes([1, not good]))
            if not good:
                return
        _, command, _, kind = self.take(4)
        host = self.take(self.take(1)[0]).decode() if kind == 3 else f"address of kind {kind}"
        if kind != 3:
            self.take(4 if kind == 1 else 16)
        target = f"{host}:{struct.unpack('!H', self.take(2))[0]}"
        owner.requests.append(target)
        if command != 1 or target not in owner.targets:
            self.request.sendall(b"\x05\x04\x00\x01" + bytes(6))
            return
        with self.connect(target) as there:
            self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
            _carry(self.request, there)


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True


class ForwardProxy:
    """A proxy for CONNECT; a context manager.

    targets: which "host:port" leads where, since the names of tests mean nothing to a resolver. With `user`, only for
    who has user and password. `requests` is what it was asked for, `ca` who vouches for it.
    """

    handler = _Tunnel
    ca = None
    tls = None

    def __init__(self, targets, user="", password=""):
        self.targets, self.requests = targets, []
        self.user, self.password = user, password
        self.server = _Server(("127.0.0.1", 0), self.handler)
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


class TlsForwardProxy(ForwardProxy):
    """The same behind TLS."""

    def __enter__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="berth-proxy-")
        self.ca, certificate, key = keys.server_certificate(self.scratch.name)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        return super().__enter__()

    def __exit__(self, *_):
        super().__exit__()
        self.scratch.cleanup()


class SocksProxy(ForwardProxy):
    """A proxy for SOCKS 5."""

    handler = _Socks
