"""The life cycle's hard cases: callers that give up and ask again, ends that meet beginnings, processes that do not go."""
import concurrent.futures
import os
import time

import grpc
import pytest

from harness import leaks, pods
from harness.cri import pb
from images import catalog, files, oci

pytestmark = pytest.mark.berth
PROBES = "docker.io/berthtest/probes:1"


def code_of(call, *args, **fields):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **fields)
    return error.value.code()


def wait_for(check, seconds=20):
    left = leaks.settle(lambda: not check(), seconds)
    assert not left, "it did not happen"


class Held:
    """A daemon one of whose programs waits, at `where`, while this says hold(); and fails when it says fail()."""

    def __init__(self, daemon, folder):
        self.daemon, self.folder = daemon, folder

    def hold(self, where):
        (self.folder / f"{where}.hold").touch()

    def fail(self, where):
        (self.folder / f"{where}.fail").touch()

    def go(self, where):
        for end in ("hold", "fail", "held"):
            (self.folder / f"{where}.{end}").unlink(missing_ok=True)

    def wait_held(self, where):
        wait_for((self.folder / f"{where}.held").exists)


GATE = """
gate() {{
  if [ -e {folder}/$1.hold ]; then touch {folder}/$1.held; fi
  while [ -e {folder}/$1.hold ]; do sleep 0.05; done
  if [ -e {folder}/$1.fail ]; then echo "$1 fails as told" >&2; exit 1; fi
}}
"""


@pytest.fixture
def slow_runtime(scratch, tmp_path):
    """The default runtime's create, start and delete pass a gate."""
    script = tmp_path / "gated"
    script.write_text("#!/bin/sh\n" + GATE.format(folder=tmp_path) + """
for word in "$@"; do
  case "$word" in create|start|delete) gate "$word"; break;; esac
done
exec crun "$@"
""")
    script.chmod(0o755)
    daemon = scratch(runtime="gated", **{"runtimes.gated": {"path": str(script), "root": f"{tmp_path}/state"}})
    return Held(daemon, tmp_path)


@pytest.fixture
def slow_network(scratch, tmp_path):
    """The network plugin's ADD and DEL pass a gate."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    plugin = folder / "gated"
    plugin.write_text("#!/bin/sh\ncat >/dev/null\n" + GATE.format(folder=tmp_path) + f"""
