"""What containers are given and denied: mounts, capabilities, devices, paths, and limits."""
import json
import os
import re
import stat
import subprocess
import time

import grpc
import pytest

from harness import places, pods
from harness.cri import pb
from images import catalog, oci

pytestmark = pytest.mark.uml
PROBES = "docker.io/berthtest/probes:1"
PREDEFINED_GROUP = "gcr.io/k8s-staging-cri-tools/test-image-predefined-group:latest"


def code_of(call, *args, **fields):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **fields)
    return error.value.code()


def capabilities(text, name):
    """A capability set of /proc/PID/status as numbers."""
    mask = int(re.search(rf"^{name}:\s*([0-9a-f]+)", text, re.MULTILINE)[1], 16)
    return {number for number in range(64) if mask >> number & 1}


# Mounts

def test_a_host_folder(daemon, tmp_path):
    (tmp_path / "in").write_text("from the host")
    container = daemon.run_pod().run_container(mounts=[{"host_path": str(tmp_path), "container_path": "/data"}])
    assert container.output(["cat", "/data/in"]) == "from the host"
    container.shell("echo from the container > /data/out")
    assert (tmp_path / "out").read_text() == "from the container\n"


def test_a_read_only_mount(daemon, tmp_path):
    container = daemon.run_pod().run_container(
        mounts=[{"host_path": str(tmp_path), "container_path": "/data", "readonly": True}])
    answer = container.exec(["touch", "/data/x"])
    assert answer.exit_code != 0 and b"Read-only" in answer.stderr


def test_a_single_file(daemon, tmp_path):
    (tmp_path / "hosts").write_text("1.2.3.4 somewhere\n")
    container = daemon.run_pod().run_container(
        mounts=[{"host_path": str(tmp_path / "hosts"), "container_path": "/etc/hosts"}])
    assert container.output(["cat", "/etc/hosts"]) == "1.2.3.4 somewhere\n"


