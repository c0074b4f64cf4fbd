"""Exec, Attach and PortForward, from the request to the last byte, by the client that kubectl is."""
import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

import grpc
import pytest

from harness import leaks, pods, streams
from harness.cri import pb

pytestmark = pytest.mark.berth
MEGABYTES = int(os.environ.get("BERTH_TEST_STREAM_MEGABYTES", "64"))


@pytest.fixture(params=streams.PROTOCOLS)
def protocol(request):
    return request.param


@pytest.fixture
def container(daemon):
    return daemon.run_pod().run_container()


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


# -- requests

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


# -- exec

@pytest.mark.uml
def test_output_errors_and_exit_code(container, protocol):
    script = "echo out; echo err >&2; exit 5"
    assert streams.run(container, ["sh", "-c", script], protocol=protocol) == (b"out\n", b"err\n", 5)
    assert streams.run(container, ["true"], protocol=protocol) == (b"", b"", 0)
    assert streams.run(container, ["sh", "-c", "kill -9 $$"], protocol=protocol)[2] == 137


@pytest.mark.parametrize("wanted", [dict(stderr=False), dict(stdout=False)])
def test_only_one_of_the_outputs(container, protocol, wanted):
    out, err, status = streams.run(container, ["sh", "-c", "head -c 200000 /dev/zero; echo err >&2; exit 3"],
                                   protocol=protocol, **wanted)
    assert status == 3
    assert out == (b"" if "stdout" in wanted else bytes(200000))
    assert err == (b"" if "stderr" in wanted else b"err\n")


def test_input_and_half_close(container, protocol):
    # The command goes on when its input has ended.
    out, _, status = streams.run(container, ["sh", "-c", "sha256sum; echo done; exit 4"], bytes(3 << 20),
                                 protocol=protocol)
    assert out == hashlib.sha256(bytes(3 << 20)).hexdigest().encode() + b"  -\ndone\n"
    assert status == 4


def test_input_that_nobody_reads(container, protocol):
    out, _, status = streams.run(container, ["sh", "-c", "exec <&-; echo done"], bytes(1 << 20), protocol=protocol)
    assert (out, status) == (b"done\n", 0)


def test_without_input_it_is_at_its_end(container):
    assert streams.run(container, ["cat"]) == (b"", b"", 0)


@pytest.mark.uml
def test_a_command_that_does_not_exist(container, protocol):
    for tty in (False, True):
        out, err, status = streams.run(container, ["/no/such"], protocol=protocol, tty=tty)
        assert status not in (0, 1) and b"/no/such" in err, (out, err, status)


def test_a_container_that_ended_meanwhile(container, protocol):
    url = streams.exec_url(container, ["true"])
    container.stop(timeout=0)
    with streams.Session(url, protocol=protocol) as session:
        _, err, status = session.finish()
        assert status == streams.FAILED and b"it is exited" in err, err


@pytest.mark.uml
def test_a_terminal(container, protocol):
    command = ["sh", "-c", "read x; test -t 0 && test -t 2 && echo terminal $x >&2; stty size; "
                           "trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.05; done"]
    url = streams.exec_url(container, command, stdin=True, tty=True)
    with streams.Session(url, stdin=True, tty=True, protocol=protocol) as session:
        session.resize(101, 33)
        time.sleep(0.3)      # the size goes a way of its own
        session.send(b"typed\n")
        assert session.read_until(b"ready\r\n").endswith(b"terminal typed\r\n33 101\r\nready\r\n")
        session.resize(77, 55)
        assert session.read_until(b"55 77\r\n")
        assert session.wait(20) == 7


def test_keys_of_a_terminal(container, protocol):
    url = streams.exec_url(container, ["sh", "-c", "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done"],
                           stdin=True, tty=True)
    with streams.Session(url, stdin=True, tty=True, protocol=protocol) as session:
        session.read_until(b"ready\r\n")
        session.send(b"\x03")
        assert b"caught" in session.read_until(b"caught")
        assert session.wait(20) == 9


