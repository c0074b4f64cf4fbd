"""Fields of requests that no other file looks at: each works, or is refused by name (docs/cri-fields.md)."""
import json
import os
import re

import grpc
import pytest

from harness import pods
from harness.cri import pb

Code = grpc.StatusCode


def refused(code, word, call, *args, **fields):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **fields)
    assert error.value.code() == code, error.value
    assert word in error.value.details()


def run_with(daemon, change):
    config = pods.pod_config(daemon, network=pods.NODE)
    change(config)
    return pods.Pod.run(daemon, config=config)


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as text:
        return dict(line.split(":\t", 1) for line in text.read().splitlines() if ":\t" in line)


# Pods

def pod_cases():
    security = lambda c: c.linux.security_context
    return {
        "windows": lambda c: setattr(c.windows.security_context, "host_process", True),
        "run_as_user": lambda c: security(c).run_as_user.CopyFrom(pb.Int64Value(value=-1)),
        "run_as_group": lambda c: security(c).run_as_group.CopyFrom(pb.Int64Value(value=5)),
        "supplemental_groups": lambda c: security(c).supplemental_groups.append(1 << 40),
        "seccomp": lambda c: setattr(security(c).seccomp, "localhost_ref", "/x"),
        "seccomp_profile_path": lambda c: setattr(security(c), "seccomp_profile_path", "nonsense"),
        "apparmor": lambda c: setattr(security(c).apparmor, "localhost_ref", "x"),
        "overhead.cpu_shares": lambda c: setattr(c.linux.overhead, "cpu_shares", -1),
        "resources.oom_score_adj": lambda c: setattr(c.linux.resources, "oom_score_adj", 2000),
        "target_id": lambda c: setattr(security(c).namespace_options, "target_id", "x"),
    }


@pytest.mark.berth
@pytest.mark.parametrize("field", sorted(pod_cases()))
def test_pods_that_are_refused(any_daemon, field):
    refused(Code.INVALID_ARGUMENT, field, run_with, any_daemon, pod_cases()[field])
    assert not any_daemon.client.ListPodSandbox().items


