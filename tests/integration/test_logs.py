"""The container log: format, partial lines, both streams, reopening."""
import hashlib
import json
import os
import re
import stat
import subprocess
import time

import grpc
import pytest

from harness import pods

pytestmark = pytest.mark.uml


@pytest.mark.berth
def test_the_exact_format(daemon):
    container = daemon.run_pod().run_container(command=["sh", "-c", "echo one; echo; printf unfinished"])
    container.wait_exited()
    with open(container.log_path, "rb") as log:
        lines = log.read().split(b"\n")
    assert lines.pop() == b""
    pattern = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}[+-]\d\d:\d\d stdout (F one|F |P unfinished)"
    for line in lines:
        assert re.fullmatch(pattern, line), line
    # What ends without a newline stays a partial line, and nothing is added after it.
    assert [line.split(b" ", 2)[2] for line in lines] == [b"F one", b"F ", b"P unfinished"]
    assert stat.S_IMODE(os.stat(container.log_path).st_mode) == 0o640


def test_streams_and_times(daemon):
    before = time.time()
    container = daemon.run_pod().run_container(
        command=["sh", "-c", "echo out; sleep 0.2; echo err >&2; sleep 0.2; echo out2"])
    container.wait_exited()
    lines = container.log()
    assert [(line.stream, line.tag, line.text) for line in lines] == [
        ("stdout", "F", b"out"), ("stderr", "F", b"err"), ("stdout", "F", b"out2")]
    times = [line.time.timestamp() for line in lines]
    assert times == sorted(times)
    assert before - 1 < times[0] and times[-1] < time.time() + 1
    assert times[2] - times[0] >= 0.35


def test_long_lines_are_split_and_complete(daemon):
    container = daemon.run_pod().run_container(
        command=["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo short"])
    container.wait_exited()
    assert container.log_text() == b"x" * 100000 + b"\nshort\n"
    lines = container.log()
    assert all(len(line.text) <= 16384 for line in lines)
    assert [line.tag for line in lines[-2:]] == ["F", "F"]
    assert {line.tag for line in lines[:-2]} == {"P"}


@pytest.mark.berth
def test_bytes_are_kept_as_they_are(daemon):
    container = daemon.run_pod().run_container(command=["printf", "\\000\\377\\t\\r\\n\\303\\274\\n"])
    container.wait_exited()
    assert container.log_text() == b"\x00\xff\t\r\n\xc3\xbc\n"


@pytest.mark.berth
def test_much_output_is_complete_and_in_order(daemon):
    container = daemon.run_pod().run_container(command=["seq", "1", "50000"])
    container.wait_exited()
    assert container.log_text().split() == [b"%d" % n for n in range(1, 50001)]


@pytest.mark.berth
def test_without_a_log_path_nothing_is_written(daemon):
    pod = daemon.run_pod()
    container = pod.run_container(command=["echo", "lost"], log_path="")
    assert container.wait_exited().exit_code == 0
    assert not os.listdir(pod.config.log_directory)


def test_reopening(daemon):
    container = daemon.run_pod().run_container(
        command=["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"])
    container.wait_log(b"5\n")
    os.rename(container.log_path, container.log_path + ".old")
    daemon.client.ReopenContainerLog(container_id=container.id)
    assert os.path.exists(container.log_path)
    deadline = time.monotonic() + 10
    while not container.log() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    container.stop(timeout=0)
    with open(container.log_path + ".old", "rb") as old:
        before = [int(line.split()[3]) for line in old.read().splitlines()]
    after = [int(line.text) for line in container.log()]
    assert before and after
    assert before + after == list(range(1, len(before) + len(after) + 1)), "a line was lost or doubled"


@pytest.mark.berth
def test_reopening_needs_a_running_container(daemon):
    container = daemon.run_pod().run_container(command=["true"])
    container.wait_exited()
    os.unlink(container.log_path)
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.ReopenContainerLog(container_id=container.id)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert not os.path.exists(container.log_path)
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.ReopenContainerLog(container_id="e" * 64)
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.berth
@pytest.mark.parametrize("path", ["../outside.log", "/tmp/absolute.log", "a/../../outside.log"])
def test_a_path_out_of_the_log_directory_is_refused(daemon, path):
    pod = daemon.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.create(log_path=path)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not daemon.client.ListContainers().containers