case "$CNI_COMMAND" in
VERSION) echo '{{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}}';;
ADD|DEL) echo "$CNI_COMMAND" >> {tmp_path}/calls; gate "$CNI_COMMAND";;
esac
if [ "$CNI_COMMAND" = ADD ]; then echo '{{"cniVersion":"1.0.0","ips":[{{"address":"10.9.8.7/24"}}]}}'; fi
""")
    plugin.chmod(0o755)
    daemon = scratch(network={"plugin_dirs": [str(folder)]})
    daemon.network.write("10-scratch.conflist", {"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "gated"}]})
    wait_for(lambda: all(item.status for item in daemon.client.Status().status.conditions))
    return Held(daemon, tmp_path)


def only_pod(daemon):
    item, = daemon.client.ListPodSandbox().items
    return item


# Callers that give up

@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_a_pod_whose_caller_gave_up_is_made_when_asked_again(slow_network, how):
    daemon = slow_network.daemon
    config = pods.pod_config(daemon)
    slow_network.hold("ADD")
    call = daemon.client.RunPodSandbox.future(config=config, timeout=1 if how == "deadline" else 60)
    slow_network.wait_held("ADD")
    if how == "cancel":
        call.cancel()
        with pytest.raises(grpc.FutureCancelledError):
            call.result()
    else:
        assert code_of(call.result) == grpc.StatusCode.DEADLINE_EXCEEDED
    slow_network.go("ADD")
    pod = pods.Pod.run(daemon, config=config)
    assert pod.status().state == pb.SANDBOX_READY
    assert only_pod(daemon).id == pod.id


def test_who_asks_again_while_the_first_is_undone_waits_and_gets_a_new_pod(slow_network):
    daemon = slow_network.daemon
    config = pods.pod_config(daemon)
    slow_network.fail("ADD")
    slow_network.hold("DEL")
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        first = threads.submit(daemon.client.RunPodSandbox, config=config)
        slow_network.wait_held("DEL")
        slow_network.go("ADD")
        impatient = threads.submit(daemon.client.RunPodSandbox, config=config, timeout=1)
        assert code_of(impatient.result) == grpc.StatusCode.DEADLINE_EXCEEDED
        again = threads.submit(pods.Pod.run, daemon, config=config)
        time.sleep(0.5)
        assert not again.done()
        slow_network.go("DEL")
        assert code_of(first.result) != grpc.StatusCode.DEADLINE_EXCEEDED
        pod = again.result()
    assert only_pod(daemon).id == pod.id and pod.status().state == pb.SANDBOX_READY


def test_who_asks_while_the_first_is_made_gets_the_same_pod(slow_network):
    daemon = slow_network.daemon
    config = pods.pod_config(daemon)
    slow_network.hold("ADD")
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(pods.Pod.run, daemon, config=config) for _ in range(4)]
        slow_network.wait_held("ADD")
        assert not daemon.client.ListPodSandbox().items
        slow_network.go("ADD")
        assert len({call.result().id for call in calls}) == 1
    only_pod(daemon)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_pod_that_could_be_neither_made_nor_undone_is_made_when_asked_again(slow_network, restarted):
    daemon = slow_network.daemon
    config = pods.pod_config(daemon)
    slow_network.fail("ADD")
    slow_network.fail("DEL")
    assert code_of(daemon.client.RunPodSandbox, config=config) != grpc.StatusCode.OK
    left = only_pod(daemon)
    assert left.state == pb.SANDBOX_NOTREADY
    if restarted:
        daemon.restart()
        assert only_pod(daemon).id == left.id
    # Not before what is left can be removed: its address would be lost.
    slow_network.go("ADD")
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.RunPodSandbox(config=config)
    assert "DEL fails as told" in error.value.details()
    slow_network.go("DEL")
    pod = pods.Pod.run(daemon, config=config)
    assert pod.id != left.id and pod.status().state == pb.SANDBOX_READY
    assert only_pod(daemon).id == pod.id


def test_a_network_is_taken_down_whole_whatever_the_callers_patience(slow_network):
    """A DEL that was killed half-way could not be finished by the next one."""
    daemon = slow_network.daemon
    pod = daemon.run_pod()
    slow_network.hold("DEL")
    assert code_of(daemon.client.StopPodSandbox, pod_sandbox_id=pod.id, timeout=0.5) == \
        grpc.StatusCode.DEADLINE_EXCEEDED
    slow_network.wait_held("DEL")
    time.sleep(1)
    slow_network.go("DEL")
    pod.stop()
    pod.remove()
    assert (slow_network.folder / "calls").read_text().split().count("DEL") == 1


def test_a_plugin_that_outlives_the_daemon_is_waited_for(slow_network):
    daemon = slow_network.daemon
    slow_network.hold("ADD")
    call = daemon.client.RunPodSandbox.future(config=pods.pod_config(daemon))
    slow_network.wait_held("ADD")
    daemon.process.kill()
    daemon.process.wait()
    assert code_of(call.result) == grpc.StatusCode.UNAVAILABLE
    slow_network.hold("DEL")
    daemon.launch()
    time.sleep(1.5)
    assert not (slow_network.folder / "DEL.held").exists(), "DEL ran beside ADD"
    slow_network.go("ADD")
    slow_network.wait_held("DEL")
    slow_network.go("DEL")
    daemon.wait_ready()
    assert not daemon.client.ListPodSandbox().items


@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_a_container_whose_caller_gave_up_is_made_when_asked_again(slow_runtime, how):
    daemon = slow_runtime.daemon
    pod = daemon.run_pod(network=pods.NODE)
    daemon.need(pods.BUSYBOX)
    config = pods.container_config(pod, command=["sleep", "1000"])
    slow_runtime.hold("create")
    call = daemon.client.CreateContainer.future(pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config,
                                                timeout=1 if how == "deadline" else 60)
    slow_runtime.wait_held("create")
    if how == "cancel":
        call.cancel()
    else:
        assert code_of(call.result) == grpc.StatusCode.DEADLINE_EXCEEDED
    slow_runtime.go("create")
    container = pod.create(config=config)
    assert [item.id for item in daemon.client.ListContainers().containers] == [container.id]
    assert container.start().exec(["true"]).exit_code == 0


def test_who_asks_while_the_first_is_made_gets_the_same_container(slow_runtime):
    daemon = slow_runtime.daemon
    pod = daemon.run_pod(network=pods.NODE)
    daemon.need(pods.BUSYBOX)
    config = pods.container_config(pod, command=["sleep", "1000"])
    slow_runtime.hold("create")
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(pod.create, config=config) for _ in range(4)]
        slow_runtime.wait_held("create")
        assert not daemon.client.ListContainers().containers
        slow_runtime.go("create")
        assert len({call.result().id for call in calls}) == 1
    assert len(daemon.client.ListContainers().containers) == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_a_container_that_could_be_neither_made_nor_undone_is_made_when_asked_again(slow_runtime, restarted):
    daemon = slow_runtime.daemon
    pod = daemon.run_pod(network=pods.NODE)
    daemon.need(pods.BUSYBOX)
    config = pods.container_config(pod, command=["sleep", "1000"])
    slow_runtime.fail("create")
    slow_runtime.fail("delete")
    with pytest.raises(grpc.RpcError) as error:
        pod.create(config=config)
    assert "create fails as told" in error.value.details()
    slow_runtime.go("create")
    if restarted:
        daemon.restart()
    left = daemon.client.ListContainers().containers
    for item in left:
        assert item.state == pb.CONTAINER_EXITED
        assert daemon.client.ContainerStatus(container_id=item.id).status.reason == "CreateError"
        with pytest.raises(grpc.RpcError) as error:
            pod.create(config=config)
        assert "delete fails as told" in error.value.details()
    slow_runtime.go("delete")
    container = pod.create(config=config)
    assert container.id not in [item.id for item in left]
    assert [item.id for item in daemon.client.ListContainers().containers] == [container.id]
    container.start()


# Ends that meet beginnings

@pytest.mark.parametrize("end", ["stop", "remove"])
def test_the_end_of_a_pod_ends_what_is_made_in_it(slow_runtime, end):
    daemon = slow_runtime.daemon
    pod = daemon.run_pod(network=pods.NODE)
    daemon.need(pods.BUSYBOX)
    slow_runtime.hold("create")
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        creating = threads.submit(pod.create, command=["sleep", "1000"])
        slow_runtime.wait_held("create")
        ending = threads.submit(getattr(pod, end))
        assert code_of(creating.result) == grpc.StatusCode.FAILED_PRECONDITION
        ending.result()
    slow_runtime.go("create")
    assert not daemon.client.ListContainers().containers
    assert len(daemon.client.ListPodSandbox().items) == (1 if end == "stop" else 0)
    assert not os.listdir(f"{daemon.state}/containers")
    assert code_of(pod.create) in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)


def test_an_end_of_a_pod_that_gives_up_waiting_leaves_it_whole(slow_runtime):
    """The runtime's undo hangs; who stops the pod meanwhile is told so at his deadline, and can come again."""
    daemon = slow_runtime.daemon
    pod = daemon.run_pod(network=pods.NODE)
    daemon.need(pods.BUSYBOX)
    slow_runtime.fail("create")
    slow_runtime.hold("delete")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        creating = threads.submit(pod.create, command=["sleep", "1000"])
        slow_runtime.wait_held("delete")
        with pytest.raises(grpc.RpcError) as error:
            daemon.client.StopPodSandbox(pod_sandbox_id=pod.id, timeout=1)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert pod.status().state == pb.SANDBOX_READY
        # The daemon hears of the deadline a moment after its caller; until then the stop goes on where it can.
        assert not leaks.settle(lambda: "" if any("StopPodSandbox" in line and pod.id in line and "code=OK" not in line
                                                  for line in daemon.log().splitlines()) else "no end of the stop", 10)
        slow_runtime.go("delete")
        slow_runtime.go("create")
        with pytest.raises(grpc.RpcError):
            creating.result()

    def refused():
        try:
            assert pod.run_container().exec(["true"]).exit_code == 0
        except grpc.RpcError as late:
            assert "is being stopped" in late.details()
            return late.details()
        return None

    assert not leaks.settle(refused, 10)
    pod.remove()


