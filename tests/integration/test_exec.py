"""ExecSync."""
import concurrent.futures
import time

import grpc
import pytest

from harness import leaks, pods
from harness.cri import pb

pytestmark = pytest.mark.uml


def test_output_and_exit_code(container):
    answer = container.exec(["sh", "-c", "echo out; echo err >&2; exit 5"])
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 5)
    answer = container.exec(["true"])
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"", b"", 0)


def test_a_signal_is_an_exit_code(container):
    assert container.exec(["sh", "-c", "kill -9 $$"]).exit_code == 137


def test_arguments_and_bytes_go_through_unchanged(container):
    assert container.exec(["printf", "%s|", "a b", "", "$HOME", "ü\n"]).stdout == "a b||$HOME|ü\n|".encode()
    assert container.exec(["printf", "\\000\\377"]).stdout == b"\0\xff"


def test_it_runs_as_the_container_does(daemon):
    container = daemon.run_pod().run_container(
        env={"MARK": "yes"}, working_dir="/tmp", security={"run_as_user": 33, "supplemental_groups": [7]})
    assert container.shell("echo $MARK; pwd; id -u; id -G").split() == ["yes", "/tmp", "33", "33", "7"]
    own = container.output(["cat", "/proc/1/status"])
    exec_ = container.output(["cat", "/proc/self/status"])
    for line in ("CapEff", "CapBnd", "CapInh", "NoNewPrivs", "Seccomp"):
        pick = lambda text: [row for row in text.splitlines() if row.startswith(line)]
        assert pick(own) == pick(exec_), line


def test_a_command_that_does_not_exist(container):
    try:
        answer = container.exec(["/no/such/command"])
    except grpc.RpcError as error:
        assert "no/such/command" in error.details()
    else:
        assert answer.exit_code in (126, 127)


@pytest.mark.berth
def test_an_empty_command_is_refused(container):
    with pytest.raises(grpc.RpcError) as error:
        container.exec([])
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.berth
def test_only_running_containers_execute(daemon):
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.ExecSync(container_id="e" * 64, cmd=["true"])
    assert error.value.code() == grpc.StatusCode.NOT_FOUND
    container = daemon.run_pod().run_container()
    container.stop(timeout=0)
    with pytest.raises(grpc.RpcError) as error:
        container.exec(["true"])
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.berth
def test_the_timeout_is_an_answer(container):
    start = time.monotonic()
    answer = container.exec(["sh", "-c", "echo before; sleep 1234"], timeout=1)
    assert 0.9 < time.monotonic() - start < 6
    assert answer.exit_code == -1
    assert b"command timed out" in answer.stderr
    assert "sleep 1234" not in container.output(["ps", "-o", "args"])


def test_what_timed_out_is_gone(container):
    try:
        container.exec(["sleep", "1234"], timeout=1)
    except grpc.RpcError:
        pass
    assert "sleep 1234" not in container.output(["ps", "-o", "args"])


@pytest.mark.berth
def test_a_child_that_keeps_the_pipe_does_not_keep_the_caller(container):
    start = time.monotonic()
    answer = container.exec(["sh", "-c", "sleep 30 & echo done"])
    assert answer.stdout == b"done\n"
    assert time.monotonic() - start < 15
    container.shell("kill $(pidof sleep | tr ' ' '\\n' | grep -v '^1$') || true")


@pytest.mark.berth
def test_the_callers_deadline_ends_the_command(container):
    with pytest.raises(grpc.RpcError) as error:
        container.exec(["sleep", "1234"], timeout=0, seconds=1)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    gone = lambda: "sleep 1234" in container.output(["ps", "-o", "args"])
    assert not leaks.settle(gone, 5)


@pytest.mark.berth
def test_large_output_is_capped(container):
    answer = container.exec(["sh", "-c", "yes 0123456789abcdef | head -c 20000000; echo err >&2"], timeout=60)
    assert answer.exit_code == 0
    assert len(answer.stdout) == 16 << 20
    assert answer.stderr == b"err\n"


def test_a_megabyte_comes_whole(container):
    answer = container.exec(["sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"])
    assert (answer.stdout, answer.stderr) == (bytes(1000000), bytes(1000000))


def test_many_at_once(container):
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda n: container.exec(["sh", "-c", f"echo {n}; exit {n}"]), range(48)))
    assert [answer.exit_code for answer in answers] == list(range(48))
    assert [answer.stdout for answer in answers] == [b"%d\n" % n for n in range(48)]


@pytest.mark.berth
def test_commands_are_given_three_descriptors(daemon):
    container = daemon.run_pod().run_container(image="docker.io/berthtest/probes:1")
    lines = container.output(["print_fds"]).splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"], lines


@pytest.mark.berth
def test_executing_leaves_no_process_behind(daemon, container):
    for _ in range(20):
        container.exec(["true"])
    children = [line for line in leaks.descendants(set()) if "exec" in line and container.id in line]
    assert not children