def test_what_a_command_leaves_in_the_background_keeps_nobody(container, protocol):
    start = time.monotonic()
    out, _, status = streams.run(container, ["sh", "-c", "sleep 600 & echo done; exit 6"], protocol=protocol)
    assert (out, status) == (b"done\n", 6)
    assert time.monotonic() - start < 15


@pytest.mark.slow
def test_large_transfers(container, protocol):
    """BERTH_TEST_STREAM_MEGABYTES each way at once."""
    chunk = hashlib.sha512(protocol.encode()).digest() * 16384
    sent, received = hashlib.sha256(), hashlib.sha256()
    url = streams.exec_url(container, ["cat"], stdin=True)
    with streams.Session(url, stdin=True, protocol=protocol) as session:
        def feed():
            for number in range(MEGABYTES):
                data = number.to_bytes(8, "big") + chunk[8:]
                sent.update(data)
                session.stdin.write(data)
            session.stdin.close()
        feeder = threading.Thread(target=feed)
        feeder.start()
        size = 0
        while more := session.stdout.read(1 << 20):
            received.update(more)
            size += len(more)
        feeder.join()
        assert session.wait(20) == 0, session.stderr.read()
    assert size == MEGABYTES << 20
    assert received.digest() == sent.digest()


def test_exec_during_the_grace_period(daemon):
    container = daemon.run_pod().run_container(
        command=["sh", "-c", "trap : TERM; echo ready; while :; do sleep 0.1; done"])
    container.wait_log(b"ready\n")
    stopping = daemon.client.StopContainer.future(pb.StopContainerRequest(container_id=container.id, timeout=20))
    time.sleep(0.3)
    assert streams.run(container, ["echo", "still"]) == (b"still\n", b"", 0)
    container.stop(timeout=0)
    stopping.result(timeout=20)


# -- attach

# By its output a client sees that it is attached.
TICK = "while ! test -e /go; do echo tick; sleep 0.05; done"


@pytest.mark.uml
def test_attaching_shows_output(daemon, protocol):
    container = daemon.run_pod().run_container(
        command=["sh", "-c", f"echo before; {TICK}; echo out; echo err >&2"])
    container.wait_log(b"tick\n")
    with streams.Session(streams.attach_url(container), protocol=protocol) as session:
        session.read_until(b"tick\n")
        container.exec(["touch", "/go"])
        out, err, status = session.finish()
        assert (out.replace(b"tick\n", b""), err, status) == (b"out\n", b"err\n", 0)
    # What was printed before is in the log, and so is all the rest.
    assert [line.text for line in container.log() if line.text != b"tick"] == [b"before", b"out", b"err"]


def test_attached_input_ends_once(daemon, protocol):
    container = daemon.run_pod().run_container(command=["sh", "-c", "cat; echo end"], stdin=True, stdin_once=True)
    with streams.Session(streams.attach_url(container, stdin=True), stdin=True, protocol=protocol) as session:
        session.send(b"hello\n")
        session.read_until(b"hello\n")
        out, err, _ = session.finish(b"last\n")
        assert (out, err) == (b"last\nend\n", b"")
    assert container.wait_exited().exit_code == 0
    assert container.log_text() == b"hello\nlast\nend\n"


def test_attached_input_stays_open(daemon):
    container = daemon.run_pod().run_container(command=["sh", "-c", "cat; echo end"], stdin=True)
    for word in (b"one\n", b"two\n"):
        with streams.Session(streams.attach_url(container, stdin=True), stdin=True) as session:
            session.send(word)
            session.read_until(word)
    assert container.status().state == pb.CONTAINER_RUNNING
    assert container.wait_log(b"two\n") == b"one\ntwo\n"


