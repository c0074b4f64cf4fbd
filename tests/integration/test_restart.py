"""berthd ends, by request or by SIGKILL, and comes back: containers run on, and nothing that happened meanwhile is lost."""
import concurrent.futures
import json
import os
import signal
import subprocess
import time

import grpc
import pytest

from harness import leaks, places, pods
from harness.cri import pb

pytestmark = [pytest.mark.berth, pytest.mark.uml]
COUNT = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"]
ENDS = [signal.SIGTERM, signal.SIGKILL]


@pytest.fixture(params=ENDS, ids=["SIGTERM", "SIGKILL"])
def end(request):
    return request.param


@pytest.fixture
def fresh(scratch, runtime):
    """A daemon of this test's own."""
    return scratch(runtime=runtime)


def numbers(container):
    return [int(line.text) for line in container.log()]


def test_everything_is_as_before(fresh, end):
    pod = fresh.run_pod(labels={"a": "b"}, annotations={"c": "d"})
    stopped_pod = fresh.run_pod()
    running = pod.run_container(command=COUNT, labels={"x": "y"})
    created = pod.create(command=["sleep", "1000"])
    exited = pod.run_container(command=["sh", "-c", "exit 9"])
    exited.wait_exited()
    stopped_pod.stop()

    def picture():
        answers = [fresh.client.ListPodSandbox(), fresh.client.ListContainers(), fresh.client.ListImages(),
                   pod.status(), stopped_pod.status(), running.status(), created.status(), exited.status()]
        return [str(answer) for answer in answers]
    before = picture()
    pid = running.host_pid()
    fresh.restart(end)
    assert picture() == before
    assert running.host_pid() == pid
    assert created.start().status().state == pb.CONTAINER_RUNNING
    assert running.output(["echo", "hi"]) == "hi\n"
    address = pod.address
    assert address in pod.run_container().output(["ip", "addr"])


def test_containers_log_on(fresh, end):
    container = fresh.run_pod().run_container(command=COUNT)
    container.wait_log(b"3\n")
    fresh.stop(end)
    so_far = len(numbers(container))
    time.sleep(1)
    meanwhile = len(numbers(container))
    assert meanwhile > so_far + 5, "nothing was logged while the daemon was away"
    fresh.start()
    time.sleep(0.5)
    container.stop(timeout=0)
    assert numbers(container) == list(range(1, len(numbers(container)) + 1))
    assert len(numbers(container)) > meanwhile


@pytest.mark.parametrize("script,code", [("sleep 0.5; exit 42", 42), ("sleep 0.5; kill -9 $$", 137)])
def test_an_exit_that_happens_meanwhile(fresh, end, script, code):
    container = fresh.run_pod(pid=pods.POD).run_container(command=["sh", "-c", script])
    fresh.stop(end)
    time.sleep(1.5)
    ended_before = time.time_ns() - 500_000_000
    fresh.start()
    status = container.status()
    assert (status.state, status.exit_code) == (pb.CONTAINER_EXITED, code)
    assert status.started_at < status.finished_at < ended_before
    assert status.reason == "Error"


def test_an_exit_that_happens_afterwards(fresh, end):
    container = fresh.run_pod().run_container(command=["sh", "-c", "sleep 3; exit 5"])
    fresh.restart(end)
    assert container.wait_exited().exit_code == 5


def test_stop_and_remove_afterwards(fresh, end):
    pod = fresh.run_pod()
    container = pod.run_container(image="docker.io/berthtest/probes:1", command=["signals", "15"])
    container.wait_log(b"ready")
    fresh.restart(end)
    container.stop()
    assert container.status().exit_code == 0
    container.remove()
    pod.stop()
    pod.remove()
    assert not fresh.client.ListPodSandbox().items and not fresh.client.ListContainers().containers


def test_reopening_the_log_afterwards(fresh, end):
    container = fresh.run_pod().run_container(command=COUNT)
    fresh.restart(end)
    os.rename(container.log_path, container.log_path + ".1")
    fresh.client.ReopenContainerLog(container_id=container.id)
    container.wait_log(b"\n")
    container.stop(timeout=0)


def test_a_stop_that_was_under_way(fresh):
    container = fresh.run_pod().run_container(image="docker.io/berthtest/probes:1", command=["signals"])
    container.wait_log(b"ready")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(container.stop, 100)
        container.wait_log(b"15")
        fresh.process.kill()
        fresh.process.wait()
        with pytest.raises(grpc.RpcError):
            stopping.result(timeout=30)
    fresh.start()
    assert container.status().state == pb.CONTAINER_RUNNING
    container.stop(timeout=1)
    assert container.status().exit_code == 137


