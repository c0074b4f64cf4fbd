"""PortForward, from the request to the last byte, by the client that kubectl is."""
import hashlib
import socket
import threading
import urllib.parse

import grpc
import pytest

from harness import pods, streams

pytestmark = pytest.mark.berth
MEGABYTES = streams.MEGABYTES


@pytest.mark.uml
def test_a_port_of_a_pod(daemon):
    pod = daemon.run_pod()
    with streams.echoing(pod, 7000), streams.forwarding(pod, 7000) as (address, _):
        for data in (b"hello", b"", bytes(range(256)) * 4000):
            assert streams.exchange(address, data) == data


def test_ports_over_websocket(daemon):
    """The form that the kubelet's own clients speak, one pair of channels for each port that the request names."""
    pod = daemon.run_pod()
    url = urllib.parse.urlsplit(daemon.client.PortForward(pod_sandbox_id=pod.id, port=[7000]).url)
    with streams.echoing(pod, 7000), socket.create_connection((url.hostname, url.port), timeout=20) as connection, \
            connection.makefile("rb") as stream:
        connection.sendall(f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\n"
                           "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                           "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                           "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode())
        assert stream.readline().startswith(b"HTTP/1.1 101 ")
        while stream.readline().strip():
            pass

        def frame():
            kind, size = stream.read(2)
            assert kind == 0x82 and size < 126
            return stream.read(size)
        port = (7000).to_bytes(2, "little")
        assert sorted([frame(), frame()]) == [b"\0" + port, b"\1" + port]
        connection.sendall(b"\x82\x86\0\0\0\0" + b"\0hello")
        assert frame() == b"\0hello"
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.PortForward(pod_sandbox_id=pod.id, port=[70000])
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_port_of_the_node(daemon):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"from the node")
        threading.Thread(target=serve, daemon=True).start()
        with streams.forwarding(daemon.run_pod(network=pods.NODE), port) as (address, _):
            assert streams.exchange(address) == b"from the node"


@pytest.mark.uml
def test_a_port_of_ipv6_alone(daemon):
    pod = daemon.run_pod()
    with streams.echoing(pod, 7001, "::1"), streams.forwarding(pod, 7001) as (address, _):
        assert streams.exchange(address, b"six") == b"six"


def test_a_port_that_nobody_serves(daemon):
    with streams.forwarding(daemon.run_pod(), 7002) as (address, process):
        try:
            assert streams.exchange(address, b"x") == b""
        except ConnectionResetError:
            pass
        line = process.stderr.readline()
        assert b"7002" in line and b"refused" in line, line


def test_many_connections_at_once(daemon):
    pod = daemon.run_pod()
    with streams.echoing(pod, 7000), streams.forwarding(pod, 7000) as (address, _):
        answers = [None] * 30

        def one(number):
            data = b"%d " % number * 20000
            answers[number] = streams.exchange(address, data) == data
        threads = [threading.Thread(target=one, args=(number,)) for number in range(len(answers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert all(answers), answers


@pytest.mark.slow
def test_a_large_transfer_through_a_port(daemon):
    pod = daemon.run_pod()
    data = hashlib.sha512(b"port").digest() * 16384
    sent, received = hashlib.sha256(), hashlib.sha256()
    with streams.echoing(pod, 7000), streams.forwarding(pod, 7000) as (address, _), \
            socket.create_connection(address) as connection:
        def feed():
            for number in range(MEGABYTES):
                chunk = number.to_bytes(8, "big") + data[8:]
                sent.update(chunk)
                connection.sendall(chunk)
            connection.shutdown(socket.SHUT_WR)
        feeder = threading.Thread(target=feed)
        feeder.start()
        size = 0
        while more := connection.recv(1 << 20):
            received.update(more)
            size += len(more)
        feeder.join()
    assert size == MEGABYTES << 20
    assert received.digest() == sent.digest()
