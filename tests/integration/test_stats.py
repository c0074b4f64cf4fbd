"""What containers and pods use, as the CRI tells it, beside what the kernel and the tests know of them."""
import os
import socket
import threading
import time

import grpc
import pytest

from harness import leaks, pods
from harness.cri import pb

pytestmark = pytest.mark.uml

MEBI = 1 << 20
Code = grpc.StatusCode


def of(container):
    answer = container.client.ContainerStats(container_id=container.id)
    assert answer.HasField("stats")
    return answer.stats


def of_pod(pod):
    return pod.client.PodSandboxStats(pod_sandbox_id=pod.id).stats


def layer_of(container):
    """Its writable layer; a slow machine may not measure one within the first request."""
    assert settle(lambda: of(container).HasField("writable_layer"))
    return of(container).writable_layer


def ids(answer):
    return {stats.attributes.id for stats in answer.stats}


def own_pod(daemon, **fields):
    """A pod with a cgroup parent of its own, as the kubelet makes them."""
    name = f"p{time.monotonic_ns():x}"
    parent = daemon.cgroup_parent.replace(".slice", f"-{name}.slice") if daemon.cgroup_manager == "systemd" else \
        f"{daemon.cgroup_parent}/{name}"
    return daemon.run_pod(cgroup_parent=parent, **fields)


