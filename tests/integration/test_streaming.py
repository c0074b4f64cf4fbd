"""The streaming server: which requests it takes, its address, TLS."""
import re
import socket
import subprocess

import grpc
import pytest

from harness import streams

pytestmark = pytest.mark.berth


def test_requests_that_make_no_sense(daemon, container):
    known = dict(container_id=container.id)
    bad = [
        ("Exec", dict(known, cmd=[], stdout=True), "cmd"),
        ("Exec", dict(known, cmd=["a\0b"], stdout=True), "cmd"),
        ("Exec", dict(known, cmd=["true"]), "stdin, stdout, stderr"),
        ("Exec", dict(known, cmd=["true"], tty=True, stdout=True, stderr=True), "stderr"),
        ("Attach", known, "stdin, stdout, stderr"),
        ("Attach", dict(known, tty=True, stdout=True, stderr=True), "stderr"),
        ("PortForward", dict(pod_sandbox_id=container.pod.id, port=[80, 0]), "port"),
        ("PortForward", dict(pod_sandbox_id=container.pod.id, port=[65536]), "port"),
    ]
    for name, fields, field in bad:
        with pytest.raises(grpc.RpcError) as error:
            getattr(daemon.client, name)(**fields)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT, (name, fields)
        assert field in error.value.details()


def test_ids_and_states(daemon, container):
    def code(name, **fields):
        with pytest.raises(grpc.RpcError) as error:
            getattr(daemon.client, name)(**fields)
        return error.value.code()

    missing, state = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION
    assert code("Exec", container_id="e" * 64, cmd=["true"], stdout=True) == missing
    assert code("Attach", container_id="e" * 64, stdout=True) == missing
    assert code("PortForward", pod_sandbox_id="e" * 64) == missing
    created = container.pod.create(command=["sleep", "1000"])
    for ended in (created, container):
        if ended is container:
            container.stop(timeout=0)
        assert code("Exec", container_id=ended.id, cmd=["true"], stdout=True) == state
        assert code("Attach", container_id=ended.id, stdout=True) == state
    container.pod.stop()
    assert code("PortForward", pod_sandbox_id=container.pod.id) == state


def test_prefixes_of_ids(daemon, container):
    for url in (daemon.client.Exec(container_id=container.id[:12], cmd=["true"], stdout=True).url,
                daemon.client.Attach(container_id=container.id[:12], stdout=True).url,
                daemon.client.PortForward(pod_sandbox_id=container.pod.id[:12]).url):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/(exec|attach|portforward)/[\w-]+", url)


def test_a_url_is_good_once(container):
    url = streams.exec_url(container, ["true"])
    with streams.Session(url) as session:
        assert session.finish()[2] == 0
    with streams.Session(url) as session:
        _, err, status = session.finish()
        assert status == streams.FAILED and b"ERROR" in err


def test_a_port_that_is_taken_stops_the_start(scratch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        daemon = scratch(stream={"port": port}, wait=False)
        daemon.launch()
        assert daemon.process.wait(30) == 1
        assert re.search(rf"stream.*127\.0\.0\.1.*{port}.*in use", daemon.log()), daemon.log()
        daemon.process = None


def test_a_chosen_port_and_ipv6(scratch):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
    daemon = scratch(stream={"address": "::1", "port": port})
    container = daemon.run_pod().run_container()
    assert streams.exec_url(container, ["true"]).startswith(f"http://[::1]:{port}/exec/")
    assert streams.run(container, ["echo", "six"]) == (b"six\n", b"", 0)


@pytest.fixture
def keys(tmp_path):
    """server.pem, server.key, client.pem, client.key and the authority of both, ca.pem."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, cwd=tmp_path, stderr=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key",
            "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    (tmp_path / "names").write_text("subjectAltName=DNS:node,IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.pem", "-days", "2", "-extfile", "names")
    return tmp_path


def test_tls_with_certificates_of_both_sides(scratch, keys, protocol):
    daemon = scratch(stream={"tls_cert": f"{keys}/server.pem", "tls_key": f"{keys}/server.key",
                             "tls_ca": f"{keys}/ca.pem", "tls_min_version": "1.3"})
    container = daemon.run_pod().run_container()
    flags = ["--ca", f"{keys}/ca.pem"]
    both = [*flags, "--cert", f"{keys}/client.pem", "--key", f"{keys}/client.key"]
    url = streams.exec_url(container, ["echo", "safe"])
    assert url.startswith("https://127.0.0.1:")
    with streams.Session(url, protocol=protocol, flags=both) as session:
        assert session.finish() == (b"safe\n", b"", 0)
    with streams.Session(streams.exec_url(container, ["true"]), protocol=protocol, flags=flags) as session:
        assert session.finish()[2] == streams.FAILED