def test_a_start_that_the_runtime_does_not_finish_ends_with_the_container(slow_runtime):
    """As crun's does when the first process ends while it is let go: nobody else can ever open its fifo."""
    daemon = slow_runtime.daemon
    daemon.need(pods.BUSYBOX)
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.create(command=["sleep", "1000"])
    slow_runtime.hold("start")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        starting = threads.submit(container.start)
        slow_runtime.wait_held("start")
        os.kill(container.host_pid(), 9)
        with pytest.raises(grpc.RpcError) as error:
            starting.result(30)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION, error.value
    assert "ended before it was started" in error.value.details()
    status = container.status()
    assert (status.state, status.reason) == (pb.CONTAINER_EXITED, "StartError")
    slow_runtime.go("start")
    pod.remove()


def test_ends_and_beginnings_at_once_leave_nothing(daemon):
    """Nobody waits for anybody; whatever comes of each request, no container is in a pod that is gone."""
    daemon.need(pods.BUSYBOX)
    for number in range(6):
        pod = daemon.run_pod(network=pods.NODE)

        def make(_):
            try:
                return pod.run_container(command=["sleep", "1000"]).id
            except grpc.RpcError as error:
                assert error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND), error
                return None
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            made = [threads.submit(make, n) for n in range(3)]
            time.sleep(0.02 * number)
            pod.remove()
            for one in made:
                one.result()
        assert not daemon.client.ListContainers().containers
        assert not os.listdir(f"{daemon.state}/containers")


