"""The log on a disk that is slow, or does not answer: the container waits for it, and nobody else does."""
import json
import os
import subprocess
import sys
import time

import pytest

from harness import pods, streams
from harness.cri import pb

pytestmark = pytest.mark.berth

LINE = "x" * 99


class SlowDisk:
    def __init__(self, folder):
        self.source, self.path = f"{folder}/source", f"{folder}/disk"
        os.mkdir(self.source)
        os.mkdir(self.path)
        self.writes_take("0")
        program = os.path.join(os.path.dirname(pods.__file__), "slow_disk.py")
        self.process = subprocess.Popen([sys.executable, program, self.source, self.path])
        streams.until(lambda: os.path.ismount(self.path))

    def writes_take(self, what):
        """Seconds as text, or "hang"."""
        with open(f"{self.source}/.write_seconds.new", "w", encoding="utf-8") as out:
            out.write(what)
        os.rename(out.name, f"{self.source}/.write_seconds")

    def logged(self, container):
        """How many bytes of output have come to the disk, seen beneath the slow one."""
        with open(f"{self.source}/{container.config.log_path}", "rb") as log:
            content = log.read()
        lines = pods.parse_log(content[:content.rfind(b"\n") + 1])
        return sum(len(line.text) + (line.tag == "F") for line in lines)

    def close(self):
        self.writes_take("0")
        subprocess.run(["umount", "-l", self.path], check=True)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()


@pytest.fixture
def slow_disk(tmp_path):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this kernel has no FUSE: there is no /dev/fuse")
    disk = SlowDisk(str(tmp_path))
    yield disk
    disk.close()


def lost(container):
    return json.loads(container.info()["info"])["lostLogBytes"]


def test_a_slow_disk_slows_the_container_and_loses_nothing(daemon, slow_disk):
    slow_disk.writes_take("0.03")
    container = daemon.run_pod(log_directory=slow_disk.path).run_container(
        command=["sh", "-c", f"yes {LINE} | head -n 3000; echo end >/state; exec sleep 1000"])
    streams.until(lambda: slow_disk.logged(container) > 10000)
    # Others go on meanwhile: commands, attached clients, the daemon.
    assert container.exec(["test", "-e", "/state"]).exit_code == 1, "the disk is not slow"
    with streams.Session(streams.attach_url(container)) as attached:
        attached.read_until(LINE.encode())
    assert container.status().state == pb.CONTAINER_RUNNING
    streams.until(lambda: container.exec(["test", "-e", "/state"]).exit_code == 0, 120)
    # It has waited: what is not in the log yet fits into the pipe and the monitor.
    assert slow_disk.logged(container) >= 300000 - (64 + 16) * 1024
    streams.until(lambda: slow_disk.logged(container) == 300000, 60)
    assert container.log_text() == 3000 * (LINE.encode() + b"\n")
    assert lost(container) == 0
    container.stop(timeout=0)


def test_stopping_on_a_slow_disk_keeps_what_was_written(daemon, slow_disk):
    container = daemon.run_pod(log_directory=slow_disk.path).run_container(
        command=["sh", "-c", f"yes {LINE}"])
    streams.until(lambda: slow_disk.logged(container) > 10000)
    slow_disk.writes_take("0.03")
    container.stop(timeout=0)
    status = container.status()
    assert status.state == pb.CONTAINER_EXITED and status.exit_code == 137
    # In its first moments the log has all; then the end comes somewhere in a line.
    text = container.log_text()
    assert text.replace(LINE.encode() + b"\n", b"") in (b"", LINE.encode()[:len(text) % 100]), text[-200:]
    assert lost(container) == 0


def test_a_disk_that_does_not_answer_blocks_neither_the_daemon_nor_commands(daemon, slow_disk):
    pod = daemon.run_pod(log_directory=slow_disk.path)
    container = pod.run_container(command=["sh", "-c", "while :; do echo tick; sleep 0.02; done"])
    other = daemon.run_pod().run_container()
    container.wait_log(b"tick\n")
    slow_disk.writes_take("hang")
    time.sleep(0.2)
    assert container.exec(["echo", "still"]).stdout == b"still\n"
    assert other.exec(["echo", "well"]).stdout == b"well\n"
    assert {one.state for one in daemon.client.ListContainers().containers} == {pb.CONTAINER_RUNNING}
    before = slow_disk.logged(container)
    slow_disk.writes_take("0")
    streams.until(lambda: slow_disk.logged(container) > before + 100)
    container.stop(timeout=0)
    assert lost(container) == 0
    assert set(container.log_text().splitlines()) == {b"tick"}
