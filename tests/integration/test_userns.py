"""Pods with a user namespace of their own: who they are on the node, what they can do, and what is refused."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import grpc
import pytest

from harness import chosen, leaks, pods
from harness.cri import pb

Code = grpc.StatusCode
pytestmark = pytest.mark.berth
UID, GID, LENGTH = 300000, 400000, 65536
PROBES = "docker.io/berthtest/probes:1"


def mapping(host_id, container_id=0, length=LENGTH):
    return pb.IDMapping(host_id=host_id, container_id=container_id, length=length)


def users(uids=None, gids=None, mode=pb.POD):
    return pb.UserNamespace(mode=mode, uids=[mapping(UID)] if uids is None else uids,
                            gids=[mapping(GID)] if gids is None else gids)


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as text:
        return dict(line.split(":\t", 1) for line in text.read().splitlines() if ":\t" in line)


def owner(path):
    status = os.lstat(path)
    return status.st_uid, status.st_gid


def put(path, content="x", mode=0o600, owner=(0, 0)):
    path.write_text(content)
    os.chown(path, *owner)
    os.chmod(path, mode)
    return path


def memory_can_be_mapped():
    return tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 3)


@pytest.fixture(scope="module")
def ground():
    """Where daemons keep their files: on a file system whose ids can be mapped. Where /tmp is none, an ext4 in it."""
    if memory_can_be_mapped():
        yield None
        return
    image, folder, before = "/tmp/ground.ext4", "/tmp/ground", os.environ.get("BERTH_TEST_DIR")
    subprocess.run(["mkfs.ext4", "-q", image, "900M"], check=True)
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    os.environ["BERTH_TEST_DIR"] = folder
    yield folder
    os.environ.pop("BERTH_TEST_DIR") if before is None else os.environ.update(BERTH_TEST_DIR=before)
    subprocess.run(["umount", "-l", folder], check=True)
    os.unlink(image)


@pytest.fixture(scope="module")
def made(ground, registry):
    """One daemon for each runtime."""
    daemons = {}

    def get(runtime):
        if runtime not in daemons:
            daemons[runtime] = chosen.CLASSES[chosen.KIND](runtime=runtime, registry=registry.host,
                                             cgroup_manager=chosen.CGROUP_MANAGER)
            # Root of a pod is an ordinary user of the node, who has to reach its root file system.
            os.chmod(daemons[runtime].base, 0o711)
        return daemons[runtime]
    yield get
    for daemon in daemons.values():
        daemon.close()


@pytest.fixture
def daemon(made, runtime):
    yield made(runtime)
    made(runtime).settled()


@pytest.fixture
def folder(daemon, tmp_path):
    """A folder of the node that containers mount, on a file system whose ids can be mapped."""
    path = tmp_path if memory_can_be_mapped() else type(tmp_path)(f"{os.environ['BERTH_TEST_DIR']}/{tmp_path.name}")
    path.mkdir(exist_ok=True)
    os.chmod(path, 0o755)
    return path


@pytest.fixture
def pod(daemon):
    return daemon.run_pod(userns=users())


def volume(host_path, container_path="/data", uids=None, gids=None, **fields):
    return {"container_path": container_path, "host_path": str(host_path),
            "uidMappings": [mapping(UID)] if uids is None else uids,
            "gidMappings": [mapping(GID)] if gids is None else gids, **fields}


# Who the pod is

@pytest.mark.uml
def test_root_is_nobody_on_the_node(daemon, pod):
    container = pod.run_container(image=PROBES)
    pid = container.host_pid()
    status = status_of(pid)
    assert status["Uid"].split() == [str(UID)] * 4 and status["Gid"].split() == [str(GID)] * 4
    for name, first in (("uid_map", UID), ("gid_map", GID)):
        with open(f"/proc/{pid}/{name}", encoding="utf-8") as text:
            assert [int(word) for word in text.read().split()] == [0, first, LENGTH]
    assert container.shell("id -u; id -g").split() == ["0", "0"]
    assert container.shell("cat /proc/self/setgroups") == "allow\n"
    with open(f"/proc/{pid}/oom_score_adj", encoding="utf-8") as text:
        assert text.read() == "0\n"
    # What is root's on the node stays the node's.
    assert container.exec(["sh", "-c", "echo 1 > /proc/sys/kernel/printk"]).exit_code != 0
    pause = json.loads(pod.info()["info"])["pid"]
    assert status_of(pause)["Uid"].split() == [str(UID)] * 4
    assert status_of(pause)["Groups"].strip() in ("", str(GID))
    for kind in ("user", "net", "ipc", "uts"):
        names = {os.readlink(f"/proc/{each}/ns/{kind}") for each in (pause, pid)}
        assert len(names) == 1 and os.readlink(f"/proc/self/ns/{kind}") not in names
    with open(f"/proc/{pause}/oom_score_adj", encoding="utf-8") as text:
        own = open("/proc/self/oom_score_adj", encoding="utf-8").read()
        assert text.read() in ("-998\n", own)


def test_namespaces_count_against_the_pods_root(pod):
    """Else one pod could use up what root may have on the node (/proc/sys/user)."""
    script = ("import ctypes, fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDONLY); "
              "out = ctypes.c_uint32(); fcntl.ioctl(fd, 0xb704, out); print(out.value)")
    pause = json.loads(pod.info()["info"])["pid"]
    said = subprocess.run(["python3", "-c", script, f"/proc/{pause}/ns/user"], stdout=subprocess.PIPE, check=True)
    assert int(said.stdout) == UID    # NS_GET_OWNER_UID


def test_what_was_asked_for_is_shown(pod):
    wanted = users()
    assert pod.status().linux.namespaces.options.userns_options == wanted
    other = pod.daemon.run_pod(network=pods.NODE)
    assert other.status().linux.namespaces.options.userns_options == pb.UserNamespace(mode=pb.NODE)


@pytest.mark.uml
def test_the_node_says_that_it_can(daemon):
    status = daemon.client.Status()
    assert status.features.user_namespaces_host_network == memory_can_be_mapped()
    for handler in status.runtime_handlers:
        assert handler.features.user_namespaces == memory_can_be_mapped(), handler
    assert not os.path.exists(f"{daemon.root}/probe")


# Files

@pytest.mark.uml
def test_the_root_file_system(daemon, pod):
    container = pod.run_container(image="docker.io/berthtest/configured:1",
                                  security={"run_as_user": 0}, command=["sleep", "1000"])
    assert container.shell("stat -c %u:%g / /bin /bin/busybox /srv/dir /volume").split() == ["0:0"] * 5
    container.shell("echo hi > /made; mkdir /dir; chown 33:44 /dir; echo x >> /etc/passwd")
    upper = f"{daemon.root}/containers/{container.id}/upper"
    assert owner(upper) == (UID, GID)
    assert owner(f"{upper}/made") == (UID, GID)
    assert owner(f"{upper}/dir") == (UID + 33, GID + 44)
    assert owner(f"{upper}/etc/passwd") == (UID, GID)
    assert owner(f"{upper}/srv/dir") == (UID, GID)
    # The layers are as they were.
    for layer in daemon.layers():
        path = f"{daemon.root}/layers/{layer}/bin/busybox"
        if os.path.exists(path):
            assert owner(path) == (0, 0)


def test_owners_and_capabilities_of_an_images_files(pod):
    container = pod.run_container(image="docker.io/berthtest/attributes:1")
    assert container.shell("stat -c %u:%g /a/owned") == "1234:5678\n"
    assert container.shell("stat -c %u:%g /a/large-id") == "65534:65534\n"    # outside the map
    container.shell("chown 7:8 /a/owned")
    assert container.shell("stat -c %u:%g /a/owned") == "7:8\n"


def test_the_pods_files(pod):
    container = pod.run_container()
    listing = container.shell("stat -c '%u:%g %n' /etc/resolv.conf /etc/hostname /dev/shm").splitlines()
    assert [line.split()[0] for line in listing] == ["0:0"] * 3
    container.shell("cat /etc/resolv.conf > /dev/null; cat /etc/hostname; echo x > /dev/shm/mine; ls -la /dev/mqueue")
    assert container.shell("stat -c %u /dev/shm/mine") == "0\n"
    container.shell("echo x > /dev/null; echo out > /dev/stdout; head -c 1 /dev/urandom > /dev/null")


def test_a_user_of_the_images_passwd(daemon):
    pod = daemon.run_pod(userns=users())
    container = pod.run_container(command=["sleep", "1000"], security={"run_as_user": 4242, "run_as_group": 17,
                                                                      "supplemental_groups": [21]})
    status = status_of(container.host_pid())
    assert status["Uid"].split()[0] == str(UID + 4242) and status["Gid"].split()[0] == str(GID + 17)
    assert str(GID + 21) in status["Groups"].split()
    assert container.shell("id -u; whoami; echo x > /dev/shm/y; stat -c %u:%g /etc/passwd").split() == \
        ["4242", "4242", "0:0"]


@pytest.mark.uml
@pytest.mark.parametrize("readonly", [False, True], ids=["rw", "ro"])
def test_volumes_have_the_owners_of_the_node(pod, folder, readonly):
    put(folder / "roots", "from the node")
    put(folder / "users", owner=(1000, 2000))
    put(folder / "single", "a file")
    container = pod.run_container(mounts=[
        volume(folder, readonly=readonly), volume(folder / "single", "/etc/single", readonly=readonly)])
    assert container.shell("stat -c %u:%g /data/roots /data/users /etc/single").split() == \
        ["0:0", "1000:2000", "0:0"]
    assert container.shell("cat /data/roots /etc/single") == "from the nodea file"
    wrote = container.exec(["sh", "-c", "echo x > /data/new && echo y >> /etc/single && chown 5:6 /data/new"])
    assert (wrote.exit_code == 0) != readonly, wrote
    if not readonly:
        assert owner(folder / "new") == (5, 6)
        assert (folder / "single").read_text() == "a filey\n"
    mount = container.status().mounts[0]
    assert mount.host_path == str(folder) and mount.uidMappings[0] == mapping(UID)


def test_a_volume_that_is_not_mapped(pod, folder):
    put(folder / "roots", mode=0o644)
    container = pod.run_container(mounts=[{"container_path": "/data", "host_path": str(folder)}])
    assert container.shell("stat -c %u:%g /data/roots") == "65534:65534\n"
    assert container.exec(["sh", "-c", "echo x > /data/roots"]).exit_code != 0


def test_a_mapped_volume_with_mounts_beneath(pod, folder, runtime):
    """They come along, and stay when the container goes."""
    lower = folder / "beneath"
    lower.mkdir()
    subprocess.run(["mount", "--bind", str(folder), str(lower)], check=True)
    try:
        put(folder / "file")
        container = pod.run_container(mounts=[volume(folder, propagation=pb.PROPAGATION_PRIVATE)])
        assert container.shell("stat -c %u:%g /data/file") == "0:0\n"
        if runtime != "crun":    # crun 1.8.1 binds the mount itself alone in a user namespace, mapped or not
            assert container.shell("stat -c %u:%g /data/beneath/file") == "0:0\n"
        pod.client.RemoveContainer(container_id=container.id)
        assert os.path.exists(lower / "file"), "removing the container unmounted what is the node's"
    finally:
        subprocess.run(["umount", str(lower)], check=True)


def test_other_ids_in_a_pod_without_a_user_namespace(daemon, folder):
    put(folder / "file", owner=(7, 8))
    pod = daemon.run_pod()
    container = pod.run_container(mounts=[volume(folder, uids=[mapping(1007, 7, 1)], gids=[mapping(1008, 8, 1)])])
    assert container.shell("stat -c %u:%g /data/file") == "1007:1008\n"


@pytest.mark.uml
def test_a_file_system_that_cannot_is_named(pod):
    with pytest.raises(grpc.RpcError) as error:
        pod.create(mounts=[volume("/proc/sys", "/data")])
    assert error.value.code() == Code.UNIMPLEMENTED
    assert "mount '/proc/sys'" in error.value.details() and "has no id-mapped mounts" in error.value.details()
    assert "mount on '/data'" in error.value.details()
    assert not pod.client.ListContainers().containers


def test_an_image_volume(daemon, pod):
    daemon.need(PROBES)
    mount = {"container_path": "/model", "image": pb.ImageSpec(image=PROBES)}
    container = pod.run_container(mounts=[
        mount, {**mount, "container_path": "/mapped", "uidMappings": [mapping(UID)], "gidMappings": [mapping(GID)]}])
    assert container.shell("stat -c %u:%g /model/bin/signals /mapped/bin/signals").split() == ["0:0"] * 2
    with pytest.raises(grpc.RpcError) as error:
        pod.create(mounts=[{**mount, "uidMappings": [mapping(5)], "gidMappings": [mapping(5)]}])
    assert error.value.code() == Code.INVALID_ARGUMENT and "must be those of the pod" in error.value.details()


# Namespaces and what goes with them

@pytest.mark.uml
def test_a_network(daemon, pod):
    server = pod.run_container(command=["sh", "-c", "while :; do echo hello | nc -l -p 80; done"])
    assert pod.address in server.output(["ip", "addr"])
    assert server.shell("ip route show default").split()[2] == str(daemon.network.subnet.network_address + 1)
    # From the node, and from another pod of the kind.
    leaks.settle(lambda: server.exec(["sh", "-c", "netstat -ltn | grep -q :80"]).exit_code)
    with socket.create_connection((pod.address, 80), timeout=10) as connection:
        assert connection.recv(100) == b"hello\n"
    other = daemon.run_pod(userns=users([mapping(UID + LENGTH)], [mapping(GID + LENGTH)])).run_container()
    assert leaks.settle(lambda: other.shell(f"nc {pod.address} 80 </dev/null || true") != "hello\n") is False


@pytest.mark.uml
def test_hostname_sysctls_and_groups_that_may_ping(daemon):
    pod = daemon.run_pod(userns=users(gids=[mapping(GID, 0, 1000)]), hostname="mine", sysctls={
        "net.ipv4.ping_group_range": "0 2147483647", "net.ipv4.ip_unprivileged_port_start": "0",
        "kernel.shm_rmid_forced": "1", "kernel.msgmax": "9000"})
    container = pod.run_container()
    assert container.output(["hostname"]) == "mine\n"
    read = lambda name: container.output(["cat", f"/proc/sys/{name}"]).split()
    assert read("net/ipv4/ping_group_range") == ["0", "999"]
    assert read("net/ipv4/ip_unprivileged_port_start") == ["0"]
    assert (read("kernel/shm_rmid_forced"), read("kernel/msgmax")) == (["1"], ["9000"])


@pytest.mark.uml
def test_on_the_nodes_network(daemon):
    pod = daemon.run_pod(userns=users(), network=pods.NODE)
    container = pod.run_container()
    assert os.readlink(f"/proc/{container.host_pid()}/ns/net") == os.readlink("/proc/self/ns/net")
    assert status_of(container.host_pid())["Uid"].split()[0] == str(UID)
    container.shell("ls /sys/class/net/lo /dev/mqueue && ip addr")
    # The node's network is not the pod's to change.
    assert container.exec(["ip", "link", "set", "lo", "mtu", "1400"]).exit_code != 0


def test_a_shared_pid_namespace(daemon):
    pod = daemon.run_pod(userns=users(), pid=pods.POD)
    one, two = (pod.run_container(namespaces={"pid": pods.POD}) for _ in range(2))
    assert one.output(["cat", "/proc/1/comm"]) == "berth-pause\n"
    assert two.shell("ps | grep -c 'sleep 1000'") != "0\n"
    target = pod.run_container(namespaces={"pid": pods.CONTAINER})
    options = pb.NamespaceOption(pid=pods.TARGET, target_id=target.id, userns_options=users())
    debugger = pod.run_container(security={"namespace_options": options})
    assert os.readlink(f"/proc/{debugger.host_pid()}/ns/pid") == os.readlink(f"/proc/{target.host_pid()}/ns/pid")


@pytest.mark.uml
def test_exec_stats_and_limits(daemon, pod):
    container = pod.run_container(resources={"memory_limit_in_bytes": 64 << 20, "oom_score_adj": 500})
    with open(f"/proc/{container.host_pid()}/oom_score_adj", encoding="utf-8") as text:
        assert text.read() == "500\n"
    assert container.output(["id", "-u"]) == "0\n"
    assert container.exec(["sh", "-c", "exit 7"]).exit_code == 7
    container.client.UpdateContainerResources(
        container_id=container.id, linux=pb.LinuxContainerResources(memory_limit_in_bytes=96 << 20))
    assert container.status().resources.linux.memory_limit_in_bytes == 96 << 20
    stats = container.client.ContainerStats(container_id=container.id).stats
    assert stats.memory.usage_bytes.value > 0 and stats.writable_layer.inodes_used.value > 0


def test_the_log_is_the_nodes(pod):
    container = pod.run_container(command=["sh", "-c", "echo hi; echo again > /dev/stdout; sleep 1000"])
    container.wait_log(b"again")
    # Likewise what an exec session has, also as another user.
    assert container.shell("echo out > /dev/stdout") == "out\n"
    other = pod.run_container(command=["sh", "-c", "echo from $(id -u) > /dev/stdout; sleep 1000"],
                              security={"run_as_user": 1000})
    other.wait_log(b"from 1000")
    assert owner(container.log_path) == (0, 0)


def test_a_terminal(daemon):
    pod = daemon.run_pod(userns=users(gids=[mapping(GID, 0, 3)]))
    container = pod.run_container(command=["sh", "-c", "tty; stat -c %u $(tty); sleep 1000"], tty=True)
    container.wait_log(b"/dev/pts/0")


@pytest.mark.uml
def test_confinement_is_the_same(daemon):
    context = {"capabilities": pb.Capability(add_capabilities=["NET_ADMIN"], drop_capabilities=["CHOWN"]),
               "no_new_privs": True, "seccomp": pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault),
               "masked_paths": ["/proc/kcore", "/proc/keys"], "readonly_paths": ["/proc/sys"],
               "readonly_rootfs": True}
    names = ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
    seen = []
    for userns in (users(), None):
        container = daemon.run_pod(userns=userns).run_container(security=context)
        status = status_of(container.host_pid())
        with open(f"/proc/{container.host_pid()}/attr/current", encoding="utf-8", errors="replace") as text:
            try:
                profile = text.read()
            except OSError:
                profile = ""
        assert container.exec(["sh", "-c", "echo x > /made"]).exit_code != 0
        assert container.shell("cat /proc/keys") == ""
        assert container.exec(["sh", "-c", "echo x > /proc/sys/kernel/hostname"]).exit_code != 0
        seen.append([status[name] for name in names] + [profile])
    assert seen[0] == seen[1]


def test_unmasked(pod):
    container = pod.run_container()
    assert not re.search(r" /proc/(kcore|keys|sys) ", container.output(["cat", "/proc/mounts"]))


def test_a_device(daemon):
    pod = daemon.run_pod(userns=users())
    config = pods.container_config(pod, command=["sleep", "1000"])
    config.devices.add(host_path="/dev/zero", container_path="/dev/other", permissions="rw")
    daemon.need(pods.BUSYBOX)
    container = pod.create(config=config).start()
    assert container.shell("head -c 3 /dev/other | od -An -tx1").split() == ["00"] * 3


def test_a_privileged_container(daemon):
    pod = daemon.run_pod(userns=users(), privileged=True)
    container = pod.run_container(security={"privileged": True})
    assert status_of(container.host_pid())["Uid"].split()[0] == str(UID)
    container.shell("mkdir /m && mount -t tmpfs tmpfs /m")
    assert container.exec(["sh", "-c", "echo 1 > /proc/sys/kernel/printk"]).exit_code != 0


def test_several_mappings(daemon):
    pod = daemon.run_pod(userns=users(uids=[mapping(UID, 0, 1000), mapping(700000, 5000, 10)]))
    container = pod.run_container(security={"run_as_user": 5009})
    assert status_of(container.host_pid())["Uid"].split()[0] == "700009"


# The end, and a new beginning

@pytest.mark.uml
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_new_daemon(ground, scratch, runtime, folder, end):
    daemon = scratch(runtime=runtime)
    os.chmod(daemon.base, 0o711)
    pod = daemon.run_pod(userns=users())
    put(folder / "file")
    container = pod.run_container(mounts=[volume(folder)])
    before, pid = str(pod.status()), container.host_pid()
    daemon.restart(end)
    assert str(pod.status()) == before and container.host_pid() == pid
    assert container.output(["id", "-u"]) == "0\n"
    another = pod.run_container(mounts=[volume(folder)])
    assert status_of(another.host_pid())["Uid"].split()[0] == str(UID)
    assert another.shell("stat -c %u /data/file /bin/busybox").split() == ["0", "0"]
    assert os.readlink(f"/proc/{another.host_pid()}/ns/user") == os.readlink(f"/proc/{pid}/ns/user")
    pod.stop()
    pod.remove()
    assert not leaks.mounts([f"{daemon.state}/"])


def test_a_daemon_that_is_killed_while_it_works(ground, scratch, runtime, folder):
    """Whatever was half-made is gone afterwards, and no layer and no volume with it."""
    daemon = scratch(runtime=runtime)
    os.chmod(daemon.base, 0o711)
    daemon.need(pods.BUSYBOX)
    layers = leaks.tree(f"{daemon.root}/layers")
    put(folder / "file")

    def work():
        try:
            pods.Pod.run(daemon, userns=users()).run_container(mounts=[volume(folder)])
        except (grpc.RpcError, ValueError):
            pass    # the daemon went away
    for delay in (0.02, 0.05, 0.1, 0.2):
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(delay)
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        thread.join()
        daemon.process = None
        daemon.start()
        daemon.remove_pods()
        assert leaks.tree(f"{daemon.root}/layers") == layers
        assert (folder / "file").read_text() == "x"
        assert not leaks.mounts([f"{daemon.state}/"])


# What is refused

def bad_users():
    field = "userns_options"
    return {
        "no maps": (users([], []), f"{field}.uids is empty"),
        "no gids": (users(gids=[]), f"{field}.gids is empty"),
        "no length": (users([mapping(1, 0, 0)]), f"{field}.uids[0].length is 0"),
        "beyond the last id": (users(gids=[mapping(4294967000)]), f"{field}.gids[0] goes beyond"),
        "overlap inside": (users([mapping(1, 0, 10), mapping(100, 9, 10)]), f"{field}.uids[0] and [1] overlap in the"),
        "overlap outside": (users([mapping(1, 0, 10), mapping(5, 20, 10)]), f"{field}.uids[0] and [1] overlap on the"),
        "without root": (users([mapping(UID, 1)]), f"{field}.uids does not map id 0"),
        "too many": (users([mapping(1000 + n, n, 1) for n in range(341)]), f"{field}.uids has 341 entries"),
        "of the node": (users(mode=pb.NODE), f"{field} has mappings, but its mode is NODE"),
        "of a target": (users(mode=pb.TARGET), f"{field}.mode is neither POD nor NODE"),
        "of a container": (users(mode=pb.CONTAINER), f"{field}.mode is neither POD nor NODE"),
    }


@pytest.mark.parametrize("name", sorted(bad_users()))
def test_maps_that_are_refused(daemon, name):
    asked, message = bad_users()[name]
    with pytest.raises(grpc.RpcError) as error:
        daemon.run_pod(userns=asked)
    assert error.value.code() == Code.INVALID_ARGUMENT and message in error.value.details()
    assert not daemon.client.ListPodSandbox().items


@pytest.mark.parametrize("kind", ["pid", "ipc"])
def test_the_nodes_processes_and_ipc_are_refused(daemon, kind):
    with pytest.raises(grpc.RpcError) as error:
        daemon.run_pod(userns=users(), **{kind: pods.NODE})
    assert error.value.code() == Code.INVALID_ARGUMENT
    assert f"namespace_options.{kind} is NODE" in error.value.details()


def bad_containers():
    def options(**fields):
        return {"security": {"namespace_options": pb.NamespaceOption(pid=pods.CONTAINER, **fields)}}
    return {
        "other maps": (options(userns_options=users([mapping(1)])), "userns_options is not the same as the pod's"),
        "the node's users": (options(userns_options=pb.UserNamespace(mode=pb.NODE)), "is not the same as the pod's"),
        "the node's processes": ({"namespaces": {"pid": pods.NODE}}, "namespace_options.pid is NODE"),
        "user": ({"security": {"run_as_user": LENGTH}}, f"user {LENGTH} is not in the pod's user namespace"),
        "group": ({"security": {"run_as_user": 1, "run_as_group": LENGTH}}, f"group {LENGTH} is not in the pod's"),
        "groups": ({"security": {"supplemental_groups": [LENGTH]}}, f"supplemental group {LENGTH} is not in the"),
        "half a map": ({"mounts": [volume("/tmp", gids=[])]}, "config.mounts[0].gidMappings is empty"),
        "a bad map": ({"mounts": [volume("/tmp", uids=[mapping(1, 0, 0)])]}, "config.mounts[0].uidMappings[0].length"),
        "both ways": ({"mounts": [volume("/tmp", propagation=pb.PROPAGATION_BIDIRECTIONAL)]}, "config.mounts[0].prop"),
    }


@pytest.mark.parametrize("name", sorted(bad_containers()))
def test_containers_that_are_refused(pod, name):
    fields, message = bad_containers()[name]
    with pytest.raises(grpc.RpcError) as error:
        pod.create(command=["sleep", "1000"], **fields)
    assert error.value.code() == Code.INVALID_ARGUMENT and message in error.value.details()
    assert not pod.client.ListContainers().containers


def test_a_container_that_says_nothing_is_in_the_pods(pod):
    options = pb.NamespaceOption(pid=pods.CONTAINER)
    container = pod.run_container(security={"namespace_options": options})
    assert status_of(container.host_pid())["Uid"].split()[0] == str(UID)


def test_a_container_with_maps_in_a_pod_without(daemon):
    options = pb.NamespaceOption(pid=pods.CONTAINER, userns_options=users())
    with pytest.raises(grpc.RpcError) as error:
        daemon.run_pod().create(command=["true"], security={"namespace_options": options})
    assert error.value.code() == Code.INVALID_ARGUMENT and "is not the same as the pod's" in error.value.details()


def test_folders_that_the_pods_root_cannot_reach(ground, scratch, runtime):
    daemon = scratch(runtime=runtime)
    os.chmod(daemon.base, 0o700)
    with pytest.raises(grpc.RpcError) as error:
        daemon.run_pod(userns=users()).create()
    assert error.value.code() == Code.FAILED_PRECONDITION
    assert f"'{daemon.base}' has mode 700" in error.value.details()


@pytest.fixture
def any_daemon_of_old(ground, scratch, tmp_path):
    """A daemon with a runtime that knows no user namespaces."""
    program = tmp_path / "old"
    program.write_text("#!/bin/sh\n[ $1 = --version ] && echo 'old version 0.1' && exit\nexit 1\n")
    os.chmod(program, 0o755)
    return scratch(**{"runtimes.old": {"path": str(program)}})


@pytest.fixture
def no_user_namespaces():
    limit = "/proc/sys/user/max_user_namespaces"
    with open(limit, encoding="utf-8") as text:
        before = text.read()
    try:
        with open(limit, "w", encoding="utf-8") as text:
            text.write("0")
    except PermissionError:
        pytest.skip(f"{limit} is not to be written here (tests/uml/integration can)")
    yield
    with open(limit, "w", encoding="utf-8") as text:
        text.write(before)


@pytest.mark.uml
def test_a_node_that_cannot(scratch, runtime, no_user_namespaces):
    """Said before anything is made."""
    daemon = scratch(runtime=runtime)
    with pytest.raises(grpc.RpcError) as error:
        daemon.run_pod(userns=users())
    assert error.value.code() == Code.FAILED_PRECONDITION
    assert "this node cannot make user namespaces" in error.value.details()
    assert "No space left on device" in error.value.details()
    assert not daemon.client.ListPodSandbox().items
    status = daemon.client.Status()
    assert not status.features.user_namespaces_host_network
    assert not any(handler.features.user_namespaces for handler in status.runtime_handlers)
    assert daemon.run_pod().run_container().output(["id", "-u"]) == "0\n"


def test_a_runtime_that_cannot(any_daemon_of_old):
    daemon = any_daemon_of_old
    handlers = {handler.name: handler.features.user_namespaces for handler in daemon.client.Status().runtime_handlers}
    assert handlers["old"] is False
    with pytest.raises(grpc.RpcError) as error:
        daemon.run_pod(userns=users(), runtime_handler="old")
    assert error.value.code() == Code.FAILED_PRECONDITION
    assert "runtime handler 'old' (old version 0.1)" in error.value.details()
    assert not daemon.client.ListPodSandbox().items