def test_a_container_whose_monitor_was_killed_meanwhile(fresh):
    """The worst case: nobody saw the exit. It must be found ended, and be removable."""
    container = fresh.run_pod().run_container()
    pid = container.host_pid()
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        monitor = int(stat.read().rsplit(")", 1)[1].split()[1])
    fresh.kill()
    os.kill(monitor, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    fresh.start()
    status = container.wait_exited()
    assert status.exit_code in (137, 255, -1)
    container.remove()


def test_a_monitor_that_is_killed(fresh):
    container = fresh.run_pod().run_container()
    pid = container.host_pid()
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        monitor = int(stat.read().rsplit(")", 1)[1].split()[1])
    with open(f"/proc/{monitor}/comm", encoding="utf-8") as comm:
        assert comm.read().strip() == "berth-monitor"
    os.kill(monitor, signal.SIGKILL)
    time.sleep(0.5)
    container.stop(timeout=0)
    assert container.status().state == pb.CONTAINER_EXITED


def test_a_pause_that_is_killed(fresh):
    pod = fresh.run_pod()
    container = pod.run_container()
    os.kill(json.loads(pod.info()["info"])["pid"], signal.SIGKILL)
    assert not leaks.settle(lambda: pod.status().state == pb.SANDBOX_READY)
    pod.stop()
    assert container.status().state == pb.CONTAINER_EXITED
    pod.remove()


def test_many_restarts(fresh):
    pod = fresh.run_pod()
    container = pod.run_container(command=COUNT)
    for number in range(5):
        fresh.restart(ENDS[number % 2])
        assert container.status().state == pb.CONTAINER_RUNNING
        assert pod.run_container(command=["true"]).wait_exited().exit_code == 0
    container.stop(timeout=0)
    assert numbers(container) == list(range(1, len(numbers(container)) + 1))


def test_killed_in_the_middle_of_everything(scratch):
    """Requests of all kinds are under way when the daemon is killed, again and again; close() then finds what is left."""
    daemon = scratch()
    daemon.need(pods.BUSYBOX)
    for number in range(4):
        def life(_):
            try:
                pod = daemon.run_pod()
                pod.run_container(command=["sleep", "1000"]).exec(["true"])
                pod.stop()
                pod.remove()
            except grpc.RpcError:
                pass
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            done = [threads.submit(life, n) for n in range(8)]
            time.sleep(0.15 + 0.2 * number)
            daemon.process.kill()
            daemon.process.wait()
            for one in done:
                one.result(timeout=60)
        daemon.start()
        for item in daemon.client.ListPodSandbox().items:
            daemon.ids.add(item.id)
    daemon.remove_pods()
    assert not os.listdir(f"{daemon.state}/containers") and not os.listdir(f"{daemon.state}/sandboxes")


def test_killed_during_a_pull(scratch, fault_registry):
    from images import catalog
    from registry import faults, registries_conf
    reference = fault_registry.serve("restart/pull", catalog.many_layers(4, 256),
                                     faults.on("blobs", faults.delayed(0.5)))
    daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True))
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        pulling = threads.submit(daemon.pull, reference)
        time.sleep(0.7)
        daemon.process.kill()
        daemon.process.wait()
        with pytest.raises(grpc.RpcError):
            pulling.result(timeout=30)
    daemon.start()
    assert not daemon.client.ListImages().images
    assert not daemon.layers(), "half a layer was kept"
    assert daemon.pull(reference)


def test_a_second_daemon_on_the_same_root_is_refused(fresh):
    container = fresh.run_pod().run_container()
    second = subprocess.run([*fresh.command(), "--listen", f"unix://{fresh.base}/second.sock"],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
    assert second.returncode not in (0, -signal.SIGSEGV)
    assert fresh.root in second.stdout, second.stdout
    assert not os.path.exists(f"{fresh.base}/second.sock")
    assert container.exec(["true"]).exit_code == 0


def test_a_stale_socket_is_replaced(fresh):
    fresh.kill()
    assert os.path.exists(fresh.socket)
    fresh.start()
    assert fresh.client.Version().runtime_name == "berth"


def test_it_stops_promptly_with_requests_waiting(fresh):
    container = fresh.run_pod().run_container(image="docker.io/berthtest/probes:1", command=["signals"])
    container.wait_log(b"ready")
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(container.stop, 1000), threads.submit(container.exec, ["sleep", "1000"], 0)]
        container.wait_log(b"15")
        start = time.monotonic()
        fresh.process.terminate()
        assert fresh.process.wait(30) == 0
        assert time.monotonic() - start < 20
        for one in waiting:
            with pytest.raises(grpc.RpcError):
                one.result(timeout=30)
    fresh.start()
    assert container.status().state == pb.CONTAINER_RUNNING


def test_after_a_reboot_containers_are_found_ended(fresh):
    """A reboot takes processes and the state folder (a tmpfs), and leaves the root."""
    pod = fresh.run_pod()
    container = pod.run_container()
    pids = [container.host_pid(), json.loads(pod.info()["info"])["pid"]]
    with open(f"/proc/{pids[0]}/stat", encoding="utf-8") as stat:
        pids.append(int(stat.read().rsplit(")", 1)[1].split()[1]))
    fresh.kill()
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    for line in reversed(leaks.mounts([fresh.state])):
        subprocess.run(["umount", "-l", line.split()[1]], check=False)
    subprocess.run(["rm", "-rf", fresh.state, f"/run/{fresh.runtime}/{container.id}"], check=True)
    # So do the node's packet filter rules: no plugin could take them back without the pod's netns.
    fresh.network.remove_rules()
    fresh.start()
    assert pod.status().state == pb.SANDBOX_NOTREADY
    status = container.status()
    assert status.state == pb.CONTAINER_EXITED
    assert status.finished_at > 0
    container.remove()
    pod.stop()
    pod.remove()
    assert fresh.run_pod().run_container().exec(["true"]).exit_code == 0


def test_the_monitor_and_the_pause_outlive_their_parent(fresh):
    assert places.program("berth-monitor")
    pod = fresh.run_pod()
    container = pod.run_container()
    pids = [container.host_pid(), json.loads(pod.info()["info"])["pid"]]
    fresh.kill()
    time.sleep(0.5)
    assert all(os.path.exists(f"/proc/{pid}") for pid in pids)
    fresh.start()