@pytest.mark.uml
def test_attaching_to_a_terminal(daemon, protocol):
    container = daemon.run_pod().run_container(
        command=["sh", "-c", "trap 'stty size' WINCH; while :; do read x && echo got $x; done"],
        stdin=True, tty=True)
    url = streams.attach_url(container, stdin=True, tty=True)
    with streams.Session(url, stdin=True, tty=True, protocol=protocol) as session:
        session.send(b"word\n")
        session.read_until(b"got word\r\n")
        session.resize(90, 40)
        session.read_until(b"40 90\r\n")


def test_attaching_wants_the_containers_terminal(daemon):
    pod = daemon.run_pod()
    for made, asked in ((True, False), (False, True)):
        container = pod.run_container(command=["sleep", "1000"], tty=made)
        with pytest.raises(grpc.RpcError) as error:
            daemon.client.Attach(container_id=container.id, stdout=True, tty=asked)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "terminal" in error.value.details()


def test_a_stuck_client_delays_nobody(daemon, protocol):
    container = daemon.run_pod().run_container(command=[
        "sh", "-c", f"{TICK}; for i in $(seq 1 300); do seq 1 20000; sleep 0.01; done; sleep 0.5; echo end; sleep 1000"])
    with streams.Session(streams.attach_url(container), protocol=protocol) as stuck, \
            streams.Session(streams.attach_url(container), protocol=protocol) as well:
        stuck.read_until(b"tick\n")
        well.read_until(b"tick\n")
        stuck.send_signal(signal.SIGSTOP)
        container.exec(["touch", "/go"])
        well.read_until(b"\nend\n")     # more than all the queues to the stuck one hold
        with open(container.log_path, "rb") as log:
            assert log.read().count(b" stdout F 20000\n") == 300
        stuck.send_signal(signal.SIGCONT)


# -- ports

