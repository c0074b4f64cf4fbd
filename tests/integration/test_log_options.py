"""What an administrator can say of containers' logs: a copy for systemd's journal, a largest size."""
import os
import socket
import time

import pytest

from harness import streams

pytestmark = pytest.mark.berth
JOURNAL = "/run/systemd/journal/socket"


class Journal:
    """A socket in the place of the journal's."""

    def __init__(self):
        self.socket = None
        self.entries = []

    def start(self):
        os.makedirs(os.path.dirname(JOURNAL), exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(JOURNAL)
        self.socket.setblocking(False)

    def stop(self):
        if self.socket:
            self.socket.close()
            os.unlink(JOURNAL)
            self.socket = None

    def read(self):
        """All that has come so far: (priority, text, all the fields) of each entry."""
        while True:
            try:
                datagram = self.socket.recv(1 << 20)
            except BlockingIOError:
                return self.entries
            assert datagram.endswith(b"\n\n")
            for entry in datagram[:-2].split(b"\n\n"):
                fields = dict(line.split(b"=", 1) for line in entry.split(b"\n"))
                self.entries.append((fields[b"PRIORITY"], fields[b"MESSAGE"], fields))

    def texts(self):
        return [text for _, text, _ in self.read()]


@pytest.fixture
def journal():
    if os.path.exists(JOURNAL):
        pytest.skip(f"this machine has a journal of its own: {JOURNAL}")
    fake = Journal()
    fake.start()
    yield fake
    fake.stop()


def test_output_goes_to_the_journal_too(scratch, runtime, journal):
    daemon = scratch(runtime=runtime, runtime_table={"log_to_journald": True})
    pod = daemon.run_pod()
    container = pod.run_container(command=["sh", "-c", "echo one; echo bad >&2; printf open; sleep 1000"])
    streams.until(lambda: len(journal.read()) == 3)
    assert container.wait_log(b"open") and len(container.log()) == 3
    meta = container.config.metadata
    name = f"k8s_{meta.name}_{pod.config.metadata.name}_default_{pod.config.metadata.uid}_0".encode()
    for _, _, fields in journal.read():
        assert fields[b"CONTAINER_ID_FULL"] == container.id.encode()
        assert fields[b"CONTAINER_ID"] == container.id[:12].encode()
        assert fields[b"CONTAINER_NAME"] == fields[b"SYSLOG_IDENTIFIER"] == name
    said = {(priority, text, b"CONTAINER_PARTIAL_MESSAGE" in fields) for priority, text, fields in journal.read()}
    assert said == {(b"6", b"one", False), (b"3", b"bad", False), (b"6", b"open", True)}


def test_a_journal_that_does_not_listen_keeps_nobody(scratch, runtime, journal):
    daemon = scratch(runtime=runtime, runtime_table={"log_to_journald": True})
    container = daemon.run_pod().run_container(command=["sh", "-c", "seq 1 100000; echo end; sleep 1000"])
    container.wait_log(b"\nend\n", 60)      # nobody reads the socket: it is full after a few
    assert container.log_text().split() == [b"%d" % n for n in range(1, 100001)] + [b"end"]
    records, taken = len(container.log()), len(journal.texts())
    assert 0 < taken < 100000
    container.shell("echo again >/proc/1/fd/1")
    streams.until(lambda: b"again" in journal.texts())
    told = [text for priority, text, _ in journal.read() if priority == b"4"]
    assert told == [b"the journal did not take %d entries of this container's output; its log file has them"
                    % (records - taken)]
    # Stopped and started anew.
    journal.stop()
    container.shell("echo nobody >/proc/1/fd/1")
    container.wait_log(b"nobody\n")
    journal.start()
    container.shell("echo back >/proc/1/fd/1")
    streams.until(lambda: b"back" in journal.texts())
    assert b"nobody" not in journal.texts()


def test_without_the_option_the_journal_gets_nothing(daemon, journal):
    container = daemon.run_pod().run_container(command=["sh", "-c", "echo one; sleep 1000"])
    container.wait_log(b"one\n")
    time.sleep(0.1)
    assert journal.read() == []


def test_a_largest_size_of_the_log(scratch, runtime):
    daemon = scratch(runtime=runtime, runtime_table={"log_size_max": 20000})
    container = daemon.run_pod().run_container(command=["sh", "-c", "seq 1 3000; echo end; sleep 1000"])
    container.wait_log(b"end\n")
    lines = [line.text for line in container.log()]
    assert os.path.getsize(container.log_path) <= 20000
    assert lines[-1] == b"end"
    last = [int(text) for text in lines[:-1]]
    assert 1 < last[0] and last == list(range(last[0], 3001)), "what is there is the end of the output"


def test_a_size_that_no_record_fits_into_stops_the_start(scratch):
    daemon = scratch(runtime_table={"log_size_max": 100}, wait=False)
    daemon.launch()
    assert daemon.process.wait(30) != 0
    assert "log_size_max" in daemon.log()
    daemon.process = None
