"""berthd under a real kubelet, which runs static pods from a folder (no API server). As root of a guest with systemd.

What the kubelet does with a node is the guest's to bear: it writes sysctls, /var/lib/kubelet and /var/log/pods.
"""
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml

from harness import berthd, cri, leaks
from registry import server

CACHE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".cache")
KUBELET, STREAM_CLIENT = f"{CACHE}/kubelet/kubelet", f"{CACHE}/cri-tools/streamclient"
API = "https://127.0.0.1:10250"
UNCHECKED = ssl._create_unverified_context()    # the kubelet's certificate is its own

pytestmark = pytest.mark.skipif(not os.path.exists("/run/systemd/system") or not os.path.exists(KUBELET),
                                reason="needs systemd, and a kubelet (tests/uml/integration RESULTS kubelet)")

CONFIGURATION = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "fileCheckFrequency": "1s", "syncFrequency": "2s", "failSwapOn": False,
    "makeIPTablesUtilChains": False, "localStorageCapacityIsolation": False, "imageGCHighThresholdPercent": 100,
    "featureGates": {"PodAndContainerStatsFromCRI": True},
    "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi"},
}
NAME = "web-guest"    # static pods have the node's name behind theirs
POD = {
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
    "spec": {
        "terminationGracePeriodSeconds": 2,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": 2000},
        "volumes": [{"name": "shared", "emptyDir": {}}],
        "initContainers": [{
            "name": "first", "image": "busybox", "command": ["sh", "-c", "echo from init > /shared/page; id -G"],
            "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}],
        "containers": [
            {"name": "main", "image": "busybox",
             "command": ["sh", "-c", "trap 'echo asked; exit 0' TERM; echo up; n=0; while :; do sleep 0.2; n=$((n+1)); done"],
             "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
             "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "32Mi"}},
             "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
             "volumeMounts": [{"name": "shared", "mountPath": "/shared", "readOnly": True}],
             "livenessProbe": {"exec": {"command": ["cat", "/shared/page"]}, "periodSeconds": 2, "timeoutSeconds": 20},
             "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /proc/1/fd/1"]}}}},
            {"name": "once", "image": "busybox", "command": ["sh", "-c", "echo bye > /dev/termination-log; sleep 1000"]},
        ],
    },
}


def call(path, method="GET", timeout=30):
    try:
        with urllib.request.urlopen(urllib.request.Request(API + path, method=method), timeout=timeout,
                                    context=UNCHECKED) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        raise OSError(f"{path}: {error.code}: {error.read().decode()[:500]}") from error


def run(command, container="main"):
    """What a command in the pod says, by the kubelet's `run`, which cuts it at the spaces."""
    return call(f"/run/default/{NAME}/{container}?" + urllib.parse.urlencode({"cmd": command}), "POST")


def pod():
    """The pod as the kubelet has it; None while it has none."""
    for item in json.loads(call("/pods")).get("items") or ():
        if item["metadata"]["name"] == NAME:
            return item
    return None


def container(name):
    """The status of one of the pod's containers."""
    found = pod()
    statuses = (found or {}).get("status", {}).get("containerStatuses") or ()
    return next((status for status in statuses if status["name"] == name), {})


def until(what, check, seconds=180):
    deadline, why = time.monotonic() + seconds, ""
    while True:
        try:
            result = check()
        except OSError as error:
            result, why = None, str(error)
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {seconds} s: {what} {why}"
        time.sleep(0.5)


def tell_clock_speed(folder):
    """User-Mode Linux does not, and the kubelet wants to know."""
    with open("/proc/cpuinfo", encoding="utf-8") as told:
        text = told.read()
    if "cpu MHz" not in text:
        with open(f"{folder}/cpuinfo", "w", encoding="utf-8") as out:
            out.write(text.replace("vendor_id", "cpu MHz\t\t: 1000.000\nvendor_id"))
        subprocess.run(["mount", "--bind", f"{folder}/cpuinfo", "/proc/cpuinfo"], check=True)


class Kubelet:
    def __init__(self, folder, daemon):
        self.folder, self.daemon = folder, daemon
        self.manifests = f"{folder}/manifests"
        os.makedirs(self.manifests)
        tell_clock_speed(folder)
        with open(f"{folder}/kubelet.yaml", "w", encoding="utf-8") as out:
            yaml.safe_dump({**CONFIGURATION, "staticPodPath": self.manifests,
                            "containerRuntimeEndpoint": f"unix://{daemon.socket}"}, out)
        self.log = f"{folder}/kubelet.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [KUBELET, "--config", f"{folder}/kubelet.yaml", "--root-dir", f"{folder}/lib", "--hostname-override",
                 "guest", "--cert-dir", f"{folder}/pki"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def put(self, manifest):
        """A whole file at once, as an administrator's mv would."""
        with open(f"{self.folder}/new", "w", encoding="utf-8") as out:
            yaml.safe_dump(manifest, out)
        os.rename(f"{self.folder}/new", f"{self.manifests}/{manifest['metadata']['name']}.yaml")

    def close(self):
        subprocess.run(["umount", "/proc/cpuinfo"], check=False, stderr=subprocess.DEVNULL)
        self.process.terminate()
        self.process.wait(60)
        for line in reversed(leaks.mounts([self.folder])):    # emptyDirs stay mounted as the kubelet likes
            subprocess.run(["umount", "-l", line.split()[1]], check=False)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with server.DockerRegistry(server.content()) as registry:
        daemon = berthd.ScratchBerthd(runtime=os.environ.get("BERTH_TEST_RUNTIMES", "crun").split()[0],
                                      registry=registry.host, cgroup_manager="systemd")
        kubelet = Kubelet(str(tmp_path_factory.mktemp("kubelet")), daemon)
        try:
            yield kubelet
        except BaseException:
            daemon.close(check=False)
            raise
        finally:
            kubelet.close()
            with open(kubelet.log, encoding="utf-8") as log:
                print("kubelet says:", log.read()[-6000:])
        daemon.close()


