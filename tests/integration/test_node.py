"""Version, Status, RuntimeConfig, and the RPCs that berth does not have yet."""
import json
import time

import grpc
import pytest

from harness import pods
from harness.cri import pb

pytestmark = pytest.mark.uml

# What this stage serves; every other RPC of the interface answers UNIMPLEMENTED.
SERVED = {
    "GetContainerEvents", "StreamContainers", "StreamImages", "StreamPodSandboxes",
    "Version", "Status", "RuntimeConfig", "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox",
    "PodSandboxStatus", "ListPodSandbox", "CreateContainer", "StartContainer", "StopContainer",
    "RemoveContainer", "ContainerStatus", "ListContainers", "ExecSync", "Exec", "Attach", "PortForward", "ReopenContainerLog", "ListImages",
    "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo", "UpdateRuntimeConfig",
    "UpdateContainerResources", "UpdatePodSandboxResources", "ContainerStats", "ListContainerStats",
    "StreamContainerStats", "PodSandboxStats", "ListPodSandboxStats", "StreamPodSandboxStats",
    "GetContainerEvents", "StreamPodSandboxes", "StreamContainers", "StreamImages"}
OTHERS = sorted(method.name for service in pb.DESCRIPTOR.services_by_name.values()
                for method in service.methods if method.name not in SERVED)


def test_version(any_daemon):
    answer = any_daemon.client.Version()
    assert answer.version == "0.1.0"
    assert answer.runtime_name == {"berthd": "berth"}.get(any_daemon.kind, any_daemon.kind)
    assert answer.runtime_version
    assert answer.runtime_api_version == "v1"


def test_status_is_ready(any_daemon):
    conditions = {c.type: c for c in any_daemon.client.Status().status.conditions}
    assert conditions["RuntimeReady"].status, conditions
    assert conditions["NetworkReady"].status, conditions


@pytest.mark.berth
def test_status_lists_handlers_and_features(any_daemon):
    answer = any_daemon.client.Status()
    assert {"", "runc", "crun"} <= {handler.name for handler in answer.runtime_handlers}
    assert answer.features.supplemental_groups_policy


@pytest.mark.berth
def test_verbose_status_holds_the_configuration_as_json(any_daemon):
    info = any_daemon.client.Status(verbose=True).info
    assert isinstance(json.loads(info["config"]), dict)
    assert not any_daemon.client.Status().info


@pytest.mark.berth
def test_runtime_config_names_the_cgroup_driver(any_daemon):
    driver = any_daemon.client.RuntimeConfig().linux.cgroup_driver
    assert driver == {"systemd": pb.SYSTEMD, "cgroupfs": pb.CGROUPFS}[any_daemon.cgroup_manager]


@pytest.mark.berth
def test_the_kubelets_pod_cidr_is_taken_note_of(any_daemon):
    config = pb.RuntimeConfig(network_config=pb.NetworkConfig(pod_cidr="10.1.0.0/24"))
    any_daemon.client.UpdateRuntimeConfig(runtime_config=config)


@pytest.mark.berth
@pytest.mark.parametrize("name", OTHERS)
def test_other_rpcs_are_unimplemented(any_daemon, name):
    with pytest.raises(grpc.RpcError) as error:
        answer = getattr(any_daemon.client, name)(timeout=10)
        if hasattr(answer, "__next__"):
            next(answer)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED, error.value


@pytest.mark.berth
def test_without_cni_configuration_only_host_network_pods_run(scratch):
    daemon = scratch(with_network=False)
    conditions = {c.type: c for c in daemon.client.Status().status.conditions}
    assert conditions["RuntimeReady"].status
    assert not conditions["NetworkReady"].status
    assert conditions["NetworkReady"].reason and conditions["NetworkReady"].message
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.RunPodSandbox(config=pods.pod_config(daemon), timeout=30)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not daemon.client.ListPodSandbox().items
    pod = daemon.run_pod(network=pods.NODE)
    assert pod.status().state == pb.SANDBOX_READY


@pytest.mark.berth
def test_cni_configuration_is_noticed_when_it_comes_and_goes(scratch):
    daemon = scratch()
    text = open(f"{daemon.network.folder}/10-scratch.conflist", encoding="utf-8").read()

    def ready(wanted):
        deadline = time.monotonic() + 10
        while True:
            answer = {c.type: c for c in daemon.client.Status().status.conditions}["NetworkReady"]
            if answer.status == wanted or time.monotonic() > deadline:
                return answer.status
            time.sleep(0.05)
    daemon.network.remove()
    assert ready(False) is False
    daemon.network.write("10-scratch.conflist", "this is not JSON")
    assert ready(False) is False
    daemon.network.write("10-scratch.conflist", text)
    assert ready(True) is True
    assert daemon.network.contains(daemon.run_pod().address)
