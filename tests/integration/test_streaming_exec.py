"""Exec, from the request to the last byte, by the client that kubectl is."""
import hashlib
import threading
import time

import pytest

from harness import streams
from harness.cri import pb

pytestmark = pytest.mark.berth
MEGABYTES = streams.MEGABYTES


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