def settle(check, seconds=20):
    """Waits until check() holds; returns its last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


def refused(call, **fields):
    with pytest.raises(grpc.RpcError) as error:
        call(**fields)
    return error.value.code()


def test_a_container_that_burns_cpu(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    busy = pod.run_container(command=["sh", "-c", "while :; do :; done"])
    idle = pod.run_container()
    before, idle_before, start = of(busy), of(idle), time.time_ns()
    time.sleep(1)
    after, idle_after, end = of(busy), of(idle), time.time_ns()
    window = after.cpu.timestamp - before.cpu.timestamp
    used = after.cpu.usage_core_nano_seconds.value - before.cpu.usage_core_nano_seconds.value
    assert start < after.cpu.timestamp < end
    assert window >= 1e9
    # One process: never more than one CPU; on a busy machine it may get much less.
    assert 0.02 * window < used < 1.1 * window
    assert after.cpu.usage_nano_cores.value == pytest.approx(used / window * 1e9, rel=0.1)
    assert idle_after.cpu.usage_nano_cores.value < 5e7
    assert idle_after.cpu.timestamp != after.cpu.timestamp
    assert not before.cpu.HasField("usage_nano_cores") and not idle_before.cpu.HasField("usage_nano_cores")


def test_a_container_that_holds_memory(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    # A variable of 32 MiB that the shell keeps.
    script = "x=$(head -c 33554432 /dev/zero | tr '\\0' x); echo ready; while :; do sleep 1; done"
    container = pod.run_container(command=["sh", "-c", script],
                                  resources={"memory_limit_in_bytes": 200 * MEBI})
    container.wait_log(b"ready", 60)
    # The kernel adds up memory.stat every two seconds at most.
    assert settle(lambda: of(container).memory.rss_bytes.value >= 30 * MEBI)
    stats = of(container)
    memory = stats.memory
    assert memory.timestamp > 0
    assert 32 * MEBI <= memory.usage_bytes.value <= 200 * MEBI
    assert 30 * MEBI <= memory.working_set_bytes.value <= memory.usage_bytes.value
    assert memory.available_bytes.value == 200 * MEBI - memory.working_set_bytes.value
    assert memory.page_faults.value >= 32 * MEBI / 4096 / 2
    assert memory.major_page_faults.value <= memory.page_faults.value
    # Where the kernel counts swap for cgroups.
    if stats.HasField("swap"):
        assert stats.swap.timestamp > 0
        assert stats.swap.swap_usage_bytes.value < 200 * MEBI


def test_the_working_set_is_without_the_cache_of_what_was_read(daemon, shell):
    if shell("stat", "-f", "-c", "%T", daemon.root).strip() == "tmpfs":
        pytest.skip("containers' files are on a tmpfs: they are memory, not a cache of it")
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.run_container(resources={"memory_limit_in_bytes": 200 * MEBI})
    container.shell("head -c 33554432 /dev/zero > /f; cat /f > /dev/null; sync")
    assert settle(lambda: of(container).memory.working_set_bytes.value <
                  of(container).memory.usage_bytes.value - 16 * MEBI), of(container)


def test_without_a_limit_nothing_is_available(daemon):
    container = daemon.run_pod(network=pods.NODE).run_container()
    memory = of(container).memory
    assert memory.HasField("working_set_bytes") and not memory.HasField("available_bytes")


def test_a_container_that_writes(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.run_container()
    container.shell("mkdir /d; head -c 10485760 /dev/urandom > /d/f; sync")
    layer = layer_of(container)
    assert 10 * MEBI <= layer.used_bytes.value < 11 * MEBI
    first = layer.inodes_used.value
    assert first >= 3    # the root, d, f
    assert layer.timestamp > 0
    assert layer.fs_id.mountpoint == daemon.client.ImageFsInfo().image_filesystems[0].fs_id.mountpoint
    # It becomes right, though no request waits for a measurement.
    container.shell("rm /d/f; for i in 1 2 3 4 5; do echo > /d/$i; done; sync")

    def is_right():
        now = of(container).writable_layer
        return now.used_bytes.value < MEBI and now.inodes_used.value == first + 4 and now.timestamp > layer.timestamp
    assert settle(is_right, 40), of(container).writable_layer


@pytest.mark.slow
def test_a_large_writable_layer_keeps_nobody_waiting(daemon):
    container = daemon.run_pod(network=pods.NODE).run_container()
    container.shell("mkdir /d; cd /d; seq 4000 | xargs touch")
    slowest = 0
    deadline = time.monotonic() + 60
    while not of(container).HasField("writable_layer") and time.monotonic() < deadline:
        begin = time.monotonic()
        of(container)
        slowest = max(slowest, time.monotonic() - begin)
        time.sleep(0.01)
    assert of(container).writable_layer.inodes_used.value >= 4000
    assert slowest < 1


def test_traffic_of_a_pod(daemon):
    pod = daemon.run_pod()
    container = pod.run_container(command=["sh", "-c", "nc -l -p 7000 > /received; echo got; sleep 1000"])
    before = of_pod(pod).linux.network
    assert before.default_interface.name == "eth0"
    assert not [item.name for item in before.interfaces if item.name in ("eth0", "lo")]
    payload = 3 * MEBI

    def send():
        try:
            with socket.create_connection((pod.address, 7000), timeout=20) as peer:
                peer.sendall(b"x" * payload)
            return True
        except ConnectionRefusedError:    # it does not listen yet
            return False
    assert settle(send)
    container.wait_log(b"got")
    after = of_pod(pod).linux.network
    received = after.default_interface.rx_bytes.value - before.default_interface.rx_bytes.value
    assert payload < received < payload * 1.5 + MEBI
    assert after.default_interface.tx_bytes.value > before.default_interface.tx_bytes.value
    assert after.default_interface.rx_errors.value == after.default_interface.tx_errors.value == 0
    assert after.timestamp > before.timestamp


def test_a_pod_on_the_hosts_network_has_no_traffic_of_its_own(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    pod.run_container()
    assert not of_pod(pod).linux.HasField("network")


# Of two containers: they are in the pod's cgroup, on v1 a moment after CreateContainer.
MONITORS = 2


def test_a_pod_has_the_numbers_of_its_cgroup(daemon):
    pod, other = own_pod(daemon, network=pods.NODE), own_pod(daemon, network=pods.NODE)
    container = pod.run_container(command=["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
    pod.run_container()
    other.run_container(command=["sh", "-c", "while :; do :; done"])
    assert settle(lambda: of_pod(pod).linux.process.process_count.value == 5 + MONITORS)    # three, one, and the pause
    before = of_pod(pod).linux
    time.sleep(0.5)
    stats = of_pod(pod)
    assert stats.attributes.id == pod.id
    assert stats.attributes.metadata == pod.config.metadata
    assert {item.attributes.id for item in stats.linux.containers} == {
        item.id for item in pod.client.ListContainers(filter=pb.ContainerFilter(pod_sandbox_id=pod.id)).containers}
    own = next(item for item in stats.linux.containers if item.attributes.id == container.id)
    assert stats.linux.cpu.usage_core_nano_seconds.value >= own.cpu.usage_core_nano_seconds.value > 0
    assert stats.linux.cpu.usage_nano_cores.value < 2e8
    assert stats.linux.cpu.timestamp > before.cpu.timestamp
    assert stats.linux.memory.usage_bytes.value >= own.memory.usage_bytes.value
    assert not stats.linux.memory.HasField("available_bytes")
    assert settle(lambda: of_pod(other).linux.cpu.usage_nano_cores.value > 1e8)


@pytest.mark.berth
def test_a_pod_without_a_cgroup_parent_is_the_sum_of_its_containers(daemon):
    pod = daemon.run_pod(network=pods.NODE, cgroup_parent="")
    busy = pod.run_container(command=["sh", "-c", "while :; do :; done"])
    pod.run_container()
    of_pod(pod)
    assert settle(lambda: of_pod(pod).linux.cpu.usage_nano_cores.value > 1e8)    # the machine may be busy
    stats = of_pod(pod).linux
    parts = sum(item.cpu.usage_core_nano_seconds.value for item in stats.containers)
    assert stats.process.process_count.value == 3 + MONITORS
    # Beside the containers there is the pause, which takes some time to start.
    assert parts <= stats.cpu.usage_core_nano_seconds.value < parts + 5e9
    assert stats.memory.usage_bytes.value >= sum(item.memory.usage_bytes.value for item in stats.containers)
    busy.stop(0)
    left = 2 + MONITORS // 2
    assert settle(lambda: of_pod(pod).linux.process.process_count.value == left)    # its monitor ends a moment later


def test_exited_and_removed_containers(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.run_container(command=["sh", "-c", "echo > /f; exit 3"], labels={"a": "b"})
    container.wait_exited()
    stats = of(container)
    assert stats.attributes.id == container.id
    assert dict(stats.attributes.labels) == {"a": "b"}
    assert stats.attributes.metadata == container.config.metadata
    assert stats.cpu.usage_core_nano_seconds.value == stats.memory.usage_bytes.value == 0
    assert stats.cpu.usage_nano_cores.value == stats.memory.working_set_bytes.value == 0
    container.remove()
    assert refused(daemon.client.ContainerStats, container_id=container.id) == Code.NOT_FOUND
    assert container.id not in ids(daemon.client.ListContainerStats())


def test_stopped_and_removed_pods(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    pod.run_container()
    pod.stop()
    stats = of_pod(pod)
    assert stats.attributes.id == pod.id
    assert stats.linux.cpu.usage_core_nano_seconds.value == stats.linux.process.process_count.value == 0
    pod.remove()
    assert refused(daemon.client.PodSandboxStats, pod_sandbox_id=pod.id) == Code.NOT_FOUND
    assert pod.id not in ids(daemon.client.ListPodSandboxStats())


def test_ids_that_name_nothing(daemon):
    nothing = "f" * 64
    assert refused(daemon.client.ContainerStats, container_id=nothing) == Code.NOT_FOUND
    assert refused(daemon.client.PodSandboxStats, pod_sandbox_id=nothing) == Code.NOT_FOUND
    client = daemon.client
    assert not client.ListContainerStats(filter=pb.ContainerStatsFilter(id=nothing)).stats
    assert not client.ListContainerStats(filter=pb.ContainerStatsFilter(pod_sandbox_id=nothing)).stats
    assert not client.ListPodSandboxStats(filter=pb.PodSandboxStatsFilter(id=nothing)).stats


@pytest.mark.berth
def test_an_empty_id_is_the_callers_mistake(daemon):
    assert refused(daemon.client.ContainerStats, container_id="") == Code.INVALID_ARGUMENT
    assert refused(daemon.client.PodSandboxStats, pod_sandbox_id="") == Code.INVALID_ARGUMENT


def test_filters(daemon):
    one = daemon.run_pod(network=pods.NODE, labels={"app": "web", "tier": "1"})
    two = daemon.run_pod(network=pods.NODE, labels={"app": "web", "tier": "2"})
    a = one.run_container(labels={"role": "a", "app": "web"})
    b = one.run_container(labels={"role": "b", "app": "web"})
    c = two.run_container(labels={"role": "a", "app": "web"})

    def containers(**fields):
        return ids(daemon.client.ListContainerStats(filter=pb.ContainerStatsFilter(**fields)))
    assert containers() == ids(daemon.client.ListContainerStats()) == {a.id, b.id, c.id}
    assert containers(id=a.id) == {a.id}
    assert containers(pod_sandbox_id=one.id) == {a.id, b.id}
    assert containers(label_selector={"role": "a"}) == {a.id, c.id}
    assert containers(label_selector={"role": "a", "app": "other"}) == set()
    assert containers(id=c.id, pod_sandbox_id=one.id) == set()
    assert containers(label_selector={"role": "a"}, pod_sandbox_id=one.id) == {a.id}

    def sandboxes(**fields):
        return ids(daemon.client.ListPodSandboxStats(filter=pb.PodSandboxStatsFilter(**fields)))
    assert sandboxes() == ids(daemon.client.ListPodSandboxStats()) == {one.id, two.id}
    assert sandboxes(id=one.id) == {one.id}
    assert sandboxes(label_selector={"app": "web"}) == {one.id, two.id}
    assert sandboxes(label_selector={"app": "web", "tier": "2"}) == {two.id}
    assert sandboxes(id=one.id, label_selector={"tier": "2"}) == set()
    if daemon.kind == "berthd":
        assert containers(id=a.id[:13]) == {a.id}
        assert containers(pod_sandbox_id=two.id[:13]) == {c.id}
        assert sandboxes(id=two.id[:13]) == {two.id}
        assert of(a).attributes.id == daemon.client.ContainerStats(container_id=a.id[:13]).stats.attributes.id


@pytest.mark.berth
def test_streams_say_the_same_in_parts(daemon):
    assert not list(daemon.client.StreamContainerStats())
    assert not list(daemon.client.StreamPodSandboxStats())
    one, two = daemon.run_pod(network=pods.NODE, labels={"n": "1"}), daemon.run_pod(network=pods.NODE)
    a, b = one.run_container(), two.run_container()
    parts = list(daemon.client.StreamContainerStats())
    assert all(part.container_stats for part in parts)
    found = [stats for part in parts for stats in part.container_stats]
    assert sorted(stats.attributes.id for stats in found) == sorted([a.id, b.id])
    assert all(stats.memory.usage_bytes.value for stats in found)
    parts = list(daemon.client.StreamPodSandboxStats())
    found = [stats for part in parts for stats in part.pod_sandbox_stats]
    assert sorted(stats.attributes.id for stats in found) == sorted([one.id, two.id])
    assert all(stats.linux.containers for stats in found)
    only = [stats.attributes.id for part in daemon.client.StreamPodSandboxStats(
        filter=pb.PodSandboxStatsFilter(label_selector={"n": "1"})) for stats in part.pod_sandbox_stats]
    assert only == [one.id]
    assert not list(daemon.client.StreamContainerStats(filter=pb.ContainerStatsFilter(id="f" * 64)))


@pytest.mark.skipif(not os.path.exists("/sys/fs/cgroup/cgroup.controllers") or not os.path.exists("/proc/pressure"),
                    reason="pressure of cgroups needs cgroup v2 and a kernel with PSI, which Debian's User-Mode Linux is "
                           "built without (CONFIG_PSI is not set)")
def test_pressure(daemon):
    container = own_pod(daemon, network=pods.NODE).run_container()
    stats = of(container)
    for part in (stats.cpu, stats.memory, stats.io):
        assert part.HasField("psi") and part.psi.HasField("Some") and part.psi.HasField("Full")
        assert 0 <= part.psi.Some.Avg10 <= 100


@pytest.mark.berth
def test_the_numbers_go_on_after_a_restart(scratch):
    daemon = scratch()
    pod = daemon.run_pod()
    container = pod.run_container()
    container.shell("head -c 1048576 /dev/urandom > /f; sync")
    before = of(container)
    daemon.restart()
    after = of(container)
    assert after.cpu.usage_core_nano_seconds.value >= before.cpu.usage_core_nano_seconds.value > 0
    assert layer_of(container).used_bytes.value >= MEBI
    assert of_pod(pod).linux.network.default_interface.name == "eth0"


@pytest.mark.berth
def test_asking_often_from_all_sides_leaves_nothing(daemon):
    pod = own_pod(daemon)
    containers = [pod.run_container() for _ in range(3)]
    daemon.client.ListPodSandboxStats()
    time.sleep(0.5)
    # The thread that measures writable layers is there from the first layer on that is old enough.
    descriptors, threads = leaks.descriptors(daemon.pid), leaks.threads(daemon.pid) + 1
    troubles = []

    def ask():
        try:
            for _ in range(30):
                daemon.client.ListPodSandboxStats()
                list(daemon.client.StreamContainerStats())
                for container in containers[1:]:
                    of(container)
        except grpc.RpcError as error:
            troubles.append(error)
    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for _ in range(5):    # containers come and go meanwhile
        pod.run_container().remove()
    for asker in askers:
        asker.join()
    assert not troubles
    files = [name for name in descriptors if not name.startswith("socket:")]
    assert not leaks.settle(lambda: [name for name in leaks.descriptors(daemon.pid)
                                     if not name.startswith("socket:") and name not in files])
    assert not leaks.settle(lambda: leaks.threads(daemon.pid) > threads + 8)
