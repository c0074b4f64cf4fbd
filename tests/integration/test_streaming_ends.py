"""How streams end, by a restart, a client's death or an abort, and that nothing of them is left."""
import concurrent.futures
import os
import signal
import socket
import time
import urllib.parse

import pytest

from harness import leaks, memory, raw_streams, streams
from harness.cri import pb

pytestmark = pytest.mark.berth


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
    streams.until(lambda: "sleep 7654" not in container.output(["ps", "-o", "args"]))
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
        streams.until(lambda: "sleep 7655" not in container.output(["ps", "-o", "args"]))
    with streams.echoing(pod, 7000):
        round_()
        time.sleep(1)
        before = held()
        for _ in range(5):
            round_()
    streams.until(lambda: held()[0] <= before[0] and held()[1] <= before[1] + 2)


def fill(connection, protocol):
    """Sends input until the other side takes no more."""
    frame, sent = raw_streams.stdin_data(protocol, bytes(32000)), 0
    connection.settimeout(1)
    try:
        while True:
            sent += connection.send(frame[sent % len(frame):])
    except TimeoutError:
        return sent


def test_a_client_that_dies_while_its_command_does_not_read(container, protocol):
    def runs(seconds):
        return f"sleep {seconds}" in container.output(["ps", "-o", "args"])
    url = streams.exec_url(container, ["sleep", "7657"], stdin=True)
    slow_url = streams.exec_url(container, ["sh", "-c", "sleep 7658; wc -c"], stdin=True)
    with raw_streams.begin(url, protocol) as dying, raw_streams.begin(slow_url, protocol) as slow:
        streams.until(lambda: runs(7657) and runs(7658))
        sent = [fill(connection, protocol) for connection in (dying, slow)]
        assert min(sent) > 256 << 10
        time.sleep(1.5)
        assert runs(7657) and runs(7658), "a client that only waits was given up"
        dying.close()
        streams.until(lambda: not runs(7657))
        # The other one is left alone, and goes on as soon as its command reads.
        assert runs(7658)
        container.shell("kill $(pidof sleep | tr ' ' '\\n' | grep -v '^1$')")
        frame = raw_streams.stdin_data(protocol, bytes(32000))
        slow.settimeout(20)
        slow.sendall(frame[sent[1] % len(frame):])
        for _ in range(100):
            slow.sendall(frame)


ABORTED = int(os.environ.get("BERTH_TEST_ABORTED", "10000"))


@pytest.mark.slow
def test_many_aborted_connections_leave_nothing(scratch):
    """BERTH_TEST_ABORTED of them, 50 at a time, of each kind, by both protocols, at every stage."""
    daemon = scratch()
    pod = daemon.run_pod()
    container = pod.run_container(command=["cat"], stdin=True)
    terminal = pod.run_container(command=["cat"], stdin=True, tty=True)
    server = urllib.parse.urlsplit(streams.attach_url(container)).netloc
    # A command costs more than all the rest, so there are fewer of them.
    kinds = ["attach", "portforward", "attach", "portforward", "attach", "portforward", "exec"]

    def url_of(kind, stage, tty):
        if raw_streams.STAGES.index(stage) < raw_streams.STAGES.index("request sent"):
            return f"http://{server}/{kind}/{'x' * 22}"     # nothing is asked yet, and URLs are good for a minute
        if kind == "portforward":
            return daemon.client.PortForward(pod_sandbox_id=pod.id, port=[7000]).url
        if kind == "attach":
            return streams.attach_url(terminal if tty else container, stdin=True, tty=tty)
        return streams.exec_url(container, ["sleep", "7656"], stdin=True, tty=tty)

    def abort(number):
        stage = raw_streams.STAGES[number % len(raw_streams.STAGES)]
        number //= len(raw_streams.STAGES)
        protocol = streams.PROTOCOLS[number % 2]
        kind, tty = kinds[number // 2 % len(kinds)], number // 2 // len(kinds) % 2 == 1
        raw_streams.abort(url_of(kind, stage, tty), protocol, stage, 7000, tty)

    def rounds(count):
        with concurrent.futures.ThreadPoolExecutor(50) as threads:
            list(threads.map(abort, range(count)))
        streams.until(lambda: "sleep 7656" not in container.output(["ps", "-o", "args"]), 60)
        time.sleep(1)

    def held():
        monitors = [pid for pid, (_, _, command) in leaks.process_table().items() if command == "berth-monitor"
                    and any(one.id in leaks.command_line(pid) for one in (container, terminal))]
        return {pid: (len(leaks.descriptors(pid)), memory.pss_kilobytes(pid)) for pid in (daemon.pid, *monitors)}
    with streams.echoing(pod, 7000):
        rounds(max(ABORTED // 10, 500))
        before, threads = held(), leaks.threads(daemon.pid)
        rounds(ABORTED)
        assert len(before) == 3
        streams.until(lambda: all(held()[pid][0] <= before[pid][0] for pid in before))
        assert leaks.threads(daemon.pid) <= threads + 2
        # What is used once is kept for the next time; thousands of sessions would show.
        after = held()
        print(f"PSS in kB: {[(before[pid][1], after[pid][1]) for pid in before]}")
        for pid in before:
            assert after[pid][1] < before[pid][1] + (4096 if pid == daemon.pid else 32), (before, after)
