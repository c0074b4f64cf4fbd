"""Containers: their life, what their process is given, and what is reported of them."""
import concurrent.futures
import json
import os
import re
import signal
import time

import grpc
import pytest

from harness import pods
from harness.cri import pb

pytestmark = pytest.mark.uml
PROBES = "docker.io/berthtest/probes:1"
CONFIGURED = "docker.io/berthtest/configured:1"


def code_of(call, *args, **fields):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **fields)
    return error.value.code()


def run_to_end(pod, **fields):
    """Runs a container; returns (its final status, what its log holds)."""
    container = pod.run_container(**fields)
    status = container.wait_exited()
    return status, container.log_text().decode()


def test_the_life_of_a_container(daemon):
    pod = daemon.run_pod()
    before = time.time_ns()
    container = pod.create(command=["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"], name="main",
                           attempt=2, labels={"a": "b"}, annotations={"k": "v"})
    assert re.fullmatch("[0-9a-f]{64}", container.id)
    status = container.status()
    assert status.state == pb.CONTAINER_CREATED
    assert (status.metadata.name, status.metadata.attempt) == ("main", 2)
    assert (dict(status.labels), dict(status.annotations)) == ({"a": "b"}, {"k": "v"})
    assert before < status.created_at < time.time_ns()
    assert (status.started_at, status.finished_at) == (0, 0)
    assert status.log_path == container.log_path

    container.start()
    status = container.status()
    assert status.state == pb.CONTAINER_RUNNING
    assert status.created_at <= status.started_at < time.time_ns()
    assert status.finished_at == 0
    time.sleep(0.3)    # until the shell has set its trap

    container.stop()
    status = container.status()
    assert status.state == pb.CONTAINER_EXITED
    assert (status.exit_code, status.reason) == (7, "Error")
    assert status.started_at <= status.finished_at < time.time_ns()

    container.remove()
    assert code_of(daemon.client.ContainerStatus, container_id=container.id) == grpc.StatusCode.NOT_FOUND
    assert not daemon.client.ListContainers().containers


@pytest.mark.parametrize("script,code,reason", [
    ("exit 0", 0, "Completed"), ("exit 3", 3, "Error"), ("kill -9 $$", 137, "Error"),
    ("kill -15 $$", 143, "Error")])
def test_how_a_container_ended(daemon, script, code, reason):
    container = daemon.run_pod(pid=pods.POD).run_container(command=["sh", "-c", script])
    status = container.wait_exited()
    assert (status.exit_code, status.reason) == (code, reason)


def test_a_container_that_ends_at_once_keeps_its_exit_code(daemon):
    pod = daemon.run_pod()
    daemon.need(pods.BUSYBOX)
    for number in range(10):
        assert pod.run_container(command=["sh", "-c", f"exit {number + 40}"]).wait_exited().exit_code == \
            number + 40


@pytest.mark.berth
def test_stop_and_remove_of_what_is_not_there(daemon):
    daemon.client.StopContainer(container_id="e" * 64)
    daemon.client.RemoveContainer(container_id="e" * 64)
    container = daemon.run_pod().run_container()
    container.stop(timeout=0)
    container.stop(timeout=0)
    container.remove()
    container.remove()
    container.stop()


def test_a_running_container_can_be_removed(daemon):
    container = daemon.run_pod().run_container()
    container.remove()
    assert not daemon.client.ListContainers().containers


def test_a_created_container_can_be_removed(daemon):
    container = daemon.run_pod().create()
    container.remove()
    assert not daemon.client.ListContainers().containers


@pytest.mark.berth
def test_start_needs_a_created_container(daemon):
    container = daemon.run_pod().run_container()
    assert code_of(container.start) == grpc.StatusCode.FAILED_PRECONDITION
    container.stop(timeout=0)
    assert code_of(container.start) == grpc.StatusCode.FAILED_PRECONDITION
    assert code_of(daemon.client.StartContainer, container_id="e" * 64) == grpc.StatusCode.NOT_FOUND


@pytest.mark.berth
def test_the_same_request_again_returns_the_same_container(daemon):
    pod = daemon.run_pod()
    daemon.need(pods.BUSYBOX)
    config = pods.container_config(pod, command=["sleep", "1"])
    first = pod.create(config=config)
    assert pod.create(config=config).id == first.id
    assert len(daemon.client.ListContainers().containers) == 1
    first.remove()
    assert pod.create(config=config).id != first.id


@pytest.mark.berth
def test_the_same_request_twice_at_once_makes_one_container(daemon):
    pod = daemon.run_pod()
    daemon.need(pods.BUSYBOX)
    config = pods.container_config(pod, command=["sleep", "1"])
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: pod.create(config=config).id, range(4)))
    assert len(set(made)) == 1
    assert len(daemon.client.ListContainers().containers) == 1


