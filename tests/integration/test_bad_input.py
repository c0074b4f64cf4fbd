"""Requests that make no sense, images and runtimes that are missing or fail: the right code, a clear word, no change."""
import os
import stat
import time

import grpc
import pytest

from harness import pods
from harness.cri import pb

pytestmark = pytest.mark.berth
Code = grpc.StatusCode
UNKNOWN = "f" * 64


def refused(call, *args, **fields):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **fields)
    return error.value


@pytest.mark.uml
def test_unknown_objects(any_daemon):
    client = any_daemon.client
    for call, field in ((client.PodSandboxStatus, "pod_sandbox_id"), (client.ContainerStatus, "container_id"),
                        (client.StartContainer, "container_id"), (client.ReopenContainerLog, "container_id")):
        error = refused(call, **{field: UNKNOWN})
        assert error.code() == Code.NOT_FOUND
        assert UNKNOWN in error.details() or UNKNOWN[:12] in error.details()
    assert refused(client.ExecSync, container_id=UNKNOWN, cmd=["true"]).code() == Code.NOT_FOUND
    config = pb.ContainerConfig(metadata=pb.ContainerMetadata(name="x"), image=pb.ImageSpec(image=pods.BUSYBOX))
    error = refused(client.CreateContainer, pod_sandbox_id=UNKNOWN, config=config)
    assert error.code() == Code.NOT_FOUND


@pytest.mark.parametrize("identity", ["", "zz", "../../etc", "a" * 65, "A" * 64, "\n", "*", "%s%s%n"])
def test_ids_that_are_none(any_daemon, identity):
    client = any_daemon.client
    for call, fields in ((client.ContainerStatus, {"container_id": identity}), (client.PodSandboxStatus, {"pod_sandbox_id": identity}),
                         (client.StartContainer, {"container_id": identity}), (client.ExecSync, {"container_id": identity, "cmd": ["x"]})):
        assert refused(call, **fields).code() in (Code.NOT_FOUND, Code.INVALID_ARGUMENT)
    for call, field in ((client.StopContainer, "container_id"), (client.RemoveContainer, "container_id"),
                        (client.StopPodSandbox, "pod_sandbox_id"), (client.RemovePodSandbox, "pod_sandbox_id")):
        if identity == "":
            assert refused(call, **{field: identity}).code() == Code.INVALID_ARGUMENT
        else:
            call(**{field: identity})


def container_cases(pod):
    """name -> a change of a good container configuration that must be refused."""
    mount = lambda **fields: [pb.Mount(**fields)]
    return {
        "no-metadata": lambda c: c.ClearField("metadata"),
        "no-name": lambda c: c.metadata.ClearField("name"),
        "no-image": lambda c: c.ClearField("image"),
        "empty-image": lambda c: c.image.Clear(),
        "relative-mount": lambda c: c.mounts.extend(mount(container_path="relative", host_path="/tmp")),
        "empty-mount-target": lambda c: c.mounts.extend(mount(container_path="", host_path="/tmp")),
        "relative-host-path": lambda c: c.mounts.extend(mount(container_path="/x", host_path="tmp")),
        "mount-with-nul": lambda c: c.mounts.extend(mount(container_path="/x\0y", host_path="/tmp")),
        "env-without-name": lambda c: c.envs.extend([pb.KeyValue(key="", value=b"x")]),
        "env-name-with-equals": lambda c: c.envs.extend([pb.KeyValue(key="A=B", value=b"x")]),
        "env-with-nul": lambda c: c.envs.extend([pb.KeyValue(key="A", value=b"x\0y")]),
        "relative-directory": lambda c: setattr(c, "working_dir", "relative"),
        "log-path-absolute": lambda c: setattr(c, "log_path", "/etc/passwd"),
        "log-path-dotdot": lambda c: setattr(c, "log_path", "../x"),
        "negative-user": lambda c: c.linux.security_context.run_as_user.CopyFrom(pb.Int64Value(value=-1)),
        "user-beyond-32-bits": lambda c: c.linux.security_context.run_as_user.CopyFrom(pb.Int64Value(value=1 << 32)),
        "group-without-user": lambda c: c.linux.security_context.run_as_group.CopyFrom(pb.Int64Value(value=1)),
        "negative-group": lambda c: c.linux.security_context.supplemental_groups.append(-5),
        "negative-memory": lambda c: setattr(c.linux.resources, "memory_limit_in_bytes", -5),
        "bad-cpuset": lambda c: setattr(c.linux.resources, "cpuset_cpus", "0-banana"),
        "command-with-nul": lambda c: c.command.append("x\0y"),
        "unknown-target": lambda c: c.linux.security_context.namespace_options.CopyFrom(
            pb.NamespaceOption(pid=pb.TARGET, target_id=UNKNOWN)),
    }


