"""Pods: their life, their names, what is listed, and what they see."""
import concurrent.futures
import json
import os
import re
import time

import grpc
import pytest

from harness import pods
from harness.cri import pb

pytestmark = pytest.mark.uml


def code_of(call, *args, **fields):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **fields)
    return error.value.code()


def test_a_pod_runs_stops_and_goes(any_daemon):
    before = time.time_ns()
    pod = any_daemon.run_pod(name="web", namespace="prod", uid="u-1", attempt=3, labels={"app": "web"},
                             annotations={"note": "ünïcode\nline"})
    status = pod.status()
    assert re.fullmatch("[0-9a-f]{64}", pod.id)
    assert status.id == pod.id
    assert status.state == pb.SANDBOX_READY
    assert before < status.created_at < time.time_ns()
    assert (status.metadata.name, status.metadata.namespace, status.metadata.uid, status.metadata.attempt) == \
        ("web", "prod", "u-1", 3)
    assert dict(status.labels) == {"app": "web"}
    assert dict(status.annotations) == {"note": "ünïcode\nline"}
    assert any_daemon.network.contains(status.network.ip)
    assert status.linux.namespaces.options.network == pods.POD
    assert status.linux.namespaces.options.pid == pods.CONTAINER
    pod.stop()
    assert pod.status().state == pb.SANDBOX_NOTREADY
    pod.remove()
    assert code_of(any_daemon.client.PodSandboxStatus, pod_sandbox_id=pod.id) == grpc.StatusCode.NOT_FOUND
    assert not any_daemon.client.ListPodSandbox().items


@pytest.mark.berth
def test_stop_and_remove_are_idempotent(any_daemon):
    pod = any_daemon.run_pod()
    pod.stop()
    pod.stop()
    pod.remove()
    pod.remove()
    pod.stop()
    any_daemon.client.StopPodSandbox(pod_sandbox_id="f" * 64)
    any_daemon.client.RemovePodSandbox(pod_sandbox_id="f" * 64)


@pytest.mark.berth
def test_a_ready_pod_can_be_removed_at_once(daemon):
    pod = daemon.run_pod()
    container = pod.run_container()
    pod.remove()
    assert code_of(daemon.client.ContainerStatus, container_id=container.id) == grpc.StatusCode.NOT_FOUND


@pytest.mark.berth
def test_an_empty_id_is_refused(any_daemon):
    client = any_daemon.client
    for call in (client.StopPodSandbox, client.RemovePodSandbox, client.PodSandboxStatus):
        assert code_of(call, pod_sandbox_id="") == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.berth
def test_ids_may_be_shortened_to_what_is_unique(any_daemon):
    seen = {}
    while True:
        pod = any_daemon.run_pod(network=pods.NODE)
        if pod.id[0] in seen:
            break
        seen[pod.id[0]] = pod
    assert code_of(any_daemon.client.PodSandboxStatus, pod_sandbox_id=pod.id[0]) == \
        grpc.StatusCode.INVALID_ARGUMENT
    assert any_daemon.client.PodSandboxStatus(pod_sandbox_id=pod.id[:13]).status.id == pod.id
    assert [item.id for item in any_daemon.client.ListPodSandbox(
        filter=pb.PodSandboxFilter(id=pod.id[:13])).items] == [pod.id]
    any_daemon.client.StopPodSandbox(pod_sandbox_id=pod.id[:13])
    assert pod.status().state == pb.SANDBOX_NOTREADY


@pytest.mark.berth
def test_the_same_request_again_returns_the_same_pod(any_daemon):
    config = pods.pod_config(any_daemon)
    first = pods.Pod.run(any_daemon, config=config)
    assert pods.Pod.run(any_daemon, config=config).id == first.id
    assert len(any_daemon.client.ListPodSandbox().items) == 1
    first.remove()
    assert pods.Pod.run(any_daemon, config=config).id != first.id