ECHO = """
import socket, sys, threading
def serve(connection):
    with connection:
        while data := connection.recv(1 << 16):
            connection.sendall(data)
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, backlog=100)
print("up", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


@contextlib.contextmanager
def echoing(pod, port, address="0.0.0.0"):
    """A server in the pod's network that sends back what it is sent."""
    pid = str(pod.run_container().host_pid())
    with subprocess.Popen(["nsenter", "--net", "--target", pid, sys.executable, "-c", ECHO, address, str(port)],
                          stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"up\n"
            yield
        finally:
            server.kill()


@pytest.mark.uml
def test_a_port_of_a_pod(daemon):
    pod = daemon.run_pod()
    with echoing(pod, 7000), streams.forwarding(pod, 7000) as (address, _):
        for data in (b"hello", b"", bytes(range(256)) * 4000):
            assert streams.exchange(address, data) == data


def test_ports_over_websocket(daemon):
    """The form that the kubelet's own clients speak, one pair of channels for each port that the request names."""
    pod = daemon.run_pod()
    url = urllib.parse.urlsplit(daemon.client.PortForward(pod_sandbox_id=pod.id, port=[7000]).url)
    with echoing(pod, 7000), socket.create_connection((url.hostname, url.port), timeout=20) as connection, \
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
    with echoing(pod, 7001, "::1"), streams.forwarding(pod, 7001) as (address, _):
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
    with echoing(pod, 7000), streams.forwarding(pod, 7000) as (address, _):
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
    with echoing(pod, 7000), streams.forwarding(pod, 7000) as (address, _), \
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


# -- what ends, and what is left

@pytest.mark.uml
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_restart_ends_sessions_and_no_container(scratch, runtime, end, protocol):
    daemon = scratch(runtime=runtime)
    container = daemon.run_pod().run_container(command=["sh", "-c", "cat; echo end; sleep 1000"], stdin=True)
    url = streams.exec_url(container, ["sh", "-c", "echo up; exec sleep 7654"])
    with streams.Session(url, protocol=protocol) as command, \
            streams.Session(streams.attach_url(container, stdin=True), stdin=True, protocol=protocol) as attached_one:
        command.read_until(b"up\n")
        attached_one.send(b"first\n")
        attached_one.read_until(b"first\n")
        daemon.restart(end)
        # What they exit with is theirs: by SPDY a connection that ends looks like success to client-go.
        command.wait(20)
        attached_one.wait(20)
    until(lambda: "sleep 7654" not in container.output(["ps", "-o", "args"]))
    assert container.status().state == pb.CONTAINER_RUNNING
    with streams.Session(streams.attach_url(container, stdin=True), stdin=True, protocol=protocol) as again:
        again.send(b"second\n")
        again.read_until(b"second\n")
    assert container.wait_log(b"second\n") == b"first\nsecond\n"


@pytest.mark.uml
def test_clients_that_die_leave_nothing(daemon, protocol):
    container = daemon.run_pod().run_container(command=["sh", "-c", "cat >/dev/null"], stdin=True)
    pod = container.pod

    def held():
        return len(leaks.descriptors(daemon.pid)), leaks.threads(daemon.pid)

    def round_():
        exec_in = streams.exec_url(container, ["sh", "-c", "echo up; exec sleep 7655"], stdin=True)
        terminal = streams.exec_url(container, ["sh", "-c", "echo up; exec sleep 7655"], stdin=True, tty=True)
        with streams.Session(exec_in, stdin=True, protocol=protocol) as one, \
                streams.Session(terminal, stdin=True, tty=True, protocol=protocol) as two, \
                streams.Session(streams.attach_url(container, stdin=True), stdin=True, protocol=protocol), \
                streams.forwarding(pod, 7000) as (address, _), \
                socket.create_connection(address) as connection:
            one.read_until(b"up")
            two.read_until(b"up")
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        # All of them were killed in the middle.
        until(lambda: "sleep 7655" not in container.output(["ps", "-o", "args"]))
    with echoing(pod, 7000):
        round_()
        time.sleep(1)
        before = held()
        for _ in range(5):
            round_()
    until(lambda: held()[0] <= before[0] and held()[1] <= before[1] + 2)


def memory(pid):
    """PSS in kB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
        return int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.MULTILINE)[1])


def test_many_aborted_connections_leave_nothing(scratch, runtime):
    daemon = scratch(runtime=runtime)
    container = daemon.run_pod().run_container(command=["cat"], stdin=True)

    def abort(number):
        """Connects and goes away: before the request, in it, right after it, or when the session has begun."""
        url = urllib.parse.urlsplit(streams.attach_url(container, stdin=True) if number % 2 else
                                    streams.exec_url(container, ["sleep", "7656"], stdin=True, tty=number % 4 == 0))
        request = (f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\n"
                   "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n").encode()
        with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
            connection.sendall(request[:(0, 20, len(request), len(request))[number // 4 % 4]])
            if number // 4 % 4 == 3:
                assert connection.recv(12) == b"HTTP/1.1 101"

    def half_websocket(number):
        """The session begins, and with it the command; then the client is gone."""
        url = urllib.parse.urlsplit(streams.exec_url(container, ["sleep", "7656"], stdin=True, tty=number % 2 == 0))
        with socket.create_connection((url.hostname, url.port), timeout=20) as connection:
            connection.sendall(f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: Upgrade\r\n"
                               "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                               "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                               "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 101"

    def rounds(count):
        for number in range(count):
            abort(number)
            if number % 8 == 0:
                half_websocket(number // 8)
        until(lambda: "sleep 7656" not in container.output(["ps", "-o", "args"]), 60)
        time.sleep(1)
    rounds(100)
    before = len(leaks.descriptors(daemon.pid)), leaks.threads(daemon.pid), memory(daemon.pid)
    rounds(400)
    until(lambda: len(leaks.descriptors(daemon.pid)) <= before[0])
    assert leaks.threads(daemon.pid) <= before[1] + 2
    # Threads that are there once keep what they have used; 400 sessions would show.
    assert memory(daemon.pid) < before[2] + 6144


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


# -- TLS

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
