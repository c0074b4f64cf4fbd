"""A registry that misbehaves on request.

`FaultRegistry` serves images from memory. Each repository has a list of faults: functions that see a request before
it is answered and either answer it in their own bad way (returning True) or let it pass. Everything asked of it is kept
in `requests`. The faults below are the ones that registries, proxies and attackers are known for.
"""
import http.server
import json
import re
import socket
import socketserver
import threading
import time

from images import oci


class Request:
    """One request: what it is about, and how to answer it."""

    def __init__(self, handler, repository, kind, reference):
        self.handler, self.repository = handler, repository
        self.kind, self.reference = kind, reference    # "manifests" | "blobs", tag or digest
        self.registry = handler.server.registry

    def header(self, name):
        return self.handler.headers.get(name, "")

    def answer(self, status, body=b"", headers=(), length=None):
        """Sends status, headers and body; `length` overrides Content-Length."""
        handler = self.handler
        handler.send_response(status)
        for name, value in dict(headers).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
        return True

    def cut(self):
        """Ends the connection here and now."""
        self.handler.close_connection = True
        try:
            self.handler.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        return True


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        registry = self.server.registry
        registry.record(self)
        if self.path.startswith("/token?"):
            self._plain(200, json.dumps({"token": registry.new_token(), "expires_in": 300}).encode(),
                        "application/json")
            return
        if self.path in ("/v2/", "/v2"):
            self._plain(200, b"{}", "application/json")
            return
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/?]+)(\?.*)?", self.path)
        repository = match and registry.repositories.get(match[1])
        if not repository:
            self._plain(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}',
                        "application/json")
            return
        request = Request(self, repository, match[2], match[3])
        try:
            for fault in repository.faults:
                if fault(request):
                    return
            repository.serve(request)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _plain(self, status, body, media_type):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Repository:
    """Tags and blobs of one name, all in memory."""

    def __init__(self, faults):
        self.faults = list(faults)
        self.blobs = {}      # digest -> bytes
        self.types = {}      # digest -> media type, of manifests
        self.tags = {}       # tag -> digest

    def add(self, image, tag="1"):
        """Adds an oci.Image or oci.Index under a tag."""
        store = oci.BlobStore()
        descriptor = image.put(store)
        self.blobs.update(store.memory)
        for name, data in store.memory.items():
            if data.startswith(b"{") and b'"schemaVersion"' in data:
                self.types[name] = json.loads(data)["mediaType"]
        self.types[descriptor["digest"]] = descriptor["mediaType"]
        self.tags[tag] = descriptor["digest"]
        return descriptor

    def add_raw(self, data, media_type=oci.OCI_MANIFEST, tag="1"):
        """Adds any bytes at all as the manifest of a tag."""
        name = oci.digest(data)
        self.blobs[name], self.types[name], self.tags[tag] = data, media_type, name
        return name

    def serve(self, request):
        name = self.tags.get(request.reference, request.reference)
        data = self.blobs.get(name)
        if data is None:
            request.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}',
                           {"Content-Type": "application/json"})
        elif request.kind == "manifests":
            request.answer(200, data, {"Content-Type": self.types.get(name, oci.OCI_MANIFEST),
                                       "Docker-Content-Digest": name})
        else:
            self._serve_blob(request, data)

    @staticmethod
    def _serve_blob(request, data):
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("Range"))
        if not wanted or int(wanted[1]) >= len(data):
            request.answer(200, data, headers)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        request.answer(206, data[first:last + 1], headers)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64


class FaultRegistry:
    """The server; a context manager. Thread-safe where tests need it: `requests` only grows."""

    def __init__(self):
        self.repositories = {}
        self.requests = []
        self.tokens = {}    # token -> how often it was used
        self.lock = threading.Lock()
        self.leaving = threading.Event()
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.registry = self
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05},
                                       daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.leaving.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def record(self, handler):
        self.requests.append({"method": handler.command, "path": handler.path,
                              "headers": {k.lower(): v for k, v in handler.headers.items()}})

    def new_token(self):
        with self.lock:
            token = f"token-number-{len(self.tokens)}"
            self.tokens[token] = 0
            return token

    def repository(self, name, *faults):
        self.repositories[name] = Repository(faults)
        return self.repositories[name]

    def serve(self, name, image, *faults):
        """A repository with one image, tag 1; returns the reference to pull."""
        self.repository(name, *faults).add(image)
        return f"{self.host}/{name}:1"

    def blob_requests(self, digest):
        return [r for r in self.requests if r["method"] == "GET" and r["path"].endswith(digest)]