def test_a_symlink_of_the_host_is_resolved(daemon, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("x")
    (tmp_path / "link").symlink_to("real")
    container = daemon.run_pod().run_container(
        mounts=[{"host_path": str(tmp_path / "link"), "container_path": "/data"}])
    assert container.output(["cat", "/data/file"]) == "x"


def test_a_missing_host_path_is_made(daemon, tmp_path):
    daemon.run_pod().run_container(
        mounts=[{"host_path": str(tmp_path / "new" / "folder"), "container_path": "/data"}])
    assert stat.S_IMODE((tmp_path / "new" / "folder").stat().st_mode) == 0o755


def test_mounts_inside_mounts(daemon, tmp_path):
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    (tmp_path / "outer" / "sub").mkdir()
    container = daemon.run_pod().run_container(mounts=[
        {"host_path": str(tmp_path / "inner"), "container_path": "/data/sub"},
        {"host_path": str(tmp_path / "outer"), "container_path": "/data"}])
    assert container.output(["cat", "/data/outer", "/data/sub/inner"]) == "outerinner"


@pytest.mark.berth
def test_a_mount_target_cannot_leave_the_root(daemon, tmp_path):
    """The image's /etc leads to the host's /etc: the mount must land in the container all the same."""
    image = oci.Image([catalog.static_layer(), oci.Layer([oci.symlink("out", str(tmp_path))])], catalog.SHELL)
    archive, reference = tmp_path / "image", "localhost/out:1"
    oci.write_layout(str(archive), image, name=reference)
    subprocess.run([places.program("berthctl"), "--socket", f"unix://{daemon.socket}", "import", str(archive)],
                   check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "source").write_text("x")
    try:
        daemon.run_pod().run_container(
            image=reference, mounts=[{"host_path": str(tmp_path / "source"), "container_path": "/out/planted"}])
    except grpc.RpcError:
        pass
    assert not (tmp_path / "planted").exists()
    daemon.remove_pods()
    daemon.client.RemoveImage(image=pb.ImageSpec(image=reference))


def test_propagation(daemon, tmp_path, shell):
    shell("mount", "-t", "tmpfs", "tmpfs", str(tmp_path))
    try:
        shell("mount", "--make-shared", str(tmp_path))
        (tmp_path / "sub").mkdir()
        pod = daemon.run_pod()
        mount = lambda propagation: [{"host_path": str(tmp_path), "container_path": "/data", "propagation": propagation}]
        private = pod.run_container(mounts=mount(pb.PROPAGATION_PRIVATE))
        follower = pod.run_container(mounts=mount(pb.PROPAGATION_HOST_TO_CONTAINER))
        shell("mount", "-t", "tmpfs", "tmpfs", str(tmp_path / "sub"))
        (tmp_path / "sub" / "file").write_text("x")
        assert private.exec(["cat", "/data/sub/file"]).exit_code != 0
        assert follower.output(["cat", "/data/sub/file"]) == "x"
        private.remove()
        follower.remove()
    finally:
        shell("umount", "-R", str(tmp_path))


@pytest.mark.berth
def test_propagation_from_a_private_mount_is_refused(daemon, tmp_path, shell):
    shell("mount", "-t", "tmpfs", "tmpfs", str(tmp_path))
    shell("mount", "--make-private", str(tmp_path))
    try:
        pod = daemon.run_pod()
        for propagation in (pb.PROPAGATION_BIDIRECTIONAL, pb.PROPAGATION_HOST_TO_CONTAINER):
            with pytest.raises(grpc.RpcError) as error:
                pod.create(mounts=[{"host_path": str(tmp_path), "container_path": "/d", "propagation": propagation}])
            assert "shared" in error.value.details() or "slave" in error.value.details()
    finally:
        shell("umount", "-R", str(tmp_path))


def test_a_read_only_root(daemon, tmp_path):
    container = daemon.run_pod().run_container(
        security={"readonly_rootfs": True}, mounts=[{"host_path": str(tmp_path), "container_path": "/data"}])
    assert b"Read-only" in container.exec(["touch", "/x"]).stderr
    assert container.exec(["touch", "/data/x"]).exit_code == 0


def test_writes_stay_in_their_container(daemon):
    pod = daemon.run_pod()
    one, two = pod.run_container(), pod.run_container()
    one.shell("echo mine > /etc/passwd; rm /bin/vi; mkdir /new")
    assert "root:" in two.output(["cat", "/etc/passwd"])
    assert two.exec(["ls", "/bin/vi", "/new"]).stdout == b"/bin/vi\n"


# Capabilities and users

def test_default_capabilities(daemon):
    text = daemon.run_pod().run_container().output(["cat", "/proc/1/status"])
    effective = capabilities(text, "CapEff")
    assert 21 not in effective and 12 not in effective, "SYS_ADMIN or NET_ADMIN by default"
    assert {0, 1, 3, 4, 5, 6, 7, 8, 10} <= effective | {18}
    assert capabilities(text, "CapInh") == set(), "inheritable capabilities (CVE-2022-24769)"
    assert capabilities(text, "CapAmb") == set()


@pytest.mark.berth
def test_the_nine_default_capabilities_exactly(daemon):
    text = daemon.run_pod().run_container().output(["cat", "/proc/1/status"])
    nine = {0, 1, 3, 4, 5, 6, 7, 8, 10}
    assert capabilities(text, "CapEff") == capabilities(text, "CapBnd") == capabilities(text, "CapPrm") == nine


@pytest.mark.parametrize("add,drop,has,lacks", [
    (["NET_ADMIN"], [], {12, 0}, {21}), pytest.param(
        ["CAP_NET_ADMIN", "cap_sys_time"], [], {12, 25}, {21}, marks=pytest.mark.berth), ([], ["CHOWN"], {1}, {0}),
    ([], ["ALL"], set(), set(range(40))), (["NET_ADMIN"], ["ALL"], {12}, {0, 1}), (["ALL"], ["CHOWN"], {21, 12}, {0})])
def test_added_and_dropped_capabilities(daemon, add, drop, has, lacks):
    container = daemon.run_pod().run_container(security={
        "capabilities": pb.Capability(add_capabilities=add, drop_capabilities=drop)})
    effective = capabilities(container.output(["cat", "/proc/1/status"]), "CapEff")
    assert has <= effective and not lacks & effective


@pytest.mark.berth
def test_an_unknown_capability_is_refused(daemon):
    pod = daemon.run_pod()
    daemon.need(pods.BUSYBOX)
    with pytest.raises(grpc.RpcError) as error:
        pod.create(security={"capabilities": pb.Capability(add_capabilities=["FLY"])})
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "FLY" in error.value.details()


def test_other_users_have_no_capabilities(daemon):
    container = daemon.run_pod().run_container(security={"run_as_user": 1000})
    assert capabilities(container.output(["cat", "/proc/1/status"]), "CapEff") == set()


@pytest.mark.berth
def test_ambient_capabilities(daemon):
    """They reach a program that another user runs, and an exec session; nothing else is inheritable."""
    container = daemon.run_pod().run_container(security={
        "run_as_user": 1000, "capabilities": pb.Capability(add_ambient_capabilities=["NET_BIND_SERVICE"])})
    for path in ("/proc/1/status", "/proc/self/status"):
        text = container.output(["cat", path])
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert capabilities(text, name) == {10}, (path, name)
        assert 12 not in capabilities(text, "CapBnd")


@pytest.mark.berth
@pytest.mark.parametrize("policy,expected", [(pb.Merge, {"1000", "50000", "7"}), (pb.Strict, {"1000", "7"})],
                         ids=["Merge", "Strict"])
def test_supplemental_groups_policy(daemon, policy, expected):
    """The image's /etc/group has its user, 1000, in group 50000; Strict leaves that out."""
    container = daemon.run_pod().run_container(image=PREDEFINED_GROUP, security={
        "run_as_user": 1000, "supplemental_groups": [7], "supplemental_groups_policy": policy})
    with open(f"/proc/{container.host_pid()}/status", encoding="utf-8") as status:
        groups = re.search(r"^Groups:\s*(.*)$", status.read(), re.MULTILINE)[1].split()
    assert {*groups, "1000"} == expected
    assert set(container.output(["id", "-G"]).split()) == expected


def test_a_privileged_container_has_what_the_daemon_has(daemon):
    container = daemon.run_pod(privileged=True).run_container(security={"privileged": True})
    with open(f"/proc/{daemon.pid}/status", encoding="utf-8") as own:
        bounding = capabilities(own.read(), "CapBnd")
    text = container.output(["cat", "/proc/1/status"])
    assert capabilities(text, "CapEff") == bounding
    host = {name for name in ("kmsg", "mem", "fuse") if os.path.exists(f"/dev/{name}")}
    assert host <= set(container.output(["ls", "/dev"]).split())
    container.shell("mkdir -p /mnt && mount -t tmpfs tmpfs /mnt && umount /mnt")


@pytest.mark.berth
def test_a_privileged_container_needs_a_privileged_pod(daemon):
    pod = daemon.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.create(security={"privileged": True})
    assert "privileged" in error.value.details()


def test_no_new_privileges(daemon):
    pod = daemon.run_pod()
    for wanted in (True, False):
        text = pod.run_container(security={"no_new_privs": wanted}).output(["cat", "/proc/1/status"])
        assert f"NoNewPrivs:\t{int(wanted)}" in text


@pytest.mark.berth
def test_sockets_that_the_default_filter_refuses(daemon):
    """AF_ALG, AF_VSOCK, and both with bits above the 32 that the kernel looks at; the audit socket as PAM wants it."""
    pod = daemon.run_pod()
    asked = ["26", "28", "100000026", "100000028", "10:9", "10:0", "1"]

    def answers(**security):
        container = pod.run_container(image=PROBES, security=security)
        return container.output(["sockets", *asked]).split("\n")[:-1]
    confined = {"seccomp": pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)}
    refused = ["26 97", "28 97", "100000026 97", "100000028 97"]
    assert answers(**confined) == [*refused, "10:9 22", "10:0 ok", "1 ok"]
    auditor = pb.Capability(add_capabilities=["AUDIT_WRITE"])
    assert answers(capabilities=auditor, **confined) == [*refused, "10:9 ok", "10:0 ok", "1 ok"]
    assert answers()[4:] == ["10:9 ok", "10:0 ok", "1 ok"]


