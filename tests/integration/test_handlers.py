"""Runtime handlers: any number of OCI runtimes by name, each with its options."""
import json
import os
import re
import shutil
import signal
import subprocess

import grpc
import pytest

from harness import leaks, places, pods
from harness.cri import pb

pytestmark = pytest.mark.berth


@pytest.fixture
def node(scratch, tmp_path):
    """A daemon with handlers of its own: a script around crun that notes its arguments, and three that do not work."""
    script = tmp_path / "wrapper"
    script.write_text(f"#!/bin/sh\necho \"$*\" >> {tmp_path}/calls\nexec {shutil.which('crun')} \"$@\"\n")
    script.chmod(0o755)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no licence >&2\nexit 4\n")
    broken.chmod(0o755)
    daemon = scratch(runtime="crun", **{
        "runtimes.wrapped": {"path": str(script), "root": f"{tmp_path}/state", "options": ["--debug"],
                             "allowed_annotations": ["run.oci.test", "krun.*"],
                             "privileged_without_host_devices": True},
        "runtimes.second": {"path": shutil.which("runc"), "root": f"{tmp_path}/second"},
        "runtimes.absent": {"path": f"{tmp_path}/absent"},
        "runtimes.broken": {"path": str(broken)},
        "runtimes.kata": {},
    })
    daemon.folder = tmp_path
    return daemon


def config_json(daemon, container):
    with open(f"{daemon.state}/containers/{container.id}/config.json", encoding="utf-8") as config:
        return json.load(config)


def test_each_has_its_own_command_line(node):
    container = node.run_pod(runtime_handler="wrapped").run_container()
    calls = (node.folder / "calls").read_text().splitlines()
    creates = [call for call in calls if " create " in call]
    assert creates and all(call.startswith(f"--root {node.folder}/state --debug ") for call in creates), calls
    assert os.path.exists(f"{node.folder}/state/{container.id}")
    assert container.output(["echo", "hi"]) == "hi\n"
    other = node.run_pod(runtime_handler="second").run_container()
    assert os.path.exists(f"{node.folder}/second/{other.id}")
    container.remove()
    other.remove()
    assert not os.path.exists(f"{node.folder}/state/{container.id}")
    assert not os.path.exists(f"{node.folder}/second/{other.id}")


def test_annotations_reach_only_the_runtime_that_allows_them(node):
    annotations = {"run.oci.test": "1", "run.oci.testX": "2", "krun.cpus": "3", "mine": "4"}
    allowed = node.run_pod(runtime_handler="wrapped").create(command=["sh"], annotations=annotations)
    found = config_json(node, allowed)["annotations"]
    assert {key for key in annotations if key in found} == {"run.oci.test", "krun.cpus", "mine"}
    plain = node.run_pod().create(command=["sh"], annotations=annotations)
    found = config_json(node, plain)["annotations"]
    assert {key for key in annotations if key in found} == {"mine"}


def test_privileged_with_and_without_the_nodes_devices(node):
    def devices(handler):
        pod = node.run_pod(runtime_handler=handler, privileged=True)
        container = pod.create(command=["sh"], security={"privileged": True})
        return config_json(node, container)["linux"].get("devices", [])
    assert devices("crun") and not devices("wrapped")


def test_features_of_each_and_of_the_default(node):
    handlers = {handler.name: handler.features for handler in node.client.Status().runtime_handlers}
    assert set(handlers) == {"", "crun", "runc", "wrapped", "second"}
    assert handlers[""] == handlers["crun"]
    assert handlers["wrapped"] == handlers["crun"], "a script around crun can what crun can"
    assert handlers["second"] == handlers["runc"]
    assert handlers[""].recursive_read_only_mounts


def test_those_that_do_not_work_are_told_of(node):
    names = {"absent", "broken", "kata"}
    info = json.loads(node.client.Status(verbose=True).info["config"])
    runtimes = {item["name"]: item for item in info["runtimes"]}
    assert {name for name, item in runtimes.items() if "error" in item} == names
    assert "no licence" in runtimes["broken"]["error"]
    assert runtimes["wrapped"]["options"] == ["--debug"]
    assert runtimes["crun"]["features"]["recursiveReadOnlyMounts"] is True
    told = subprocess.run([places.program("berthctl"), "--socket", f"unix://{node.socket}", "status", "--json"],
                          check=True, stdout=subprocess.PIPE)
    shown = {item["name"]: item for item in json.loads(told.stdout)["handlers"]}
    assert {name for name, item in shown.items() if not item["ok"]} == names
    for name in names:
        assert f"handler={name}" in node.log()
        with pytest.raises(grpc.RpcError) as error:
            node.run_pod(runtime_handler=name)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and f"'{name}'" in error.value.details()
    assert not node.client.ListPodSandbox().items


@pytest.mark.parametrize("annotation", ["rdt.resources.beta.kubernetes.io/pod", "io.kubernetes.cri.blockio-class"])
def test_classes_that_the_node_does_not_have_are_told_of(node, annotation):
    container = node.run_pod(annotations={annotation: "gold"}).run_container()
    assert container.status().state == pb.CONTAINER_RUNNING
    assert f"annotation '{annotation}' has no effect" in node.log()