CASES = sorted(container_cases(None))


@pytest.mark.uml
@pytest.mark.parametrize("case", CASES)
def test_container_configurations(any_daemon, case):
    any_daemon.need(pods.BUSYBOX)
    pod = any_daemon.run_pod(network=pods.NODE)
    config = pods.container_config(pod, command=["sleep", "1000"])
    container_cases(pod)[case](config)
    error = refused(any_daemon.client.CreateContainer, pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config)
    expected = (Code.NOT_FOUND, Code.INVALID_ARGUMENT) if case == "unknown-target" else (Code.INVALID_ARGUMENT,)
    assert error.code() in expected, error
    assert error.details()
    assert not any_daemon.client.ListContainers().containers


def pod_cases():
    return {
        "hostname-too-long": lambda c: setattr(c, "hostname", "x" * 100),
        "hostname-with-slash": lambda c: setattr(c, "hostname", "a/b"),
        "hostname-with-newline": lambda c: setattr(c, "hostname", "a\nb"),
        "nameserver-with-newline": lambda c: c.dns_config.servers.append("1.2.3.4\noptions evil"),
        "search-with-newline": lambda c: c.dns_config.searches.append("a\nnameserver 6.6.6.6"),
        "relative-log-directory": lambda c: setattr(c, "log_directory", "logs"),
        "cgroup-parent-dotdot": lambda c: setattr(c.linux, "cgroup_parent", "/../../x"),
        "sysctl-with-newline": lambda c: c.linux.sysctls.update({"net.ipv4.ip_forward": "1\nkernel.core_pattern=x"}),
        "sysctl-slashes": lambda c: c.linux.sysctls.update({"net/../kernel/core_pattern": "x"}),
        "huge-label": lambda c: c.labels.update({"x": "y" * 5000}),
        "name-with-nul": lambda c: setattr(c.metadata, "name", "a\0b"),
        "target-namespace": lambda c: c.linux.security_context.namespace_options.CopyFrom(pb.NamespaceOption(pid=pb.TARGET)),
    }


@pytest.mark.uml
@pytest.mark.parametrize("case", sorted(pod_cases()))
def test_pod_configurations(any_daemon, case):
    config = pods.pod_config(any_daemon)
    pod_cases()[case](config)
    error = refused(any_daemon.client.RunPodSandbox, config=config)
    assert error.code() == Code.INVALID_ARGUMENT, error
    assert not any_daemon.client.ListPodSandbox().items


def test_an_image_that_is_not_there(any_daemon):
    pod = any_daemon.run_pod(network=pods.NODE)
    config = pods.container_config(pod, image="docker.io/library/never-pulled:1", command=["x"])
    error = refused(any_daemon.client.CreateContainer, pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config)
    assert error.code() == Code.NOT_FOUND
    assert "never-pulled" in error.details()
    assert not any_daemon.client.ImageStatus(image=pb.ImageSpec(image="docker.io/library/never-pulled:1")).HasField("image")


@pytest.mark.uml
@pytest.mark.parametrize("command", ["/no/such/command", "/etc/passwd", "/tmp"])
def test_a_command_that_cannot_run(daemon, command):
    """The reason is told, by the runtime, at creation or at the start; nothing of the container runs or stays."""
    pod = daemon.run_pod(network=pods.NODE)
    daemon.need(pods.BUSYBOX)
    try:
        container = pod.create(command=[command])
    except grpc.RpcError as error:
        assert command in error.details() or "executable" in error.details(), error
        assert not daemon.client.ListContainers().containers
        return
    error = refused(container.start)
    assert command in error.details() or "exec" in error.details(), error
    status = container.status()
    assert status.state == pb.CONTAINER_EXITED and status.exit_code != 0 and status.message
    container.remove()


