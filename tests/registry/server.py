"""Debian's docker-registry on a loopback port, filled once with every test image.

`content()` makes (once, in tests/.cache) a storage folder holding all of images/catalog.py, each under its full
name: docker.io/library/busybox is served as 127.0.0.1:PORT/docker.io/library/busybox. `DockerRegistry` serves that
folder, read-only, as many times and with as many ways of authentication as tests ask for.
"""
import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from images import files
from registry import keys, token_server

USER, PASSWORD = "reader", "s3cret-of-reader"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class DockerRegistry:
    """One running docker-registry; a context manager.

    auth: "" anonymous, "basic" (htpasswd) or "token" (a token server of ours in front).
    tls: serve HTTPS; `ca` is then the path of the certificate that vouches for it. name: a further host name that it
    is for. clients: only for clients with a certificate of that authority, such as `client` (certificate, key).
    """

    def __init__(self, storage, auth="", tls=False, writable=False, name="localhost", clients=False):
        self.storage, self.auth, self.tls, self.writable = storage, auth, tls, writable
        self.name, self.clients, self.client = name, clients, None
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.process = None
        self.tokens = None
        self.scratch = None
        self.ca = None

    def _configuration(self):
        document = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": self.storage},
                        "maintenance": {"uploadpurging": {"enabled": False},
                                        "readonly": {"enabled": not self.writable}}},
            "http": {"addr": self.host, "secret": "not a secret"},
        }
        if self.tls:
            self.ca, certificate, key = keys.server_certificate(self.scratch, self.name)
            document["http"]["tls"] = {"certificate": certificate, "key": key}
            if self.clients:
                self.client = keys.client_certificate(self.scratch)
                document["http"]["tls"]["clientcas"] = [self.ca]
        if self.auth == "basic":
            path = os.path.join(self.scratch, "htpasswd")
            entry = subprocess.run(["htpasswd", "-nbB", USER, PASSWORD], check=True,
                                   stdout=subprocess.PIPE, text=True).stdout
            with open(path, "w", encoding="utf-8") as out:
                out.write(entry.strip() + "\n")
            document["auth"] = {"htpasswd": {"realm": "berth tests", "path": path}}
        elif self.auth == "token":
            self.tokens = token_server.TokenServer(
                self.scratch, USER, PASSWORD, tls=(certificate, key) if self.tls else None)
            self.tokens.start()
            document["auth"] = {"token": {
                "realm": self.tokens.realm, "service": self.tokens.service,
                "issuer": self.tokens.issuer, "rootcertbundle": self.tokens.certificate}}
        return document

    def __enter__(self):
        self.scratch = tempfile.mkdtemp(prefix="berth-registry-")
        path = os.path.join(self.scratch, "config.yml")
        configuration = self._configuration()
        with open(path, "w", encoding="utf-8") as out:
            json.dump(configuration, out)
        log = open(os.path.join(self.scratch, "log"), "wb")
        self.process = subprocess.Popen(["docker-registry", "serve", path], stdout=log, stderr=log,
                                        start_new_session=True, cwd="/")
        log.close()
        self._wait()
        return self

    def _wait(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                if self.tls:
                    context = ssl._create_unverified_context()
                    if self.client:
                        context.load_cert_chain(*self.client)
                    connection = http.client.HTTPSConnection(self.host, timeout=5, context=context)
                else:
                    connection = http.client.HTTPConnection(self.host, timeout=5)
                connection.request("GET", "/v2/")
                status = connection.getresponse().status
                connection.close()
                if status in (200, 401):
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.scratch, "log"), encoding="utf-8") as log:
                    text = log.read()
                self.__exit__()
                raise RuntimeError(f"docker-registry did not start: {text}")
            time.sleep(0.05)

    def __exit__(self, *_):
        if self.process:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self.process.kill()
            self.process.wait()
            self.process = None
        if self.tokens:
            self.tokens.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)


def push(registry, layout, reference):
    """Copies an OCI layout, all its platforms, into a running registry under `reference`."""
    subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests",
                    "--dest-tls-verify=false", f"oci:{layout}",
                    f"docker://{registry.host}/{reference}"],
                   check=True, stdout=subprocess.DEVNULL)


def content():
    """The storage folder with every test image in it; built when it is not there or out of date."""
    images = os.path.join(files.CACHE, "images")
    subprocess.run([sys.executable, os.path.join(files.TESTS, "images", "build"), "--out", images],
                   check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(images, "images.json"), encoding="utf-8") as table:
        listing = table.read()
    storage = os.path.join(files.CACHE, "registry")
    stamp = os.path.join(storage, "images.json")
    with contextlib.suppress(OSError):
        with open(stamp, encoding="utf-8") as old:
            if old.read() == listing:
                return storage
    shutil.rmtree(storage, ignore_errors=True)
    os.makedirs(storage)
    with DockerRegistry(storage, writable=True) as registry:
        for reference, entry in json.loads(listing).items():
            push(registry, os.path.join(images, entry["folder"]), reference)
    with open(stamp, "w", encoding="utf-8") as out:
        out.write(listing)
    return storage


def digests():
    """reference -> digest of its manifest or index, of all test images."""
    with open(os.path.join(files.CACHE, "images", "images.json"), encoding="utf-8") as table:
        return {name: entry["digest"] for name, entry in json.load(table).items()}