@pytest.mark.berth
def test_the_same_request_twice_at_once_makes_one_pod(any_daemon):
    config = pods.pod_config(any_daemon)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: pods.Pod.run(any_daemon, config=config).id, range(4)))
    assert len(set(made)) == 1
    assert len(any_daemon.client.ListPodSandbox().items) == 1


@pytest.mark.berth
@pytest.mark.parametrize("missing", ["metadata", "name", "namespace", "uid"])
def test_a_pod_without_its_names_is_refused(any_daemon, missing):
    config = pods.pod_config(any_daemon)
    if missing == "metadata":
        config.ClearField("metadata")
    else:
        config.metadata.ClearField(missing)
    assert code_of(any_daemon.client.RunPodSandbox, config=config) == grpc.StatusCode.INVALID_ARGUMENT
    assert not any_daemon.client.ListPodSandbox().items


@pytest.mark.berth
def test_a_request_without_a_configuration_is_refused(any_daemon):
    assert code_of(any_daemon.client.RunPodSandbox) == grpc.StatusCode.INVALID_ARGUMENT


def test_an_unknown_runtime_handler_is_refused(any_daemon):
    with pytest.raises(grpc.RpcError) as error:
        any_daemon.client.RunPodSandbox(config=pods.pod_config(any_daemon), runtime_handler="nosuch")
    assert "nosuch" in error.value.details()
    assert not any_daemon.client.ListPodSandbox().items


def test_lists_are_filtered(any_daemon):
    one = any_daemon.run_pod(network=pods.NODE, labels={"app": "a", "tier": "x"})
    two = any_daemon.run_pod(network=pods.NODE, labels={"app": "b", "tier": "x"})
    two.stop()

    def ids(**fields):
        answer = any_daemon.client.ListPodSandbox(filter=pb.PodSandboxFilter(**fields))
        return [item.id for item in answer.items]
    state = lambda value: pb.PodSandboxStateValue(state=value)
    assert sorted(ids()) == sorted([one.id, two.id])
    assert ids(id=one.id) == [one.id]
    assert ids(id="f" * 64) == []
    assert ids(state=state(pb.SANDBOX_READY)) == [one.id]
    assert ids(state=state(pb.SANDBOX_NOTREADY)) == [two.id]
    assert ids(label_selector={"app": "b"}) == [two.id]
    assert sorted(ids(label_selector={"tier": "x"})) == sorted([one.id, two.id])
    assert ids(label_selector={"app": "b", "tier": "y"}) == []
    assert ids(id=one.id, state=state(pb.SANDBOX_NOTREADY)) == []


@pytest.mark.berth
def test_lists_are_newest_first_and_carry_the_pods(any_daemon):
    made = [any_daemon.run_pod(network=pods.NODE, labels={"n": str(n)}, runtime_handler="runc")
            for n in range(3)]
    items = any_daemon.client.ListPodSandbox().items
    assert [item.id for item in items] == [pod.id for pod in reversed(made)]
    assert [dict(item.labels) for item in items] == [{"n": "2"}, {"n": "1"}, {"n": "0"}]
    assert {item.runtime_handler for item in items} == {"runc"}
    assert all(item.created_at for item in items)