def test_it_takes_berth_and_runs_a_pod(node):
    until("healthy", lambda: call("/healthz") == "ok" or node.process.poll() is not None)
    assert node.process.poll() is None, "the kubelet has ended"
    node.put(POD)
    status = until("both containers run", lambda: all(
        container(name).get("ready") for name in ("main", "once")) and pod()["status"], 240)
    assert status["phase"] == "Running"
    assert status["initContainerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    assert run("cat /shared/page") == "from init\n"
    assert f"POD_IP={status['podIP']}\0" in run("cat /proc/self/environ")
    assert run("id -u").strip() == "1000" and "2000" in run("id -G").split()
    assert "up\n" in call(f"/containerLogs/default/{NAME}/main")


def test_the_pod_is_in_the_kubelets_cgroup(node):
    sandbox, = node.daemon.client.ListPodSandbox().items
    uid = sandbox.metadata.uid.replace("-", "_")
    parent = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice"
    for item in node.daemon.client.ListContainers(filter=cri.pb.ContainerFilter(
            state=cri.pb.ContainerStateValue(state=cri.pb.CONTAINER_RUNNING))).containers:
        pid = json.loads(node.daemon.client.ContainerStatus(container_id=item.id, verbose=True).info["info"])["pid"]
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as listing:
            assert listing.read().startswith(f"0::{parent}/berth-{item.id}.scope")
    with open(f"/sys/fs/cgroup{parent}/cpu.max", encoding="utf-8") as limit:
        assert limit.read().split()[0] == "max", "one of the containers has no limit"


def test_statistics(node):
    def stats():
        pods = json.loads(call("/stats/summary?only_cpu_and_memory=true"))["pods"]
        found = next((item for item in pods if item["podRef"]["name"] == NAME), {})
        names = {item["name"] for item in found.get("containers", ()) if item.get("memory", {}).get("workingSetBytes")}
        return names == {"main", "once"} and found["memory"]["workingSetBytes"]
    assert until("statistics of the pod", stats) > 0


@pytest.mark.parametrize("protocol", ("spdy", "websocket"))
def test_exec_as_kubectl_does_it(node, protocol):
    def execute(script, **streams):
        query = urllib.parse.urlencode([("command", "sh"), ("command", "-c"), ("command", script),
                                        *((name, "1") for name in streams)])
        return subprocess.run(
            [STREAM_CLIENT, "run", "-protocol", protocol, "-ca", f"{node.folder}/pki/kubelet.crt", "-server-name", "guest",
             *(f"-{name}" for name in streams.values()), f"{API}/exec/default/{NAME}/main?{query}"],
            input=b"some input\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=120)
    done = execute("cat; echo bad >&2; exit 3", input="stdin", output="stdout", error="stderr")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"some input\n", b"bad\n")


def test_a_container_that_dies_is_started_again(node):
    before = container("once")["containerID"]
    run("kill -KILL 1", "once")    # of no effect in its own PID namespace
    assert container("once")["containerID"] == before
    pid = json.loads(node.daemon.client.ContainerStatus(
        container_id=before.split("//")[1], verbose=True).info["info"])["pid"]
    os.kill(pid, signal.SIGKILL)
    status = until("started again", lambda: container("once").get("restartCount") == 1 and container("once").get("ready")
                   and container("once"))
    assert status["containerID"] != before
    ended = status["lastState"]["terminated"]
    assert (ended["exitCode"], ended["message"]) == (137, "bye\n")


def test_berthd_dies_and_the_pod_does_not(node):
    before = {name: container(name)["containerID"] for name in ("main", "once")}
    restarts = container("main")["restartCount"]
    node.daemon.kill()
    time.sleep(5)
    node.daemon.start()
    until("healthy", lambda: call("/healthz") == "ok")
    until("commands run", lambda: run("cat /shared/page") == "from init\n")
    time.sleep(6)    # the probes and the relist have seen it
    assert {name: container(name)["containerID"] for name in before} == before
    assert container("main")["restartCount"] == restarts


def test_it_is_stopped_as_asked_and_nothing_is_left(node):
    log = f"/var/log/pods/default_{NAME}_{pod()['metadata']['uid']}/main/0.log"
    with open(log, encoding="utf-8") as lines:
        os.unlink(f"{node.manifests}/web.yaml")
        until("no pod", lambda: pod() is None and not node.daemon.client.ListPodSandbox().items)
        text = lines.read()
    assert "stopping\n" in text and "asked\n" in text, text[-300:]
    assert not leaks.cgroups(["kubepods-burstable-pod"])
