"""Attach, from the request to the last byte, by the client that kubectl is."""
import signal

import grpc
import pytest

from harness import streams
from harness.cri import pb

pytestmark = pytest.mark.berth


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