# Ends where it would take away the mount of its own program, when the file `killed` names the call.
KILLED = """#!/bin/sh
crun={crun}
case " $* " in
  *" $(cat {folder}/killed 2>/dev/null || echo none) "*)
    exec strace -o {folder}/strace -e trace=umount2 -e inject=umount2:signal=KILL:when=1 $crun "$@";;
esac
exec $crun "$@"
"""


@pytest.mark.skipif(not shutil.which("crun") or not shutil.which("strace"), reason="needs crun and strace")
@pytest.mark.parametrize("verb", ["create", "start", "exec"])
def test_what_a_killed_runtime_leaves_is_removed(scratch, tmp_path, verb):
    """crun mounts its program on a temporary file and runs that; in /tmp nobody would remove the two (leaks.py looks)."""
    script = tmp_path / "killed-crun"
    script.write_text(KILLED.format(crun=shutil.which("crun"), folder=tmp_path))
    script.chmod(0o755)
    daemon = scratch(runtime="killed", **{"runtimes.killed": {"path": str(script), "root": f"{tmp_path}/state"}})
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.create(command=["sleep", "100"]) if verb != "create" else None
    if verb == "exec":
        container.start()
    (tmp_path / "killed").write_text(verb)
    with pytest.raises(grpc.RpcError):
        {"create": lambda: pod.create(command=["sleep", "100"]), "start": lambda: container.start(),
         "exec": lambda: container.exec(["true"])}[verb]()
    (tmp_path / "killed").unlink()
    assert "killed by SIGKILL" in (tmp_path / "strace").read_text()
    # What a container's creation or an exec leaves goes with it; the rest with the next start.
    left = leaks.mounts([f"{daemon.state}/tmp/"])
    assert len(left) == (1 if verb == "start" else 0), left
    assert verb != "create" or not os.listdir(f"{daemon.state}/containers")
    daemon.restart(signal.SIGKILL)
    assert not leaks.mounts([f"{daemon.state}/tmp"])
    assert not os.listdir(f"{daemon.state}/tmp")


def _cpus(text):
    return re.search(r"Cpus_allowed_list:\s*(\S+)", text)[1]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_commands_run_on_the_first_cpu_where_the_handler_says_so(scratch, runtime):
    if not os.path.exists("/sys/fs/cgroup/cpuset"):
        pytest.skip("this kernel has no cpuset controller")
    daemon = scratch(runtime=runtime, **{"runtimes.first": {"path": shutil.which(runtime), "root": f"/run/{runtime}",
                                                            "exec_cpu_affinity": "first"}})
    first, second = sorted(os.sched_getaffinity(0))[:2]
    both = f"{first},{second}" if second > first + 1 else f"{first}-{second}"
    pod = daemon.run_pod(network=pods.NODE, runtime_handler="first")
    container = pod.run_container(resources={"cpuset_cpus": f"{second},{first}"})
    status = ["cat", "/proc/self/status"]
    assert _cpus(container.output(status)) == str(first)
    assert _cpus(container.output(["cat", "/proc/1/status"])) == both
    assert config_json(daemon, container)["process"]["execCPUAffinity"] == {"initial": str(first), "final": str(first)}
    daemon.client.UpdateContainerResources(container_id=container.id,
                                           linux=pb.LinuxContainerResources(cpuset_cpus=str(second)))
    assert _cpus(container.output(status)) == str(second)
    assert _cpus(pod.run_container().output(status)) == _cpus(open("/proc/self/status", encoding="utf-8").read())
    other = daemon.run_pod(network=pods.NODE).run_container(resources={"cpuset_cpus": both})
    assert _cpus(other.output(status)) == both


# Runs a program for which the kernel has no mount_setattr (number 442 everywhere): a seccomp filter answers ENOSYS.
OLD_KERNEL = """
import ctypes, os, struct, sys
code = b"".join(struct.pack("HBBI", *part) for part in (
    (0x20, 0, 0, 0), (0x15, 0, 1, 442), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7fff0000)))
program = ctypes.create_string_buffer(code)
filter = struct.pack("HxxxxxxP", 4, ctypes.addressof(program))
if ctypes.CDLL(None, use_errno=True).prctl(22, 2, filter, 0, 0):
    sys.exit(f"no filter: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_kernel_without_mount_setattr(scratch, tmp_path, runtime):
    """Recursive read-only mounts are asked of the kernel too, not only of the runtime."""
    daemon = scratch(runtime=runtime, wait=False)
    command = daemon.command()
    daemon.command = lambda: ["/usr/bin/python3", "-c", OLD_KERNEL, *command]
    daemon.start()
    for handler in daemon.client.Status().runtime_handlers:
        assert not handler.features.recursive_read_only_mounts, handler
    pod = daemon.run_pod(network=pods.NODE)
    mount = {"container_path": "/x", "host_path": str(tmp_path), "readonly": True}
    with pytest.raises(grpc.RpcError) as error:
        pod.create(mounts=[dict(mount, recursive_read_only=True)])
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "this kernel, does not support recursive_read_only" in error.value.details()
    assert pod.run_container(mounts=[mount]).exec(["touch", "/x/file"]).exit_code != 0