def test_masked_and_read_only_paths(daemon):
    container = daemon.run_pod().run_container(security={
        "masked_paths": ["/etc/passwd"], "readonly_paths": ["/tmp"]})
    assert container.output(["cat", "/etc/passwd"]) == ""
    assert b"Read-only" in container.exec(["touch", "/tmp/x"]).stderr


@pytest.mark.berth
@pytest.mark.parametrize("asked", [["/proc/kcore"], []], ids=["asked", "empty"])
def test_default_masked_paths(daemon, asked):
    """None asked for means unmasked only to a pod with a user namespace of its own."""
    container = daemon.run_pod().run_container(security={"masked_paths": asked})
    for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/interrupts"):
        if os.path.exists(path):
            answer = container.exec(["cat", path])
            assert answer.stdout == b"", path
    assert container.output(["ls", "/sys/firmware"]) == ""


def test_the_host_is_out_of_reach(daemon):
    # The paths are those that the kubelet asks for.
    container = daemon.run_pod().run_container(security={
        "readonly_paths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        "masked_paths": ["/proc/kcore", "/proc/interrupts"]})
    assert container.output(["ls", "/proc"]).split().count("1") == 1
    assert "sysfs /sys sysfs ro" in container.output(["cat", "/proc/mounts"])
    assert container.output(["cat", "/proc/interrupts"]) == ""
    for path in ("/proc/sys/kernel/hostname", "/proc/sysrq-trigger"):
        assert container.exec(["sh", "-c", f"echo x > {path}"]).exit_code != 0


@pytest.mark.berth
def test_default_limits_of_the_configuration(scratch, runtime):
    daemon = scratch(runtime=runtime)
    with open(f"{daemon.base}/conf.d/50-limits.toml", "w", encoding="utf-8") as out:
        out.write('[runtime]\ndefault_ulimits = ["nofile=123:456", "core=0:0"]\n')
    daemon.restart()
    container = daemon.run_pod().run_container()
    for path in ("/proc/1/limits", "/proc/self/limits"):
        text = container.output(["cat", path])
        # An exec session of Debian's runc sometimes starts with the soft limit of open files at the hard one: the Go
        # runtime of the process that becomes the command raises it (opencontainers/runc issue 4195).
        soft = "(123|456)" if (path, runtime) == ("/proc/self/limits", "runc") else "123"
        assert re.search(rf"^Max open files +{soft} +456 ", text, re.MULTILINE), (path, text)
        assert re.search(r"^Max core file size +0 +0 ", text, re.MULTILINE), path


# Devices

def test_a_device(daemon):
    container = daemon.run_pod().run_container(devices=[
        pb.Device(container_path="/dev/mine", host_path="/dev/zero", permissions="rwm")])
    assert container.output(["head", "-c", "3", "/dev/mine"]) == "\0\0\0"
    listing = set(container.output(["ls", "/dev"]).split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "mine"} <= listing
    assert not listing & {"sda", "vda", "mem", "kmsg", "loop-control"}


def test_a_device_is_no_mere_node(daemon):
    """A node made inside opens nothing that the device cgroup does not allow."""
    container = daemon.run_pod().run_container(security={
        "capabilities": pb.Capability(add_capabilities=["MKNOD"])})
    answer = container.exec(["sh", "-c", "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg"])
    assert answer.exit_code != 0


@pytest.mark.berth
def test_a_device_that_is_not_there_is_refused(daemon):
    pod = daemon.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.create(devices=[pb.Device(container_path="/dev/x", host_path="/dev/no-such", permissions="r")])
    assert "/dev/no-such" in error.value.details()


# Limits

def parent_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return int(stat.read().rsplit(")", 1)[1].split()[1])


def cgroup_value(container, *names):
    """What a limit is as the host sees it: the first of `names` (v2 name, v1 controller/name) that exists."""
    with open(f"/proc/{container.host_pid()}/cgroup", encoding="utf-8") as lines:
        for line in lines:
            _, controllers, path = line.strip().split(":", 2)
            folders = ["/sys/fs/cgroup" + path, f"/sys/fs/cgroup/unified{path}"] if not controllers else \
                [f"/sys/fs/cgroup/{name}{path}" for name in controllers.split(",")]
            for folder in folders:
                for name in names:
                    try:
                        with open(f"{folder}/{name}", encoding="utf-8") as value:
                            return value.read().strip()
                    except OSError:
                        pass
    raise AssertionError(f"none of {names} in the cgroups of {container.id}")


def has_cpusets():
    """User-Mode Linux's kernel has none."""
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        with open("/sys/fs/cgroup/cgroup.controllers", encoding="utf-8") as names:
            return "cpuset" in names.read().split()
    return os.path.exists("/sys/fs/cgroup/cpuset")


def test_limits_reach_the_kernel(daemon):
    cpus = {"cpuset_cpus": "0"} if has_cpusets() else {}
    container = daemon.run_pod().run_container(resources={
        "memory_limit_in_bytes": 96 << 20, "memory_swap_limit_in_bytes": 96 << 20, "cpu_shares": 512,
        "cpu_quota": 50000, "cpu_period": 100000, **cpus})
    assert cgroup_value(container, "memory.max", "memory.limit_in_bytes") == str(96 << 20)
    assert cgroup_value(container, "cpu.max", "cpu.cfs_quota_us") in ("50000 100000", "50000")
    assert cgroup_value(container, "cpu.weight", "cpu.shares") in ("20", "512", "59")
    if cpus:
        assert cgroup_value(container, "cpuset.cpus") == "0"


def test_out_of_memory(daemon):
    container = daemon.run_pod().run_container(
        image=PROBES, command=["eat_memory"],
        resources={"memory_limit_in_bytes": 24 << 20, "memory_swap_limit_in_bytes": 24 << 20})
    status = container.wait_exited(60)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


@pytest.mark.berth
def test_a_limit_below_the_runtimes_own_need_is_refused(daemon):
    pod = daemon.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.create(resources={"memory_limit_in_bytes": 4096})
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "memory" in error.value.details()


@pytest.mark.berth
def test_an_oom_score_that_may_not_be_is_clamped(daemon):
    container = daemon.run_pod().run_container(resources={"oom_score_adj": -998})
    with open(f"/proc/{container.host_pid()}/oom_score_adj", encoding="utf-8") as value:
        got = int(value.read())
    with open(f"/proc/{daemon.pid}/status", encoding="utf-8") as own:
        able = 24 in capabilities(own.read(), "CapEff")
    if able:
        assert got == -998
    else:
        assert got >= 0
        assert daemon.log().count("oom_score_adj") >= 1
    assert container.exec(["true"]).exit_code == 0


def test_a_positive_oom_score_is_set(daemon):
    container = daemon.run_pod().run_container(resources={"oom_score_adj": 700})
    with open(f"/proc/{container.host_pid()}/oom_score_adj", encoding="utf-8") as value:
        assert value.read().strip() == "700"


@pytest.mark.berth
def test_the_pause_is_small_and_confined(any_daemon):
    pod = any_daemon.run_pod()
    pid = json.loads(pod.info()["info"])["pid"]
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as lines:
        assert any_daemon.cgroup_parent.lstrip("/") in lines.read()
    with open(f"/proc/{pid}/status", encoding="utf-8") as text:
        threads = re.search(r"^Threads:\s*(\d+)", text.read(), re.MULTILINE)[1]
    assert threads == "1"


@pytest.mark.berth
def test_the_monitor_is_the_pods_and_not_the_daemons(any_daemon):
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        pytest.skip("needs cgroup v2: on v1 a process cannot be born in a cgroup, and the monitor stays in the daemon's")
    pod = any_daemon.run_pod(network=pods.NODE)
    container = pod.run_container(command=["sleep", "1000"])
    monitor = parent_of(container.host_pid())
    with open(f"/proc/{monitor}/cgroup", encoding="utf-8") as lines:
        assert lines.read().strip().split("/")[-1] in (f"berth-{pod.id}", f"berth-{pod.id}.scope")


def test_a_container_dies_while_others_live(daemon):
    pod = daemon.run_pod()
    one = pod.run_container(command=["sleep", "1000"])
    two = pod.run_container(command=["sleep", "1000"])
    os.kill(one.host_pid(), 9)
    assert one.wait_exited().exit_code == 137
    time.sleep(0.2)
    assert two.status().state == pb.CONTAINER_RUNNING
    assert two.exec(["true"]).exit_code == 0


@pytest.mark.berth
def test_systemd_as_the_command_has_cgroups_of_its_own(any_daemon, fault_registry):
    """It gets the file systems it expects; on cgroup v2 it can make cgroups, and cannot lift the container's limits."""
    init = oci.file("sbin/init", "#!/bin/sh\nexec sleep 1000\n", mode=0o755)
    reference = fault_registry.serve("isolation/init", catalog.small([init]))
    any_daemon.pull(reference)
    container = any_daemon.run_pod(network=pods.NODE).run_container(
        image=reference, command=["/sbin/init"], resources={"memory_limit_in_bytes": 64 << 20})
    assert container.output(["sh", "-c", "grep -c ^tmpfs./tmp /proc/mounts; echo $container"]).split() == ["1", "berth"]
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        assert b"Read-only" in container.exec(["mkdir", "/sys/fs/cgroup/memory/inner"]).stderr
        return
    assert container.exec(["mkdir", "/sys/fs/cgroup/inner"]).exit_code == 0
    # Everything can go into it, but the node's limit stays.
    container.shell("for pid in $(cat /sys/fs/cgroup/cgroup.procs); do echo $pid > /sys/fs/cgroup/inner/cgroup.procs; done 2>/dev/null; true")
    assert container.output(["cat", "/sys/fs/cgroup/inner/cgroup.procs"]).split()
    assert container.output(["cat", "/sys/fs/cgroup/memory.max"]).strip() == str(64 << 20)
    denied = container.exec(["sh", "-c", "echo max > /sys/fs/cgroup/memory.max"])
    assert denied.exit_code != 0, "it lifted its own limit"
    assert container.exec(["true"]).exit_code == 0
