"""Devices by the Container Device Interface: what a specification file says reaches the container."""
import json
import os

import grpc
import pytest

from harness.cri import pb

pytestmark = pytest.mark.berth

FILE = """---
cdiVersion: 0.7.0
kind: berth.test/probe
containerEdits:
  env: [PROBE_ALL=yes]
devices:
- name: 0
  containerEdits:
    env: [PROBE=zero]
    deviceNodes:
    - {{path: /dev/probe0, hostPath: /dev/zero, permissions: r, fileMode: 0444}}
    # Of no driver: whoever may open it is told that there is no such device.
    - {{path: /dev/probe1, type: c, major: 121, minor: 77, permissions: r}}
    mounts:
    - {{hostPath: {host}, containerPath: /opt/probe, options: [ro, nosuid, nodev, bind]}}
    hooks:
    - hookName: createRuntime
      path: /bin/sh
      args: [sh, -c, 'cat > {host}/ran']
    additionalGids: [4711]
- name: missing
  containerEdits:
    deviceNodes: [{{path: /dev/no-such-device}}]
"""


@pytest.fixture
def node(scratch, runtime, tmp_path):
    """A daemon with two folders of specifications, `etc` and `run`, and a folder `host` that they mention."""
    for name in ("etc", "run", "host"):
        (tmp_path / name).mkdir()
    (tmp_path / "host" / "driver").write_text("content")
    (tmp_path / "etc" / "probe.yaml").write_text(FILE.format(host=tmp_path / "host"))
    daemon = scratch(runtime=runtime,
                     runtime_table={"cdi_spec_dirs": [str(tmp_path / "etc"), str(tmp_path / "run")]})
    daemon.folder = tmp_path
    return daemon


def ask(*names):
    return {"CDI_devices": [pb.CDIDevice(name=name) for name in names]}


def config_text(daemon, container):
    with open(f"{daemon.state}/containers/{container.id}/config.json", encoding="utf-8") as config:
        return config.read()


def check_probe(daemon, container):
    assert container.output(["sh", "-c", "echo $PROBE_ALL $PROBE"]) == "yes zero\n"
    assert container.output(["cat", "/opt/probe/driver"]) == "content"
    assert b"Read-only" in container.exec(["touch", "/opt/probe/x"]).stderr
    assert container.output(["head", "-c", "4", "/dev/probe0"]) == "\0\0\0\0"
    assert b"No such device" in container.exec(["sh", "-c", ": < /dev/probe1"]).stderr
    assert b"not permitted" in container.exec(["sh", "-c", ": > /dev/probe1"]).stderr
    assert container.output(["stat", "-c", "%a %t %T", "/dev/probe0"]) == "444 1 5\n"
    assert "4711" in container.output(["id", "-G"]).split()
    assert 4711 in container.status().user.linux.supplemental_groups
    ran = json.loads((daemon.folder / "host" / "ran").read_text())
    assert ran["id"] == container.id


@pytest.mark.uml
def test_by_the_field(node):
    check_probe(node, node.run_pod().run_container(**ask("berth.test/probe=0")))


def test_by_annotation_and_both_at_once(node):
    container = node.run_pod().run_container(
        annotations={"cdi.k8s.io/plugin_0": "berth.test/probe=0"}, **ask("berth.test/probe=0"))
    check_probe(node, container)
    assert container.output(["cat", "/proc/mounts"]).count(" /opt/probe ") == 1
    # No OCI runtime is told to inject it again.
    assert "cdi.k8s.io" not in config_text(node, container)
    assert container.status().annotations["cdi.k8s.io/plugin_0"] == "berth.test/probe=0"


def test_a_pods_author_gets_none(node):
    """A container's annotations come from the kubelet; those of the pod anybody may write."""
    container = node.run_pod(annotations={"cdi.k8s.io/mine": "berth.test/probe=0"}).run_container()
    assert container.exec(["ls", "/dev/probe0"]).exit_code != 0
    assert "cdi.k8s.io" not in config_text(node, container)


def test_a_privileged_container(node):
    pod = node.run_pod(privileged=True)
    container = pod.run_container(security={"privileged": True}, **ask("berth.test/probe=0"))
    assert container.output(["head", "-c", "2", "/dev/probe0"]) == "\0\0"


def test_a_user_owns_the_device(node):
    container = node.run_pod().run_container(security={"run_as_user": 1234, "run_as_group": 77},
                                             **ask("berth.test/probe=0"))
    assert container.output(["stat", "-c", "%u %g", "/dev/probe0"]) == "1234 77\n"


def test_files_that_come_and_go(node):
    pod = node.run_pod()
    extra = node.folder / "run" / "extra.json"
    extra.write_text(json.dumps({"cdiVersion": "0.6.0", "kind": "berth.test/probe", "devices": [
        {"name": "0", "containerEdits": {"env": ["PROBE=from-run"]}}]}))
    container = pod.run_container(**ask("berth.test/probe=0"))
    assert container.output(["sh", "-c", "echo $PROBE_ALL-$PROBE"]) == "-from-run\n"
    extra.unlink()
    check_probe(node, pod.run_container(**ask("berth.test/probe=0")))


@pytest.mark.parametrize("name,words,code", [
    ("berth.test/probe=1", ["'berth.test/probe=1' is not known", "/etc'", "/run'"], grpc.StatusCode.INVALID_ARGUMENT),
    ("probe0", ["'probe0' is not of the form"], grpc.StatusCode.INVALID_ARGUMENT),
    ("berth.test/probe=missing", ["/dev/no-such-device"], grpc.StatusCode.NOT_FOUND),
], ids=["unknown", "nonsense", "missing"])
def test_devices_that_are_none(node, name, words, code):
    pod = node.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.create(**ask(name))
    assert error.value.code() == code, error.value
    for word in words:
        assert word in error.value.details(), error.value.details()
    assert os.listdir(f"{node.state}/containers") == []


def test_a_conflict_is_told(node):
    (node.folder / "etc" / "twin.yaml").write_text(FILE.format(host=node.folder / "host"))
    with pytest.raises(grpc.RpcError) as error:
        node.run_pod().create(**ask("berth.test/probe=0"))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "probe.yaml" in error.value.details() and "twin.yaml" in error.value.details()


def test_a_restart_keeps_what_was_given(node):
    container = node.run_pod().run_container(**ask("berth.test/probe=0"))
    node.kill()
    (node.folder / "etc" / "probe.yaml").unlink()
    node.start()
    check_probe(node, container)