def test_a_pod_on_the_host_network(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.run_container()
    assert pod.address == ""
    assert pod.status().linux.namespaces.options.network == pods.NODE
    assert container.output(["readlink", "/proc/self/ns/net"]).strip() == os.readlink("/proc/self/ns/net")
    assert container.output(["hostname"]).strip() == os.uname().nodename


def test_containers_share_the_pods_namespaces(daemon):
    pod = daemon.run_pod()
    one, two = pod.run_container(), pod.run_container()
    for kind in ("net", "ipc", "uts"):
        command = ["readlink", f"/proc/self/ns/{kind}"]
        assert one.output(command) == two.output(command)
        assert one.output(command).strip() != os.readlink(f"/proc/self/ns/{kind}")
    for kind in ("mnt", "pid"):
        command = ["readlink", f"/proc/self/ns/{kind}"]
        assert one.output(command) != two.output(command)


def test_namespaces_outlive_the_first_container(daemon):
    pod = daemon.run_pod()
    first = pod.run_container()
    net = first.output(["readlink", "/proc/self/ns/net"])
    address = pod.address
    first.stop(timeout=0)
    first.remove()
    second = pod.run_container()
    assert second.output(["readlink", "/proc/self/ns/net"]) == net
    assert address in second.output(["ip", "addr"])
    assert "lo:" in second.output(["ip", "addr"]) and "127.0.0.1" in second.output(["ip", "addr"])


def test_host_pid_and_ipc(daemon):
    pod = daemon.run_pod(pid=pods.NODE, ipc=pods.NODE)
    container = pod.run_container()
    for kind in ("pid", "ipc"):
        assert container.output(["readlink", f"/proc/self/ns/{kind}"]).strip() == \
            os.readlink(f"/proc/self/ns/{kind}")
    assert str(daemon.pid) in container.output(["ls", "/proc"]).split()


def test_a_shared_pid_namespace(daemon):
    pod = daemon.run_pod(pid=pods.POD)
    one = pod.run_container(command=["sleep", "4321"])
    two = pod.run_container(command=["sleep", "1234"])
    listing = two.output(["ps", "-o", "pid,args"])
    assert "sleep 4321" in listing and "sleep 1234" in listing
    # Pid 1 is the pod's, not a container's: it reaps what containers leave, and outlives them.
    assert "sleep" not in one.output(["cat", "/proc/1/cmdline"])
    one.stop(timeout=0)
    assert "sleep 4321" not in two.output(["ps", "-o", "pid,args"])
    assert "sleep 1234" in two.output(["ps", "-o", "pid,args"])


def test_orphans_are_reaped_in_a_shared_pid_namespace(daemon):
    container = daemon.run_pod(pid=pods.POD).run_container()
    container.shell("for i in 1 2 3 4 5; do (sleep 0.1 &); done")
    time.sleep(0.5)
    assert " Z " not in container.output(["ps", "-o", "pid,stat,args"])


def test_the_target_of_a_containers_pid_namespace(daemon):
    pod = daemon.run_pod()
    target = pod.run_container(command=["sleep", "4321"])
    options = pb.NamespaceOption(pid=pods.TARGET, target_id=target.id)
    debugger = pod.run_container(security={"namespace_options": options})
    assert "sleep 4321" in debugger.output(["ps", "-o", "pid,args"])
    assert debugger.output(["readlink", "/proc/self/ns/pid"]) == target.output(["readlink", "/proc/self/ns/pid"])
    debugger.stop(timeout=0)


def test_hostname(daemon):
    container = daemon.run_pod(hostname="wonderful").run_container()
    assert container.output(["hostname"]).strip() == "wonderful"
    assert "wonderful" in container.output(["cat", "/etc/hostname"])


@pytest.mark.parametrize("options", [{}, {"readonly_rootfs": True}], ids=["writable", "read-only"])
def test_containerenv(daemon, options):
    """A program that asks whether it is in a container looks for this file."""
    container = daemon.run_pod().run_container(security=options)
    assert container.shell("test -f /run/.containerenv && wc -c < /run/.containerenv").strip() == "0"


def test_dns_configuration(daemon):
    container = daemon.run_pod(dns={
        "servers": ["10.1.2.3", "fd00::1"], "searches": ["a.example", "b.example"],
        "options": ["ndots:5", "edns0"]}).run_container()
    assert container.output(["cat", "/etc/resolv.conf"]).splitlines() == [
        "search a.example b.example", "nameserver 10.1.2.3", "nameserver fd00::1", "options ndots:5 edns0"]


def test_without_dns_configuration_the_hosts_is_used(daemon):
    container = daemon.run_pod().run_container()
    with open("/etc/resolv.conf", encoding="utf-8") as host:
        assert container.output(["cat", "/etc/resolv.conf"]).strip() == host.read().strip()


def test_sysctls(daemon):
    container = daemon.run_pod(sysctls={"kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "2000 3000"}
                               ).run_container()
    assert container.output(["cat", "/proc/sys/kernel/shm_rmid_forced"]).strip() == "1"
    assert container.output(["cat", "/proc/sys/net/ipv4/ip_local_port_range"]).split() == ["2000", "3000"]


@pytest.mark.berth
@pytest.mark.parametrize("name,value,modes", [
    ("net.ipv4.ip_forward", "1", {"network": pods.NODE}), ("kernel.shmmax", "1000", {"ipc": pods.NODE}),
    ("kernel.core_pattern", "|/tmp/x", {}), ("kernel.../core_pattern", "x", {}), ("vm.swappiness", "1", {}),
    ("net.ipv4.no_such_thing", "1", {}), ("", "1", {})])
def test_sysctls_of_the_host_are_refused(any_daemon, name, value, modes):
    config = pods.pod_config(any_daemon, sysctls={name: value}, **modes)
    assert code_of(any_daemon.client.RunPodSandbox, config=config) == grpc.StatusCode.INVALID_ARGUMENT
    assert not any_daemon.client.ListPodSandbox().items


def test_shared_memory_is_the_pods(daemon):
    pod = daemon.run_pod()
    one, two = pod.run_container(), pod.run_container()
    one.shell("echo shared > /dev/shm/x")
    assert two.output(["cat", "/dev/shm/x"]) == "shared\n"
    other = daemon.run_pod().run_container()
    assert other.exec(["cat", "/dev/shm/x"]).exit_code != 0
    assert "64.0M" in one.output(["df", "-h", "/dev/shm"])


def test_the_cgroup_parent_is_respected(daemon):
    container = daemon.run_pod().run_container()
    with open(f"/proc/{container.host_pid()}/cgroup", encoding="utf-8") as listing:
        assert daemon.cgroup_parent.lstrip("/") in listing.read()


def test_a_slice_named_as_the_kubelet_does(any_daemon):
    """By its cgroup, where CRI clients of an earlier day gave its name alone."""
    if any_daemon.cgroup_manager != "systemd":
        pytest.skip("slices are the systemd driver's")
    path = f"/{any_daemon.cgroup_parent}/{any_daemon.cgroup_parent.replace('.slice', '-pod.slice')}"
    container = any_daemon.run_pod(cgroup_parent=path).run_container()
    with open(f"/proc/{container.host_pid()}/cgroup", encoding="utf-8") as listing:
        assert f"{path}/berth-{container.id}.scope" in listing.read()


@pytest.mark.berth
def test_a_cgroup_parent_of_the_other_driver_is_refused(any_daemon):
    parent = {"cgroupfs": "some.slice", "systemd": "/some/path"}[any_daemon.cgroup_manager]
    config = pods.pod_config(any_daemon, cgroup_parent=parent)
    assert code_of(any_daemon.client.RunPodSandbox, config=config) == grpc.StatusCode.INVALID_ARGUMENT
    assert not any_daemon.client.ListPodSandbox().items


def test_many_pods_at_once(any_daemon):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: any_daemon.run_pod(), range(8)))
        assert len({pod.address for pod in made}) == 8
        list(threads.map(lambda pod: pod.stop(), made))
        list(threads.map(lambda pod: pod.remove(), made))
    assert not any_daemon.client.ListPodSandbox().items


@pytest.mark.berth
def test_verbose_status_names_the_process(any_daemon):
    pod = any_daemon.run_pod()
    info = json.loads(pod.info()["info"])
    assert os.path.exists(f"/proc/{info['pid']}")
    with open(f"/proc/{info['pid']}/comm", encoding="utf-8") as comm:
        assert comm.read().strip() == "berth-pause"


@pytest.mark.berth
def test_each_pod_can_have_its_own_runtime(any_daemon, shell):
    for name in ("runc", "crun"):
        container = any_daemon.run_pod(runtime_handler=name).run_container()
        assert container.id in shell(name, "list", "-q").split()