# The faults. Each is made by a function and says where it applies.

def on(kind, fault):
    """The fault, for manifests or for blobs only."""
    return lambda request: request.kind == kind and fault(request)


def status(code, body=b"", headers=(), times=None):
    """Answers with a status; with `times`, only that often, and then as it should."""
    left = [times]

    def fault(request):
        if left[0] is not None:
            if left[0] <= 0:
                return False
            left[0] -= 1
        return request.answer(code, body, headers)
    return fault


def truncated(share=0.5):
    """Announces all of a blob, sends a part and closes the connection."""
    def fault(request):
        data = request.repository.blobs.get(request.reference, b"")
        if request.handler.command == "HEAD" or not data:
            return False
        request.answer(200, data[:int(len(data) * share)], length=len(data))
        return request.cut()
    return fault


def truncated_once():
    """A connection that breaks in the middle of each blob's first download."""
    seen, whole = set(), truncated()

    def fault(request):
        if request.handler.command == "HEAD" or request.reference in seen:
            return False
        seen.add(request.reference)
        return whole(request)
    return fault


def changed(edit):
    """Serves edit(bytes) in place of the bytes that were asked for."""
    def fault(request):
        name = request.repository.tags.get(request.reference, request.reference)
        data = request.repository.blobs.get(name)
        if data is None:
            return False
        media_type = request.repository.types.get(name, "application/octet-stream")
        return request.answer(200, edit(data), {"Content-Type": media_type})
    return fault


def flip_byte(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1:]


def endless(chunk=b" " * 65536, seconds=60):
    """A body without an end, in chunked encoding."""
    def fault(request):
        handler = request.handler
        handler.send_response(200)
        handler.send_header("Content-Type", oci.OCI_MANIFEST)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not request.registry.leaving.is_set():
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        return request.cut()
    return fault


def trickle(bytes_per_second=10):
    """Sends a blob so slowly that it never arrives."""
    def fault(request):
        data = request.repository.blobs.get(request.reference, b"")
        if request.handler.command == "HEAD" or not data:
            return False
        request.answer(200, b"", length=len(data))
        for offset in range(0, len(data), bytes_per_second):
            request.handler.wfile.write(data[offset:offset + bytes_per_second])
            request.handler.wfile.flush()
            if request.registry.leaving.wait(1):
                break
        return request.cut()
    return fault


def silent():
    """Takes the request and never answers."""
    def fault(request):
        request.registry.leaving.wait(300)
        return request.cut()
    return fault


def delayed(seconds):
    def fault(request):
        request.registry.leaving.wait(seconds)
        return False
    return fault


def redirect_loop():
    def fault(request):
        return request.answer(307, headers={"Location": request.handler.path})
    return fault


def redirect_to(base):
    """Sends the client to the same path elsewhere, as registries in front of an object store do."""
    def fault(request):
        return request.answer(307, headers={"Location": base + request.handler.path})
    return fault


def basic(user, password):
    """Wants HTTP basic authentication."""
    import base64
    good = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def fault(request):
        if request.header("Authorization") == good:
            return False
        return request.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}',
                              {"WWW-Authenticate": 'Basic realm="berth tests"'})
    return fault


def bearer(uses):
    """Wants a token of /token, each of which is good for so many requests: an expiry that does not take time."""
    def fault(request):
        registry = request.registry
        token = request.header("Authorization").removeprefix("Bearer ")
        with registry.lock:
            if registry.tokens.get(token, uses) < uses:
                registry.tokens[token] += 1
                return False
        return request.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', {
            "WWW-Authenticate": 'Negotiate, Basic realm="not this one", '
                                f'Bearer realm="http://{registry.host}/token",service="faults"'})
    return fault


def no_ranges():
    """Sends whole blobs, whatever part was asked for."""
    def fault(request):
        data = request.repository.blobs.get(request.reference)
        return data is not None and request.answer(200, data)
    return fault


def each_range_cut_once():
    """Sends the first half of each range that is asked for, and closes the connection."""
    seen = set()

    def fault(request):
        data, wanted = request.repository.blobs.get(request.reference, b""), request.header("Range")
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        if not asked or asked[2] in seen:    # the same end: the rest of one that was cut
            return False
        seen.add(asked[2])
        first, last = int(asked[1]), int(asked[2] or len(data) - 1)
        part = data[first:last + 1]
        request.answer(206, part[:len(part) // 2], {"Content-Range": f"bytes {first}-{last}/{len(data)}"},
                       length=len(part))
        return request.cut()
    return fault