@pytest.mark.berth
def test_a_stopped_pod_takes_no_containers(daemon):
    pod = daemon.run_pod()
    daemon.need(pods.BUSYBOX)
    pod.stop()
    assert code_of(pod.create) == grpc.StatusCode.FAILED_PRECONDITION


def test_stopping_the_pod_stops_its_containers(daemon):
    pod = daemon.run_pod()
    made = [pod.run_container(command=["sleep", "1000"]) for _ in range(3)]
    pod.stop()
    for container in made:
        status = container.status()
        assert status.state == pb.CONTAINER_EXITED
        assert status.exit_code in (137, 143)


def test_lists_are_filtered(daemon):
    pod, other = daemon.run_pod(), daemon.run_pod()
    one = pod.run_container(labels={"app": "a", "tier": "x"})
    two = pod.create(labels={"app": "b", "tier": "x"})
    three = other.run_container(labels={"app": "a"})
    three.stop(timeout=0)

    def ids(**fields):
        answer = daemon.client.ListContainers(filter=pb.ContainerFilter(**fields))
        return sorted(item.id for item in answer.containers)
    state = lambda value: pb.ContainerStateValue(state=value)
    assert ids() == sorted([one.id, two.id, three.id])
    assert ids(id=one.id) == [one.id]
    assert ids(id=one.id[:13]) == [one.id]
    assert ids(id="f" * 64) == []
    assert ids(state=state(pb.CONTAINER_RUNNING)) == [one.id]
    assert ids(state=state(pb.CONTAINER_CREATED)) == [two.id]
    assert ids(state=state(pb.CONTAINER_EXITED)) == [three.id]
    assert ids(pod_sandbox_id=pod.id) == sorted([one.id, two.id])
    assert ids(pod_sandbox_id=pod.id[:13]) == sorted([one.id, two.id])
    assert ids(label_selector={"app": "a"}) == sorted([one.id, three.id])
    assert ids(label_selector={"app": "a", "tier": "x"}) == [one.id]
    assert ids(id=one.id, pod_sandbox_id=other.id) == []
    assert ids(pod_sandbox_id=pod.id, state=state(pb.CONTAINER_RUNNING), label_selector={"tier": "x"}) == [one.id]


@pytest.mark.berth
def test_lists_are_newest_first_and_name_the_image(daemon):
    pod = daemon.run_pod()
    made = [pod.create() for _ in range(3)]
    items = daemon.client.ListContainers().containers
    assert [item.id for item in items] == [container.id for container in reversed(made)]
    image = daemon.client.ImageStatus(image=pb.ImageSpec(image=pods.BUSYBOX)).image
    for item in items:
        assert item.image.image == pods.BUSYBOX
        assert item.image_id == image.id
        assert item.pod_sandbox_id == pod.id
        assert item.state == pb.CONTAINER_CREATED and item.created_at
    status = made[0].status()
    assert status.image_id == image.id
    assert status.image_ref == sorted(image.repo_digests)[0]
    assert status.image.image == pods.BUSYBOX


# What the process is given

def test_command_and_arguments(daemon):
    pod = daemon.run_pod()
    status, text = run_to_end(pod, image=CONFIGURED, command=[], args=[])
    assert text.startswith("/srv/dir\n"), text    # the image's entrypoint and command
    _, text = run_to_end(pod, image=CONFIGURED, command=[], args=["echo from args"])
    assert text == "from args\n"                  # the image's entrypoint, our arguments
    _, text = run_to_end(pod, image=CONFIGURED, command=["echo", "from"], args=["command"])
    assert text == "from command\n"               # ours only
    assert status.exit_code == 0


def test_nothing_to_run_is_refused(daemon):
    pod = daemon.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.create(image="docker.io/berthtest/no-command:1", command=[])
    assert "no command" in error.value.details()
    assert not daemon.client.ListContainers().containers


def test_environment(daemon):
    _, text = run_to_end(daemon.run_pod(hostname="envhost"), image=CONFIGURED, command=["env"],
                         env={"FROM_CRI": "1", "OVERRIDDEN": "cri", "EMPTY": "", "SPACES": " a b=c "})
    got = dict(line.split("=", 1) for line in text.splitlines())
    assert got["FROM_IMAGE"] == "1"
    assert got["FROM_CRI"] == "1"
    assert got["OVERRIDDEN"] == "cri"
    assert got["EMPTY"] == ""
    assert got["SPACES"] == " a b=c "
    assert got["PATH"] == "/bin:/image"
    assert got["HOSTNAME"] == "envhost"