def test_huge_requests(any_daemon):
    pod = any_daemon.run_pod(network=pods.NODE)
    any_daemon.need(pods.BUSYBOX)
    container = pod.run_container(env={f"V{n}": "x" * 1000 for n in range(1000)})
    assert container.output(["sh", "-c", "env | wc -l"]).strip() >= "1000"
    config = pods.container_config(pod, command=["x" * (32 << 20)])
    error = refused(any_daemon.client.CreateContainer, pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config)
    assert error.code() in (Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED, Code.UNKNOWN, Code.INTERNAL, Code.FAILED_PRECONDITION)
    assert any_daemon.client.Version().runtime_name == "berth"


def fake_runtime(tmp_path, script):
    path = tmp_path / "runtime"
    path.write_text(f"#!/bin/sh\n{script}\n")
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("name,script,word", [
    ("fails", "echo 'cannot do that today' >&2; exit 3", "cannot do that today"), ("says-nothing", "exit 0", ""),
    ("killed", "kill -9 $$", ""), ("chatters", "yes | head -c 3000000 >&2; exit 1", "")])
def test_a_runtime_that_fails(scratch, tmp_path, name, script, word):
    path = fake_runtime(tmp_path, f"""case "$*" in *--version*) echo "fake 1.0"; exit 0;; *features*) echo '{{}}'; exit 0;; *delete*) exit 0;; esac
{script}""")
    daemon = scratch(runtime="fake", **{"runtimes.fake": {"path": path}})
    pod = daemon.run_pod(network=pods.NODE)
    daemon.need(pods.BUSYBOX)
    error = refused(pod.create, command=["true"])
    assert error.code() not in (Code.OK, Code.UNIMPLEMENTED)
    assert word in error.details()
    assert len(error.details()) < 20000
    assert not daemon.client.ListContainers().containers


def test_a_runtime_that_hangs(scratch, tmp_path):
    path = fake_runtime(tmp_path, """case "$*" in *--version*) echo "fake 1.0"; exit 0;; *features*) echo '{}'; exit 0;; *create*) exec sleep 600;; esac""")
    daemon = scratch(runtime="fake", **{"runtimes.fake": {"path": path}})
    pod = daemon.run_pod(network=pods.NODE)
    daemon.need(pods.BUSYBOX)
    config = pods.container_config(pod, command=["true"])
    start = time.monotonic()
    error = refused(daemon.client.CreateContainer, pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config, timeout=2)
    assert error.code() == Code.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 10


def test_a_runtime_that_is_missing(scratch):
    """Either berthd does not start, naming it, or pods that ask for it are refused, naming it."""
    daemon = scratch(**{"runtimes.gone": {"path": "/no/such/runtime"}})
    try:
        pod = daemon.run_pod(network=pods.NODE, runtime_handler="gone")
    except grpc.RpcError as error:
        assert "gone" in error.details() or "/no/such/runtime" in error.details()
        return
    daemon.need(pods.BUSYBOX)
    error = refused(pod.create, command=["true"])
    assert "/no/such/runtime" in error.details()
    assert not daemon.client.ListContainers().containers


def test_raw_garbage_on_the_socket_does_no_harm(any_daemon):
    import socket
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 10000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(2)
            raw.connect(any_daemon.socket)
            raw.sendall(data)
            try:
                raw.recv(100)
            except OSError:
                pass
    assert any_daemon.client.Version().runtime_name == "berth"


def test_wrong_bytes_for_every_rpc(any_daemon):
    """Each RPC is called with bytes that are no such message, and with an empty one."""
    for service in pb.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            for data in (b"\xff\xff\xff\xff", b""):
                call = any_daemon.client.channel.unary_stream(f"/{service.full_name}/{method.name}")
                try:
                    for _ in call(data, timeout=10):
                        break
                except grpc.RpcError as error:
                    assert error.code() != Code.UNAVAILABLE, (method.name, error)
    assert any_daemon.client.Version().runtime_name == "berth"