@pytest.mark.berth
def test_a_pods_own_process_is_the_same_whatever_is_asked_for(any_daemon):
    """It runs nothing of the pod's: what its security context says is for pods that have such a process."""
    def change(config):
        context = config.linux.security_context
        context.run_as_user.value, context.run_as_group.value = 1000, 1000
        context.supplemental_groups.append(7)
        context.supplemental_groups_policy = pb.Strict
        context.readonly_rootfs = True
        context.seccomp.profile_type = pb.SecurityProfile.RuntimeDefault
        context.apparmor.profile_type = pb.SecurityProfile.RuntimeDefault
    pids = [json.loads(run_with(any_daemon, each).info()["info"])["pid"] for each in (change, lambda config: None)]
    if 0 in pids:
        pytest.skip("pods without namespaces of their own have no process")
    names = ("Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    one, other = ({name: status_of(pid)[name] for name in names} for pid in pids)
    assert one == other


# Containers

@pytest.fixture
def pod(daemon):
    daemon.need(pods.BUSYBOX)
    return daemon.run_pod()


def container_cases():
    context = lambda c: c.linux.security_context
    return {
        "windows": (Code.INVALID_ARGUMENT, lambda c: setattr(c.windows.resources, "cpu_shares", 1)),
        "CDI": (Code.INVALID_ARGUMENT, lambda c: c.CDI_devices.add(name="vendor.com/gpu=0")),
        "image_ref": (Code.INVALID_ARGUMENT, lambda c: setattr(c.image, "image_ref", "f" * 64)),
        "runtime_handler": (Code.INVALID_ARGUMENT, lambda c: setattr(c.image, "runtime_handler", "a\nb")),
        "network": (Code.INVALID_ARGUMENT, lambda c: setattr(context(c).namespace_options, "network", pb.NODE)),
        "ipc": (Code.INVALID_ARGUMENT, lambda c: setattr(context(c).namespace_options, "ipc", pb.NODE)),
        "userns_options.uids": (Code.INVALID_ARGUMENT, lambda c: setattr(
            context(c).namespace_options.userns_options, "mode", pb.POD)),
        "image volume": (Code.NOT_FOUND, lambda c: c.mounts.add(
            container_path="/x", image=pb.ImageSpec(image="docker.io/library/nobody-pulled-it:1"))),
        "image_sub_path": (Code.INVALID_ARGUMENT, lambda c: c.mounts.add(
            container_path="/x", host_path="/tmp", image_sub_path="y")),
        "gidMappings": (Code.INVALID_ARGUMENT, lambda c: c.mounts.add(
            container_path="/x", host_path="/tmp", uidMappings=[pb.IDMapping(host_id=1, length=1)])),
        "recursive_read_only": (Code.INVALID_ARGUMENT, lambda c: c.mounts.add(
            container_path="/x", host_path="/tmp", recursive_read_only=True)),
        "propagation": (Code.INVALID_ARGUMENT, lambda c: c.mounts.add(
            container_path="/x", host_path="/tmp", propagation=9)),
        "page size": (Code.INVALID_ARGUMENT, lambda c: c.linux.resources.hugepage_limits.add(page_size="2m", limit=1)),
    }


@pytest.mark.berth
@pytest.mark.parametrize("word", sorted(container_cases()))
def test_containers_that_are_refused(pod, word):
    code, change = container_cases()[word]
    config = pods.container_config(pod, command=["sleep", "1000"])
    change(config)
    refused(code, word, pod.create, config=config)
    assert not pod.client.ListContainers().containers


@pytest.mark.berth
def test_the_configuration_of_another_pod_is_refused(any_daemon):
    any_daemon.need(pods.BUSYBOX)
    pod = any_daemon.run_pod(network=pods.NODE)
    other = pods.pod_config(any_daemon)
    config = pods.container_config(pod, command=["true"])
    refused(Code.INVALID_ARGUMENT, "sandbox_config.metadata", pod.client.CreateContainer,
            pod_sandbox_id=pod.id, config=config, sandbox_config=other)
    changed = pb.PodSandboxConfig.FromString(pod.config.SerializeToString())
    changed.annotations["changed"] = "since"
    for same in (changed, None):
        config.metadata.attempt += 1
        pod.client.CreateContainer(pod_sandbox_id=pod.id, config=config, sandbox_config=same)


def test_the_image_by_its_own_id(pod):
    image = pod.client.ImageStatus(image=pb.ImageSpec(image=pods.BUSYBOX)).image.id
    config = pods.container_config(pod, image=pods.BUSYBOX, command=["true"])
    config.image.image_ref, config.image.runtime_handler = image, pod.daemon.runtime
    config.image.annotations["k"] = "v"
    made = pod.create(config=config)
    assert made.status().image.annotations == {"k": "v"}
    assert made.status().image_id == image


def test_ambient_capabilities(pod):
    made = pod.run_container(security={"run_as_user": 1000, "capabilities": pb.Capability(
        add_capabilities=["NET_BIND_SERVICE"], add_ambient_capabilities=["NET_BIND_SERVICE"])})
    ambient = re.search(r"CapAmb:\s*(\w+)", made.output(["cat", "/proc/self/status"]))[1]
    assert int(ambient, 16) == 1 << 10


# Mounts

def options_at(container, path):
    """The mount's own flags."""
    lines = [line.split() for line in container.output(["cat", "/proc/self/mountinfo"]).splitlines()]
    return set([line for line in lines if line[4] == path][-1][5].split(","))


@pytest.mark.uml
def test_mount_options(pod, tmp_path):
    assert pod.client.Status().features.mount_options
    mounts = [{"host_path": str(tmp_path), "container_path": f"/m{n}", "mount_options": options}
              for n, options in enumerate((["noexec"], ["nosuid", "nodev"], ["noatime", "nodiratime"], ["strictatime"],
                                           ["relatime"], []))]
    made = pod.run_container(mounts=mounts)
    assert "noexec" in options_at(made, "/m0") and not {"nosuid", "nodev"} & options_at(made, "/m0")
    assert {"nosuid", "nodev"} <= options_at(made, "/m1")
    assert {"noatime", "nodiratime"} <= options_at(made, "/m2")
    assert not {"relatime", "noatime"} & options_at(made, "/m3")
    assert "relatime" in options_at(made, "/m4")
    made.shell("cp /bin/busybox /m0/busybox")
    assert b"ermission denied" in made.exec(["sh", "-c", "/m0/busybox true"]).stderr
    made.shell("/m5/busybox true")
    assert list(made.status().mounts[1].mount_options) == ["nosuid", "nodev"]


@pytest.mark.berth
@pytest.mark.parametrize("options", [["rw"], ["sync"], ["exec"], ["bind"], ["size=1"], [""], ["noatime", "strictatime"]])
def test_mount_options_that_are_refused(pod, tmp_path, options):
    refused(Code.INVALID_ARGUMENT, "mount_options", pod.create, mounts=[
        {"host_path": str(tmp_path), "container_path": "/m", "mount_options": options}])


@pytest.mark.uml
def test_read_only_beneath_too(pod, tmp_path, shell):
    """readonly is of the mount itself; recursive_read_only of what is mounted beneath it as well."""
    features = {handler.name: handler.features for handler in pod.client.Status().runtime_handlers}
    (tmp_path / "sub").mkdir()
    shell("mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "sub"))
    try:
        mount = {"host_path": str(tmp_path), "container_path": "/m", "readonly": True}
        plain = pod.run_container(mounts=[mount])
        assert plain.exec(["touch", "/m/x"]).exit_code != 0 and plain.exec(["touch", "/m/sub/x"]).exit_code == 0
        everything = [dict(mount, recursive_read_only=True)]
        if features[""].recursive_read_only_mounts:
            made = pod.run_container(mounts=everything)
            for path in ("/m/x", "/m/sub/y"):
                assert b"Read-only" in made.exec(["touch", path]).stderr
            assert made.status().mounts[0].recursive_read_only
            made.remove()
        else:
            refused(Code.INVALID_ARGUMENT, "recursive_read_only", pod.create, mounts=everything)
        plain.remove()
    finally:
        shell("umount", "-R", str(tmp_path / "sub"))


@pytest.mark.uml
def test_mounts_both_ways(daemon, tmp_path, shell):
    shell("mount", "-t", "tmpfs", "tmpfs", str(tmp_path))
    try:
        shell("mount", "--make-shared", str(tmp_path))
        (tmp_path / "sub").mkdir()
        made = daemon.run_pod(privileged=True).run_container(security={"privileged": True}, mounts=[
            {"host_path": str(tmp_path), "container_path": "/m", "propagation": pb.PROPAGATION_BIDIRECTIONAL}])
        made.shell("mount -t tmpfs inside /m/sub && touch /m/sub/file")
        assert (tmp_path / "sub" / "file").exists()
        made.remove()
    finally:
        shell("umount", "-R", str(tmp_path))


def test_a_mount_in_place_of_a_default_one(pod, tmp_path):
    """The request's mounts win over /dev/shm, /etc/hostname and what is below a mount on /dev."""
    (tmp_path / "name").write_text("mine\n")
    (tmp_path / "log").write_text("")
    (tmp_path / "shm").mkdir()
    made = pod.run_container(mounts=[
        {"host_path": str(tmp_path / "shm"), "container_path": "/dev/shm"},
        {"host_path": str(tmp_path / "log"), "container_path": "/dev/termination-log"},
        {"host_path": str(tmp_path / "name"), "container_path": "/etc/hostname", "readonly": True}])
    assert made.output(["cat", "/etc/hostname"]) == "mine\n"
    made.shell("touch /dev/shm/x && echo last words > /dev/termination-log")
    assert (tmp_path / "shm" / "x").exists()
    assert (tmp_path / "log").read_text() == "last words\n"
    targets = [line.split()[1] for line in made.output(["cat", "/proc/mounts"]).splitlines()]
    assert targets.count("/dev/shm") == 1 and targets.count("/etc/hostname") == 1


def test_shared_memory_has_64_megabytes(pod):
    made = pod.run_container()
    size = made.output(["df", "-k", "/dev/shm"]).splitlines()[-1].split()[1]
    assert size == "65536"
    assert {"nosuid", "nodev", "noexec"} <= options_at(made, "/dev/shm")


@pytest.mark.berth
def test_a_source_that_is_no_folder_cannot_be_made(pod, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below", tmp_path / "loop"):
        if path.name == "loop":
            path.symlink_to(path)
        with pytest.raises(grpc.RpcError) as error:
            pod.create(mounts=[{"host_path": str(path), "container_path": "/m"}])
        assert str(path) in error.value.details()
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


# Images and the node

@pytest.mark.berth
def test_credentials_of_another_registry_are_refused(any_daemon):
    refused(Code.INVALID_ARGUMENT, "auth.server_address", any_daemon.client.PullImage,
            image=pb.ImageSpec(image="quay.io/berthtest/none:1"),
            auth=pb.AuthConfig(username="u", password="secret", server_address="https://example.org/v2/"))


def test_a_pull_for_a_pod(any_daemon):
    image = any_daemon.client.PullImage(image=pb.ImageSpec(
        image=pods.BUSYBOX, annotations={"a": "b"}, user_specified_image="busybox", runtime_handler="runc"),
        sandbox_config=pods.pod_config(any_daemon)).image_ref
    assert any_daemon.client.ImageStatus(image=pb.ImageSpec(image=image), verbose=True).info
    assert not any_daemon.client.ImageStatus(image=pb.ImageSpec(image=image)).info
    assert [found.id for found in any_daemon.client.ListImages(
        filter=pb.ImageFilter(image=pb.ImageSpec(image=image))).images] == [image]


@pytest.mark.berth
def test_images_that_are_refused(any_daemon):
    for field, value in (("runtime_handler", "a\nb"), ("user_specified_image", "a\nb"), ("image_ref", "a\nb"),
                         ("annotations", {"": "x"})):
        refused(Code.INVALID_ARGUMENT, f"image.{field}", any_daemon.client.PullImage,
                image=pb.ImageSpec(image=pods.BUSYBOX, **{field: value}))


def test_negative_timeouts(pod):
    made = pod.run_container()
    refused(Code.INVALID_ARGUMENT, "timeout", pod.client.ExecSync,
            pb.ExecSyncRequest(container_id=made.id, cmd=["true"], timeout=-1))
    refused(Code.INVALID_ARGUMENT, "timeout", pod.client.StopContainer,
            pb.StopContainerRequest(container_id=made.id, timeout=-1))
