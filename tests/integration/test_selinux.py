"""SELinux labels of pods, files and volumes, on a kernel that enforces a policy made for it (harness/selinux_policy.py).

It runs in User-Mode Linux only: tests/uml/integration RESULTS selinux.
"""
import os
import shutil
import time

import grpc
import pytest

from harness import pods, selinux_policy
from harness.cri import pb

pytestmark = [pytest.mark.berth, pytest.mark.skipif(
    not selinux_policy.may_load() or not shutil.which("secilc"),
    reason="needs a guest whose kernel has SELinux, and secilc (tests/uml/integration RESULTS selinux)")]
PROCESS, FILE = "system_u:system_r:container_t:", "system_u:object_r:container_file_t:"


@pytest.fixture(scope="module", autouse=True)
def policy():
    selinux_policy.load()


@pytest.fixture
def labelled(scratch, runtime):
    """A daemon that sets labels."""
    daemon = scratch(runtime=runtime)
    with open(f"{daemon.base}/conf.d/50-selinux.toml", "w", encoding="utf-8") as out:
        out.write("[runtime]\nselinux = true\n")
    daemon.restart()
    return daemon


def process_label(container):
    """Of the container's first process, after checking that an exec session has the same."""
    inside = container.output(["cat", "/proc/self/attr/current"]).strip("\0\n ")
    deadline = time.monotonic() + 10    # a runtime's `start` does not wait until the command is executed
    while True:
        with open(f"/proc/{container.host_pid()}/attr/current", encoding="utf-8") as value:
            label = value.read().strip("\0\n ")
        if label == inside or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert inside == label
    return label


def file_label(path):
    return os.getxattr(path, "security.selinux").rstrip(b"\0").decode()


def level_of(container):
    label = process_label(container)
    assert label.startswith(PROCESS + "s0:c"), label
    return label[len(PROCESS):]


def test_labels_of_pods(labelled, tmp_path):
    pod, other = labelled.run_pod(), labelled.run_pod()
    one, two, third = pod.run_container(), pod.run_container(), other.run_container()
    level = level_of(one)
    assert level_of(two) == level != level_of(third)
    root = f"/proc/{one.host_pid()}/root"
    one.shell("echo x > /file; echo x > /dev/shm/file")
    for path in ("/file", "/bin/busybox", "/dev/shm/file", "/etc/resolv.conf", "/etc/hostname"):
        assert file_label(root + path) == FILE + level, path
    assert two.output(["cat", "/dev/shm/file"]) == "x\n"

    # A volume that the kubelet wants labelled is the pod's, and no other pod's.
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "file").write_text("mine")
    mount = {"host_path": str(tmp_path), "container_path": "/data"}
    owner = pod.run_container(mounts=[{**mount, "selinux_relabel": True}])
    stranger = other.run_container(mounts=[mount])
    assert file_label(tmp_path / "inside" / "file") == FILE + level
    assert owner.output(["cat", "/data/inside/file"]) == "mine"
    answer = stranger.exec(["cat", "/data/inside/file"])
    assert answer.exit_code != 0 and b"ermission denied" in answer.stderr

    labelled.kill()
    labelled.start()
    assert level_of(pod.run_container()) == level


def test_labels_that_are_asked_for(labelled):
    pod = labelled.run_pod()
    level = level_of(pod.run_container())
    typed = pod.run_container(security={"selinux_options": pb.SELinuxOption(type="spc_t")})
    assert process_label(typed) == f"system_u:system_r:spc_t:{level}"
    levelled = pod.run_container(security={"selinux_options": pb.SELinuxOption(level="s0:c7,c9")})
    assert process_label(levelled) == PROCESS + "s0:c7,c9"


def test_pods_without_separation(labelled):
    own = selinux_policy.current()
    host = labelled.run_pod(pid=pods.NODE)
    assert process_label(host.run_container()) == own
    privileged = labelled.run_pod(privileged=True)
    container = privileged.run_container(security={"privileged": True})
    assert process_label(container) == own.replace("kernel_t", "spc_t")
    assert file_label(f"/proc/{container.host_pid()}/root/bin/busybox").startswith(FILE + "s0:c")
    asked = host.run_container(security={"selinux_options": pb.SELinuxOption(type="container_t")})
    assert process_label(asked) == PROCESS + "s0"


@pytest.mark.parametrize("fields,fragment", [
    ({"mounts": [{"host_path": "/etc", "container_path": "/e", "selinux_relabel": True}]}, "'/etc' is the node's own"),
    ({"security": {"selinux_options": pb.SELinuxOption(type='t",exec')}}, "SELinux type"),
    ({"security": {"selinux_options": pb.SELinuxOption(level="s0,c4")}}, "knows no label 'system_u:system_r:container_t:s0,c4'"),
    ({"security": {"selinux_options": pb.SELinuxOption(type="other_t")}}, "knows no label")],
    ids=["path", "label", "level", "type"])
def test_what_is_refused(labelled, fields, fragment):
    before = file_label("/etc")
    pod = labelled.run_pod()
    labelled.need(pods.BUSYBOX)
    with pytest.raises(grpc.RpcError) as error:
        pod.create(**fields)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and fragment in error.value.details()
    assert file_label("/etc") == before
    assert not labelled.client.ListContainers().containers


def test_off_unless_it_is_asked_for(scratch, runtime):
    daemon = scratch(runtime=runtime)
    assert "runtime.selinux is not set" in daemon.log()
    assert process_label(daemon.run_pod().run_container()) == selinux_policy.current()