def test_nothing_is_kept_of_an_exec_that_the_daemon_did_not_survive(scratch):
    """The runtime's pid file is there for a moment only; so one is put where a kill in that moment leaves it."""
    daemon = scratch()
    daemon.kill()
    left = [f"{daemon.state}/tmp/exec-0123456789abcdef.pid", f"{daemon.state}/tmp/.exec-0123456789abcdef.pid"]
    for path in left:
        with open(path, "w", encoding="utf-8") as out:
            out.write("1")
    daemon.start()
    assert not any(os.path.exists(path) for path in left)


# Stopping

def test_a_grace_period_of_a_day_holds_up_nothing_else(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    stubborn = pod.run_container(image=PROBES, command=["signals"])
    other = pod.run_container()
    stubborn.wait_log(b"ready")
    call = daemon.client.StopContainer.future(
        pb.StopContainerRequest(container_id=stubborn.id, timeout=24 * 3600), timeout=None)
    stubborn.wait_log(b"15")
    start = time.monotonic()
    assert stubborn.status().state == pb.CONTAINER_RUNNING
    assert stubborn.exec(["true"]).exit_code == 0
    daemon.client.ReopenContainerLog(container_id=stubborn.id)
    assert len(daemon.client.ListContainers().containers) == 2
    assert pod.status().state == pb.SANDBOX_READY
    other.stop(timeout=0)
    other.remove()
    third = pod.run_container()
    assert third.exec(["true"]).exit_code == 0
    assert time.monotonic() - start < 15
    # Who gives up ends his own wait and nothing else.
    call.cancel()
    time.sleep(0.3)
    assert stubborn.status().state == pb.CONTAINER_RUNNING
    second = daemon.client.StopContainer.future(
        pb.StopContainerRequest(container_id=stubborn.id, timeout=24 * 3600), timeout=None)
    pod.remove()
    second.result(timeout=10)


def test_the_kill_at_the_deadline_needs_no_caller(daemon):
    container = daemon.run_pod(network=pods.NODE).run_container(image=PROBES, command=["signals"])
    container.wait_log(b"ready")
    start = time.monotonic()
    assert code_of(daemon.client.StopContainer, pb.StopContainerRequest(container_id=container.id, timeout=3),
                   timeout=0.5) == grpc.StatusCode.DEADLINE_EXCEEDED
    assert container.wait_exited().exit_code == 137
    assert 2.5 < time.monotonic() - start < 10


@pytest.mark.parametrize("name,number,reported", [
    ("SIGUSR2", 12, pb.SIGNAL_SIGUSR2), ("quit", 3, pb.SIGNAL_SIGQUIT), ("1", 1, pb.SIGNAL_SIGHUP),
    ("SIGRTMIN+3", 37, pb.SIGNAL_SIGRTMINPLUS3), ("nonsense", 15, pb.SIGNAL_SIGTERM)])
def test_the_images_stop_signal(daemon, fault_registry, name, number, reported):
    image = catalog.small([oci.file("bin/signals", files.compiled("signals"), mode=0o755)], StopSignal=name)
    reference = fault_registry.serve(f"life/signal{number}", image)
    container = daemon.run_pod(network=pods.NODE).run_container(image=reference, command=["signals", str(number)])
    container.wait_log(b"ready")
    assert container.status().stop_signal == reported
    container.stop(timeout=20)
    assert container.status().exit_code == 0
    assert container.log_text().split() == [b"ready", str(number).encode()]


def test_a_real_time_stop_signal_of_the_request(daemon):
    container = daemon.run_pod(network=pods.NODE).run_container(
        image=PROBES, command=["signals", "37"], stop_signal=pb.SIGNAL_SIGRTMINPLUS3)
    container.wait_log(b"ready")
    assert container.status().stop_signal == pb.SIGNAL_SIGRTMINPLUS3
    container.stop(timeout=20)
    assert container.status().exit_code == 0


def test_what_outlives_the_first_process_of_a_shared_namespace_goes_with_it(daemon):
    pod = daemon.run_pod(network=pods.NODE, pid=pods.POD)
    witness = pod.run_container()
    container = pod.run_container(command=["sh", "-c", "sleep 7777 & sleep 7777 & sleep 0.2; exit 4"])
    assert container.wait_exited().exit_code == 4
    wait_for(lambda: "sleep 7777" not in witness.output(["ps", "-o", "args"]), 5)
    assert witness.status().state == pb.CONTAINER_RUNNING


def test_a_stop_ends_all_of_a_container_in_a_shared_namespace(daemon):
    pod = daemon.run_pod(network=pods.NODE, pid=pods.POD)
    witness = pod.run_container()
    container = pod.run_container(command=["sh", "-c", "trap 'exit 0' TERM; sleep 7777 & while :; do sleep 0.1; done"])
    wait_for(lambda: "sleep 7777" in witness.output(["ps", "-o", "args"]))
    time.sleep(0.3)
    container.stop(timeout=10)
    assert "sleep 7777" not in witness.output(["ps", "-o", "args"])
    assert container.status().exit_code == 0


# The same name, the same image

def test_the_next_attempt_beside_the_old_one(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    first = pod.run_container(name="main", attempt=0, command=["sh", "-c", "exit 1"])
    first.wait_exited()
    second = pod.run_container(name="main", attempt=1)
    assert second.id != first.id
    assert pod.create(name="main", attempt=0, command=["true"]).id == first.id
    assert [(status.metadata.attempt, status.state) for status in (first.status(), second.status())] == \
        [(0, pb.CONTAINER_EXITED), (1, pb.CONTAINER_RUNNING)]
    first.remove()
    assert second.exec(["true"]).exit_code == 0


def test_the_image_of_a_running_container_is_removed(scratch):
    daemon = scratch()
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.run_container()
    image_id = container.status().image_id
    daemon.client.RemoveImage(image=pb.ImageSpec(image=pods.BUSYBOX))
    assert not daemon.client.ListImages().images
    daemon.restart()
    status = container.status()
    assert (status.state, status.image_id) == (pb.CONTAINER_RUNNING, image_id)
    assert container.output(["echo", "still"]) == "still\n"
    assert code_of(pod.client.CreateContainer, pod_sandbox_id=pod.id, sandbox_config=pod.config,
                   config=pods.container_config(pod, command=["true"])) == grpc.StatusCode.NOT_FOUND
    assert daemon.layers()
    container.remove()
    assert not leaks.settle(daemon.layers)


@pytest.mark.uml
def test_a_monitor_is_in_its_pods_cgroup(daemon):
    """So it is charged to the pod, and whatever ends the processes of the daemon's service spares it."""
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.run_container()
    pids = [line.split()[1].rstrip(":") for line in leaks.processes([container.id], {daemon.pid}) if "berth-monitor" in line]
    assert len(pids) == 1
    def elsewhere():
        with open(f"/proc/{pids[0]}/cgroup", encoding="utf-8") as lines:
            found = [line.strip() for line in lines]
        # Beside trees of v1 that of v2 may be there and have no controllers.
        return [line for line in found if pod.id not in line and (len(found) == 1 or not line.startswith("0::"))]
    assert not leaks.settle(elsewhere, 5)