@pytest.mark.berth
def test_a_planted_symlink_is_not_followed(daemon, tmp_path):
    target = tmp_path / "target"
    target.write_text("untouched")
    pod = daemon.run_pod()
    os.symlink(target, os.path.join(pod.config.log_directory, "link.log"))
    try:
        pod.run_container(command=["echo", "pwned"], log_path="link.log").wait_exited()
    except grpc.RpcError:
        pass
    assert target.read_text() == "untouched"


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "logs", folder], check=True)
    yield str(folder)
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.berth
def test_a_full_disk_stops_nobody_and_is_told(daemon, small_disk):
    lines = 200000
    container = daemon.run_pod(log_directory=small_disk).run_container(
        command=["sh", "-c", f"seq 1 {lines}; echo done >/state; sleep 1000"])
    deadline = time.monotonic() + 30
    while container.exec(["test", "-e", "/state"]).exit_code != 0:
        assert time.monotonic() < deadline, "the container hangs"
        time.sleep(0.05)
    written = sum(len(b"%d\n" % n) for n in range(1, lines + 1))
    lost = json.loads(container.info()["info"])["lostLogBytes"]
    logged = container.log_text()        # no torn line is in it
    assert len(logged) + lost == written
    assert lost > written // 2
    assert "output is lost" in daemon.log() and container.id in daemon.log()
    # There is room again: the log goes on, in a new file after a rotation.
    os.unlink(container.log_path)
    daemon.client.ReopenContainerLog(container_id=container.id)
    container.exec(["sh", "-c", "echo again >/proc/1/fd/1"])
    container.wait_log(b"again\n")
    container.stop(timeout=0)
    assert json.loads(container.info()["info"])["lostLogBytes"] == lost


@pytest.mark.berth
@pytest.mark.slow
def test_gigabytes_and_rotations_without_a_lost_or_doubled_byte(any_daemon):
    """BERTH_TEST_LOG_MEGABYTES says how much; all lines differ, so that a lost or doubled one shows."""
    megabytes = int(os.environ.get("BERTH_TEST_LOG_MEGABYTES", "5000"))
    count = megabytes * 1000
    container = any_daemon.run_pod().run_container(command=[
        "awk", f'BEGIN {{ for (i = 1; i <= {count}; i++) {{ printf "%0999d\\n", i; if (i == {count * 11 // 12}) '
               f'while ((getline go < "/go") < 0) system("sleep 0.05") }} }}'])
    digest, size = hashlib.sha256(), 0

    def take(path):
        nonlocal size
        with open(path, "rb") as log:
            for line in log:
                assert line[35:45] in (b" stdout F ", b" stdout P "), line[:60]
                text = line[45:] if line[43:44] == b"F" else line[45:-1]
                digest.update(text)
                size += len(text)
        os.unlink(path)

    for rotation in range(5):
        deadline = time.monotonic() + 300
        while size + os.path.getsize(container.log_path) < (rotation + 1) * megabytes * 10 ** 6 // 6:
            assert time.monotonic() < deadline, "the container does not get on"
            time.sleep(0.01)
        old = f"{container.log_path}.{rotation}"
        os.rename(container.log_path, old)
        any_daemon.client.ReopenContainerLog(container_id=container.id)
        assert container.status().state == pods.pb.CONTAINER_RUNNING, "the rotations came too late"
        take(old)
    container.shell("touch /go")    # not before: it would have ended before the last rotation on a fast machine
    assert container.wait_exited(seconds=300).exit_code == 0
    take(container.log_path)
    expected = hashlib.sha256()
    for number in range(1, count + 1):
        expected.update(b"%0999d\n" % number)
    assert size == count * 1000
    assert digest.digest() == expected.digest()
    assert json.loads(container.info()["info"])["lostLogBytes"] == 0


def test_the_log_survives_until_the_kubelet_takes_it(daemon):
    container = daemon.run_pod().run_container(command=["echo", "kept"])
    container.wait_exited()
    container.remove()
    assert container.log_text() == b"kept\n"