@pytest.mark.berth
def test_environment_values_that_no_runtime_takes_are_refused(daemon):
    """CRI's values are bytes; the runtimes' are JSON, so text. Anything else must not come out changed."""
    pod = daemon.run_pod()
    daemon.need(pods.BUSYBOX)
    with pytest.raises(grpc.RpcError) as error:
        pod.create(env={"RAW": b"\xff\xfe\x01"})
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "RAW" in error.value.details()
    _, text = run_to_end(pod, command=["sh", "-c", "echo $TEXT"], env={"TEXT": "gr\u00fc\u00df \U0001f6a2"})
    assert text == "gr\u00fc\u00df \U0001f6a2\n"


@pytest.mark.berth
def test_path_and_term_are_always_there(daemon):
    _, text = run_to_end(daemon.run_pod(), image="docker.io/berthtest/no-command:1", command=["/bin/env"])
    got = dict(line.split("=", 1) for line in text.splitlines())
    assert got["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert got["TERM"] == "xterm"


def test_working_directory(daemon):
    pod = daemon.run_pod()
    assert run_to_end(pod, image=CONFIGURED, command=["pwd"])[1] == "/srv/dir\n"
    assert run_to_end(pod, image=CONFIGURED, command=["pwd"], working_dir="/tmp")[1] == "/tmp\n"
    assert run_to_end(pod, command=["pwd"])[1] == "/\n"
    assert run_to_end(pod, command=["pwd"], working_dir="/made/on/demand")[1] == "/made/on/demand\n"


@pytest.mark.parametrize("image,security,expected", [
    # Who the image does not know has the number as a name, or none.
    (pods.BUSYBOX, {}, "uid=0(root) gid=0(root)"),
    (CONFIGURED, {}, "uid=33(www-data) gid=8(mail)"),
    ("docker.io/berthtest/numeric-user:1", {}, "uid=4242 gid=0(root)"),
    (CONFIGURED, {"run_as_user": 1000}, "uid=1000 gid=0(root)"),
    (CONFIGURED, {"run_as_user": 33}, "uid=33(www-data) gid=33(www-data)"),
    (CONFIGURED, {"run_as_user": 33, "run_as_group": 2}, "uid=33(www-data) gid=2(bin)"),
    (CONFIGURED, {"run_as_username": "mail"}, "uid=8(mail) gid=8(mail)"),
])
def test_user(daemon, image, security, expected):
    _, text = run_to_end(daemon.run_pod(), image=image, command=["id"], security=security)
    assert text.replace('(4242)', '').replace('(1000)', '').startswith(expected), text


@pytest.mark.berth
@pytest.mark.parametrize("security,fragment", [
    ({"run_as_group": 5}, ""), ({"run_as_username": "nobodyknows"}, "nobodyknows")])
def test_a_user_that_cannot_be_is_refused(daemon, security, fragment):
    pod = daemon.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.run_container(command=["id"], security=security)
    assert fragment in error.value.details()


@pytest.mark.berth
def test_an_image_with_an_unknown_user_is_refused(daemon):
    pod = daemon.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.run_container(image="docker.io/berthtest/unknown-user:1", command=["id"])
    assert "nosuchuser" in error.value.details()


def test_supplemental_groups(daemon):
    _, text = run_to_end(daemon.run_pod(), command=["id", "-G"],
                         security={"run_as_user": 1000, "supplemental_groups": [1234, 5678]})
    assert {"1234", "5678"} <= set(text.split())


def test_only_standard_descriptors_are_passed_on(daemon):
    status, text = run_to_end(daemon.run_pod(), image=PROBES, command=["print_fds"])
    assert status.exit_code == 0
    assert [line.split()[0] for line in text.splitlines()] == ["0", "1", "2"], text


def test_a_terminal(daemon):
    container = daemon.run_pod().run_container(command=["sh", "-c", "tty; test -t 0 && test -t 2 && echo terminal"],
                                               tty=True, stdin=True)
    container.wait_exited()
    lines = [line.text.rstrip(b"\r") for line in container.log()]
    assert lines == [b"/dev/pts/0", b"terminal"]
    assert {line.stream for line in container.log()} == {"stdout"}


def test_stdin_is_open_when_it_should_be(daemon):
    pod = daemon.run_pod()
    closed = pod.run_container(command=["sh", "-c", "cat; echo end"])
    closed.wait_exited()
    assert closed.log_text() == b"end\n"
    waiting = pod.run_container(command=["sh", "-c", "cat; echo end"], stdin=True)
    time.sleep(0.5)
    assert waiting.status().state == pb.CONTAINER_RUNNING
    waiting.stop(timeout=0)


# Stopping

@pytest.mark.parametrize("image,fields,expected", [
    (PROBES, {}, signal.SIGTERM), ("docker.io/berthtest/stop-number:1", {}, signal.SIGUSR1)])
def test_the_stop_signal(daemon, image, fields, expected):
    container = daemon.run_pod().run_container(image=image, command=["signals", str(int(expected))], **fields)
    container.wait_log(b"ready")
    container.stop(timeout=20)
    status = container.status()
    assert status.exit_code == 0
    assert container.log_text().split() == [b"ready", str(int(expected)).encode()]


@pytest.mark.berth
def test_the_requests_stop_signal_wins(daemon):
    container = daemon.run_pod().run_container(image="docker.io/berthtest/stop-number:1",
                                               command=["signals", "2"], stop_signal=pb.SIGNAL_SIGINT)
    container.wait_log(b"ready")
    assert container.status().stop_signal == pb.SIGNAL_SIGINT
    container.stop(timeout=20)
    assert container.status().exit_code == 0


def test_who_does_not_listen_is_killed_at_the_deadline(daemon):
    container = daemon.run_pod().run_container(image=PROBES, command=["signals"])
    container.wait_log(b"ready")
    start = time.monotonic()
    container.stop(timeout=1)
    assert 0.9 < time.monotonic() - start < 6
    assert container.status().exit_code == 137
    assert container.log_text().split() == [b"ready", b"15"]


@pytest.mark.berth
def test_without_a_grace_period_there_is_no_signal_first(daemon):
    container = daemon.run_pod().run_container(image=PROBES, command=["signals"])
    container.wait_log(b"ready")
    container.stop(timeout=0)
    assert container.log_text().split() == [b"ready"]


@pytest.mark.berth
def test_a_shorter_timeout_replaces_a_longer_one(daemon):
    container = daemon.run_pod().run_container(image=PROBES, command=["signals"])
    container.wait_log(b"ready")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        start = time.monotonic()
        patient = threads.submit(container.stop, 100)
        container.wait_log(b"15")
        container.stop(timeout=1)
        patient.result(timeout=10)
    assert time.monotonic() - start < 15
    assert container.status().exit_code == 137


@pytest.mark.berth
def test_a_container_can_be_looked_at_while_it_is_being_stopped(daemon):
    container = daemon.run_pod().run_container(image=PROBES, command=["signals"])
    container.wait_log(b"ready")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(container.stop, 100)
        container.wait_log(b"15")
        start = time.monotonic()
        assert container.status().state == pb.CONTAINER_RUNNING
        assert container.exec(["true"]).exit_code == 0
        daemon.client.ReopenContainerLog(container_id=container.id)
        assert daemon.client.ListContainers().containers
        assert time.monotonic() - start < 10
        container.stop(timeout=0)
        stopping.result(timeout=10)


@pytest.mark.berth
def test_a_callers_deadline_does_not_end_the_stop(daemon):
    container = daemon.run_pod().run_container(image=PROBES, command=["signals"])
    container.wait_log(b"ready")
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.StopContainer(pb.StopContainerRequest(container_id=container.id, timeout=100), timeout=0.5)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert container.status().state == pb.CONTAINER_RUNNING
    container.stop(timeout=0)
    assert container.status().exit_code == 137


def test_children_die_with_their_container(daemon):
    container = daemon.run_pod().run_container(command=["sh", "-c", "sleep 7777 & sleep 7777 & exec sleep 7777"])
    container.stop(timeout=1)
    assert container.status().state == pb.CONTAINER_EXITED    # and the fixture finds no process


# What is reported

def test_verbose_status(daemon):
    container = daemon.run_pod().run_container()
    info = json.loads(container.info()["info"])
    assert os.path.exists(f"/proc/{info['pid']}")
    spec = info["runtimeSpec"]
    assert spec["process"]["args"] == ["sleep", "1000"]


@pytest.mark.berth
def test_status_reports_user_resources_and_mounts(daemon, tmp_path):
    container = daemon.run_pod().run_container(
        resources={"cpu_shares": 512, "memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000},
        security={"run_as_user": 1000, "run_as_group": 8, "supplemental_groups": [1234]},
        mounts=[{"host_path": str(tmp_path), "container_path": "/m", "readonly": True}])
    status = container.status()
    assert (status.user.linux.uid, status.user.linux.gid) == (1000, 8)
    assert 1234 in status.user.linux.supplemental_groups
    limits = status.resources.linux
    assert (limits.cpu_shares, limits.memory_limit_in_bytes) == (512, 64 << 20)
    assert (limits.cpu_quota, limits.cpu_period) == (50000, 100000)
    mount, = status.mounts
    assert (mount.host_path, mount.container_path, mount.readonly) == (str(tmp_path), "/m", True)
    assert mount.propagation == pb.PROPAGATION_PRIVATE
