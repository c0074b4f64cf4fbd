"""Proxies between a node and its registry: http, https and socks5, with passwords, by names that only the proxy knows."""
import base64
import os
import shutil
import subprocess

import grpc
import pytest

from registry import front, registries_conf, server

pytestmark = pytest.mark.berth
BUSYBOX = "docker.io/library/busybox:latest"
NAME = "registry.berth.test"    # no resolver knows it
CONF = registries_conf.redirect(NAME, insecure=False)
USER, PASSWORD = "node", "proxy-word"
KINDS = {
    "http": (front.ForwardProxy, "http", f"CONNECT {NAME}:443"),
    "https": (front.TlsForwardProxy, "https", f"CONNECT {NAME}:443"),
    "socks5": (front.SocksProxy, "socks5", f"{NAME}:443"),
    "socks5h": (front.SocksProxy, "socks5h", f"{NAME}:443"),
}


@pytest.fixture(scope="module")
def registry():
    with server.DockerRegistry(server.content(), tls=True, name=NAME) as running:
        yield running


@pytest.fixture
def behind(scratch, registry):
    """A daemon with some environment; a proxy's own authority is the system's for it."""
    def start(authority=None, **environment):
        daemon = scratch(wait=False, registries=CONF, environment=environment)
        os.makedirs(f"{daemon.base}/certs.d/{NAME}")
        shutil.copy(registry.ca, f"{daemon.base}/certs.d/{NAME}/ca.crt")
        if authority:
            folder = f"{daemon.base}/system-certs"
            os.makedirs(folder)
            shutil.copy(authority, f"{folder}/proxy.crt")
            subprocess.run(["openssl", "rehash", folder], check=True)
            command = daemon.command()
            daemon.command = lambda: ["unshare", "--mount", "--", "sh", "-c", 'mount --bind "$0" /etc/ssl/certs && exec "$@"',
                                      folder, *command]
        return daemon.start()
    return start


def refused(daemon):
    with pytest.raises(grpc.RpcError) as error:
        daemon.pull(BUSYBOX)
    return error.value.details()


def assert_silent(daemon, password):
    for secret in (password, base64.b64encode(f"{USER}:{password}".encode()).decode()):
        assert secret not in daemon.log(), "a secret is in the log"


@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_with_a_password(registry, behind, kind):
    make, scheme, asked = KINDS[kind]
    with make({f"{NAME}:443": registry.host}, USER, PASSWORD) as proxy:
        daemon = behind(proxy.ca, HTTPS_PROXY=f"{scheme}://{USER}:{PASSWORD}@{proxy.host}", NO_PROXY="10.0.0.0/8,.svc,other.berth.test")
        assert daemon.pull(BUSYBOX)
        assert set(proxy.requests) == {asked}
        assert_silent(daemon, PASSWORD)

        wrong = behind(proxy.ca, HTTPS_PROXY=f"{scheme}://{USER}:other-word@{proxy.host}")
        text = refused(wrong)
        assert proxy.host in text and ("407" in text or "rejected" in text), text
        assert "other-word" not in text
        assert_silent(wrong, "other-word")


def test_who_needs_no_proxy_goes_without(registry, behind):
    with front.ForwardProxy({f"{NAME}:443": registry.host}) as proxy:
        daemon = behind(HTTPS_PROXY=f"http://{proxy.host}", NO_PROXY="berth.test")
        assert "resolve" in refused(daemon).lower()
        assert not proxy.requests


def test_a_proxy_that_nobody_vouches_for(registry, behind):
    """The registry's password goes through it: it has to be the one that was meant."""
    with front.TlsForwardProxy({f"{NAME}:443": registry.host}) as proxy:
        daemon = behind(HTTPS_PROXY=f"https://{proxy.host}")
        text = refused(daemon)
        assert "certificate" in text.lower() and proxy.host in text, text
        assert not proxy.requests
