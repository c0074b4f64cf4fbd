"""berthd as a service under a real systemd. Runs as root of a guest (tests/uml/integration) and installs into it.

Here berth is where a node has it: programs in /usr/bin, /etc/berth, /run/berth, the unit berth.service, the default bridge.
"""
import json
import os
import subprocess
import time

import grpc
import pytest

from harness import cri, leaks, pods
from images import catalog, oci

pb = cri.pb
SOCKET = "/run/berth/berth.sock"
COUNT = ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"]

if not os.environ.get("BERTH_INSTALLED"):
    pytest.skip("BERTH_INSTALLED names no folder with an installed berth: run tests/uml/integration",
                allow_module_level=True)


def systemctl(*arguments, check=True):
    return subprocess.run(["systemctl", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=check).stdout.strip()


def main_pid():
    return int(systemctl("show", "--value", "-p", "MainPID", "berth"))


class Node:
    """The installed berth, in the form that harness.pods wants a daemon in."""

    kind, token, cgroup_parent = "berthd", "service", ""

    def __init__(self, logs):
        self.logs, self.ids = logs, set()
        self.client = None

    def connect(self):
        if self.client:
            self.client.close()
        self.client = cri.Client(SOCKET)
        return self

    def need(self, reference):
        return reference


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    subprocess.run(["cp", "-a", os.environ["BERTH_INSTALLED"] + "/.", "/"], check=True)
    # The guest's root is an overlay, on which another one cannot lie.
    os.makedirs("/var/lib/berth", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tmpfs", "/var/lib/berth"], check=True)
    systemctl("daemon-reload")
    running = Node(str(tmp_path_factory.mktemp("logs")))
    yield running
    systemctl("stop", "berth", check=False)


def test_it_starts_and_serves_when_systemd_says_so(node, tmp_path):
    systemctl("start", "berth")
    # Type=notify: `start` has returned, so the socket answers now, without any waiting.
    node.connect()
    assert node.client.Version(timeout=5).runtime_name == "berth"
    assert systemctl("is-active", "berth") == "active"
    conditions = {c.type: c.status for c in node.client.Status().status.conditions}
    assert conditions == {"RuntimeReady": True, "NetworkReady": True}
    assert node.client.RuntimeConfig().linux.cgroup_driver == pb.SYSTEMD
    layout = tmp_path / "layout"
    oci.write_layout(str(layout), catalog.small(), name=pods.BUSYBOX)
    subprocess.run(["berthctl", "import", str(layout)], check=True)
    status = subprocess.run(["berthctl", "status"], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "ready (berth)" in status and "systemd" in status, status


@pytest.fixture
def running(node):
    """A pod with a container that counts in its log, on the default bridge."""
    node.connect()
    pod = pods.Pod.run(node)
    container = pod.run_container(command=COUNT)
    container.wait_log(b"3\n")
    yield container
    node.connect()
    pod.stop()
    pod.remove()


def unharmed(node, container, pid):
    """The container is the process it was, is listed, logs on and can be worked with."""
    node.connect()
    assert container.status().state == pb.CONTAINER_RUNNING
    assert container.host_pid() == pid
    assert container.output(["echo", "hi"]) == "hi\n"
    before = len(container.log())
    time.sleep(1)
    numbers = [int(line.text) for line in container.log()]
    assert len(numbers) > before
    assert numbers == list(range(1, len(numbers) + 1)), "a line was lost"


def test_containers_are_in_scopes_of_their_own(node, running):
    with open(f"/proc/{running.host_pid()}/cgroup", encoding="utf-8") as cgroup:
        path = cgroup.read().strip()
    assert f"berth-{running.id}.scope" in path and "berth.service" not in path
    assert systemctl("is-active", f"berth-{running.id}.scope") == "active"


def test_the_default_network(node, running):
    address = running.pod.address
    assert address.startswith("10.87.")
    assert address in running.output(["ip", "addr"])


def test_a_restart_harms_no_container(node, running):
    pid, daemon = running.host_pid(), main_pid()
    systemctl("restart", "berth")
    assert main_pid() != daemon
    unharmed(node, running, pid)


def test_a_stop_and_a_start_harm_no_container(node, running):
    pid = running.host_pid()
    systemctl("stop", "berth")
    assert systemctl("is-active", "berth", check=False) == "inactive"
    assert os.path.exists(f"/proc/{pid}")
    systemctl("start", "berth")
    unharmed(node, running, pid)


def test_systemd_starts_it_again_when_it_is_killed(node, running):
    pid, daemon = running.host_pid(), main_pid()
    systemctl("kill", "-s", "KILL", "--kill-who=main", "berth")
    assert not leaks.settle(lambda: systemctl("is-active", "berth", check=False) != "active" or main_pid() == daemon, 60)
    unharmed(node, running, pid)


def test_the_end_of_every_process_of_the_service_harms_no_container(node, running):
    pid, daemon = running.host_pid(), main_pid()
    systemctl("kill", "-s", "KILL", "--kill-who=all", "berth")
    assert not leaks.settle(lambda: systemctl("is-active", "berth", check=False) != "active" or main_pid() == daemon, 60)
    unharmed(node, running, pid)


def journal(*matches):
    """The journal's entries that match, as dicts."""
    text = subprocess.run(["journalctl", "-o", "json", "--no-pager", *matches], stdout=subprocess.PIPE, check=True,
                          text=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def test_a_reload_reads_the_registries_again(node, running):
    pid, daemon = running.host_pid(), main_pid()
    path = "/etc/containers/registries.conf.d/50-blocked.conf"
    os.makedirs(os.path.dirname(path), exist_ok=True)

    def reload(text):
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        systemctl("reload", "berth")
        deadline = time.monotonic() + 10
        with pytest.raises(grpc.RpcError) as error:
            while True:
                node.client.PullImage(image=pb.ImageSpec(image="blocked.test/image:1"), timeout=60)
        assert time.monotonic() < deadline, error.value
        return error.value.details()
    try:
        assert "blocked" in reload('[[registry]]\nlocation = "blocked.test"\nblocked = true\n').replace("blocked.test", "")
        # A mistake changes nothing, and the journal names it.
        assert "blocked" in reload('[[registry]]\nlocation = \n').replace("blocked.test", "")
        journal = subprocess.run(["journalctl", "-u", "berth", "-n", "20", "-o", "cat"], check=True, stdout=subprocess.PIPE,
                                 text=True).stdout
        assert path in journal, journal
        assert systemctl("is-active", "berth") == "active"
    finally:
        os.unlink(path)
        systemctl("reload", "berth")
    assert main_pid() == daemon
    unharmed(node, running, pid)


def test_output_in_the_journal(node):
    os.makedirs("/etc/berth/conf.d", exist_ok=True)
    with open("/etc/berth/conf.d/50-journald.toml", "w", encoding="utf-8") as out:
        out.write("[runtime]\nlog_to_journald = true\n")
    systemctl("restart", "berth")
    node.connect()
    pod = pods.Pod.run(node)
    try:
        container = pod.run_container(command=[
            "sh", "-c", "echo one; echo bad >&2; printf open; while ! test -e /go; do sleep 0.1; done; echo; echo two; sleep 1000"])
        container.wait_log(b"open")
        short = container.id[:12]
        assert not leaks.settle(lambda: len(journal(f"CONTAINER_ID={short}")) < 3, 30)
        # A journal that is stopped keeps nobody; it is told what it missed.
        systemctl("stop", "systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald", check=False)
        container.shell("touch /go")
        container.wait_log(b"two\n")
        systemctl("start", "systemd-journald")
        container.shell("echo three >/proc/1/fd/1")
        container.wait_log(b"three\n")
        assert not leaks.settle(lambda: not any(one.get("MESSAGE") == "three" for one in journal(f"CONTAINER_ID={short}")), 30)
        entries = journal(f"CONTAINER_ID_FULL={container.id}")
        name = f"k8s_{container.config.metadata.name}_{pod.config.metadata.name}_default_{pod.config.metadata.uid}_0"
        assert {(one["CONTAINER_NAME"], one["SYSLOG_IDENTIFIER"], one["_COMM"]) for one in entries} == {
            (name, name, "berth-monitor")}
        said = [(one["PRIORITY"], one["MESSAGE"], "CONTAINER_PARTIAL_MESSAGE" in one) for one in entries]
        assert ("6", "one", False) in said and ("3", "bad", False) in said and ("6", "open", True) in said
        missed = [message for priority, message, _ in said if priority == "4"]
        # systemd may hold the socket while the journal is stopped: then nothing is missed.
        assert ("6", "two", False) in said or missed == [
            "the journal did not take 2 entries of this container's output; its log file has them"], said
        assert container.log_text() == b"one\nbad\nopen\ntwo\nthree\n"
    finally:
        pod.stop()
        pod.remove()
        os.unlink("/etc/berth/conf.d/50-journald.toml")
        systemctl("restart", "berth")
        node.connect()


def test_it_is_the_last_to_go_when_memory_runs_out(node):
    with open(f"/proc/{main_pid()}/oom_score_adj", encoding="utf-8") as score:
        assert score.read().strip() == "-999"


def test_containers_do_not_inherit_that(node, running):
    with open(f"/proc/{running.host_pid()}/oom_score_adj", encoding="utf-8") as score:
        assert int(score.read()) >= 0


def test_nothing_is_left_when_the_pods_are_gone(node):
    node.connect()
    assert not node.client.ListPodSandbox().items
    scopes = lambda: [line for line in systemctl("list-units", "--all", "--plain", "--no-legend", "berth-*.scope").splitlines()
                      if line.strip()]
    assert not leaks.settle(scopes, 20)
    links = json.loads(subprocess.run(["ip", "-j", "link"], stdout=subprocess.PIPE, check=True).stdout)
    assert not [link for link in links if link.get("master") == "berth0"]
    assert not leaks.mounts(["/run/berth/"])


def test_the_other_name_of_the_unit(node):
    assert systemctl("is-active", "berthd") == "active"
