"""Limits of containers: at creation, changed while they live, and put back when a change fails."""
import json
import os
import subprocess
import time

import grpc
import pytest

from harness import pods
from harness.cri import pb

pytestmark = pytest.mark.uml
MB = 1 << 20
Code = grpc.StatusCode
IS_V2 = not os.path.exists("/sys/fs/cgroup/memory")


def update(container, annotations=None, **linux):
    container.client.UpdateContainerResources(
        container_id=container.id, linux=pb.LinuxContainerResources(**linux), annotations=annotations or {})


def refused(call, *args, **fields):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **fields)
    return error.value


def folder(container, controller):
    """The directory of the container's cgroup in the tree of a controller."""
    with open(f"/proc/{container.host_pid()}/cgroup", encoding="utf-8") as lines:
        for line in lines:
            _, controllers, path = line.strip().split(":", 2)
            if IS_V2 and not controllers:
                return "/sys/fs/cgroup" + path
            if controller in controllers.split(","):
                return f"/sys/fs/cgroup/{controller}{path}"
    raise AssertionError(f"no cgroup of {controller}")


def read(path):
    with open(path, encoding="utf-8") as text:
        return text.read().strip()


def kernel(container):
    """Every limit as the kernel has it, in the words of v1."""
    values = {}
    cpu, memory = folder(container, "cpu"), folder(container, "memory")
    if IS_V2:
        quota, period = read(f"{cpu}/cpu.max").split()
        limit, swap = read(f"{memory}/memory.max"), read(f"{memory}/memory.swap.max")
        values.update(weight=int(read(f"{cpu}/cpu.weight")), period=int(period), quota=quota, memory=limit,
                      swap=str(int(limit) + int(swap)) if "max" not in (limit, swap) else "max")
    else:
        quota = read(f"{cpu}/cpu.cfs_quota_us")
        values.update(weight=int(read(f"{cpu}/cpu.shares")), period=int(read(f"{cpu}/cpu.cfs_period_us")),
                      quota="max" if quota == "-1" else quota, memory=read(f"{memory}/memory.limit_in_bytes"),
                      swap=read(f"{memory}/memory.memsw.limit_in_bytes"))
    if CPUSET:
        values["cpus"] = read(f"{folder(container, 'cpuset')}/cpuset.cpus")
        values["mems"] = read(f"{folder(container, 'cpuset')}/cpuset.mems")
    values["oom"] = read(f"/proc/{container.host_pid()}/oom_score_adj")
    return values


def weight(shares):
    """The runtimes' conversion to v2's scale."""
    return 1 + (shares - 2) * 9999 // 262142 if IS_V2 else shares


def huge_pages(container, size="2MB"):
    name = f"hugetlb.{size}." + ("max" if IS_V2 else "limit_in_bytes")
    return read(f"{folder(container, 'hugetlb')}/{name}")


needs_hugetlb = pytest.mark.skipif(
    not (os.path.exists("/sys/fs/cgroup/hugetlb/hugetlb.2MB.limit_in_bytes") or
         IS_V2 and "hugetlb" in read("/sys/fs/cgroup/cgroup.controllers").split()),
    reason="this kernel has no hugetlb controller with pages of 2 MB")

START = {"memory_limit_in_bytes": 96 * MB, "memory_swap_limit_in_bytes": 96 * MB, "cpu_shares": 512,
         "cpu_quota": 50000, "cpu_period": 100000, "oom_score_adj": 500}
# A kernel may be built without this one.
CPUSET = {"cpuset_cpus": "0", "cpuset_mems": "0"} if os.path.exists("/sys/fs/cgroup/cpuset") or \
    IS_V2 and "cpuset" in read("/sys/fs/cgroup/cgroup.controllers").split() else {}
CPUSET_SHOWN = {"cpus": "0", "mems": "0"} if CPUSET else {}
START.update(CPUSET)


@pytest.fixture
def container(daemon):
    return daemon.run_pod(network=pods.NODE).run_container(resources=START)


def test_limits_at_creation(container):
    got = kernel(container)
    assert got.pop("weight") == weight(512)
    assert got == {"period": 100000, "quota": "50000", "memory": str(96 * MB), "swap": str(96 * MB),
                   "oom": "500", **CPUSET_SHOWN}


def test_swap_at_creation(daemon):
    pod = daemon.run_pod(network=pods.NODE)
    some = pod.run_container(resources={"memory_limit_in_bytes": 64 * MB, "memory_swap_limit_in_bytes": 100 * MB})
    assert kernel(some)["swap"] == str(100 * MB)
    none = pod.run_container(resources={"memory_limit_in_bytes": 64 * MB})
    assert kernel(none)["swap"] == str(64 * MB), "a memory limit alone must not allow swap"
    every = pod.run_container(resources={"memory_limit_in_bytes": 64 * MB, "memory_swap_limit_in_bytes": -1})
    assert kernel(every)["swap"] in ("max", "9223372036854771712")


def test_no_cpu_limit_at_creation(daemon):
    made = daemon.run_pod(network=pods.NODE).run_container(resources={"cpu_quota": -1, "cpu_period": 100000})
    assert kernel(made)["quota"] == "max"


@needs_hugetlb
def test_huge_pages_at_creation(daemon):
    made = daemon.run_pod(network=pods.NODE).run_container(
        resources={"hugepage_limits": [pb.HugepageLimit(page_size="2MB", limit=4 * MB)]})
    assert huge_pages(made) == str(4 * MB)


@pytest.mark.skipif(not IS_V2, reason="files of cgroup v2")
def test_unified_limits(daemon):
    made = daemon.run_pod(network=pods.NODE).run_container(
        resources={"memory_limit_in_bytes": 64 * MB, "unified": {"memory.high": str(48 * MB), "memory.min": "0"}})
    memory = folder(made, "memory")
    assert read(f"{memory}/memory.high") == str(48 * MB)
    update(made, unified={"memory.high": str(56 * MB)})
    assert read(f"{memory}/memory.high") == str(56 * MB)
    assert made.status().resources.linux.unified == {"memory.high": str(56 * MB), "memory.min": "0"}
    assert refused(update, made, cpu_shares=700, unified={"memory.no-such": "1"})
    assert kernel(made)["weight"] == 100 or kernel(made)["weight"] == weight(1024)


@pytest.mark.skipif(IS_V2, reason="where there is no cgroup v2")
def test_unified_limits_need_v2(container):
    error = refused(update, container, unified={"memory.high": "1"})
    assert error.code() == Code.INVALID_ARGUMENT and "unified" in error.details()


@pytest.mark.parametrize("started", [True, False])
def test_every_limit_can_be_changed(daemon, started):
    made = daemon.run_pod(network=pods.NODE).create(command=["sleep", "1000"], resources=START)
    if started:
        made.start()
    update(made, memory_limit_in_bytes=200 * MB, memory_swap_limit_in_bytes=300 * MB, cpu_shares=1024,
           cpu_quota=20000, cpu_period=50000, oom_score_adj=321, **CPUSET)
    expected = {"weight": weight(1024), "period": 50000, "quota": "20000", "memory": str(200 * MB),
                "swap": str(300 * MB), "oom": "321", **CPUSET_SHOWN}
    assert kernel(made) == expected
    shown = made.status().resources.linux
    assert (shown.memory_limit_in_bytes, shown.memory_swap_limit_in_bytes, shown.cpu_shares, shown.cpu_quota,
            shown.cpu_period, shown.oom_score_adj) == (200 * MB, 300 * MB, 1024, 20000, 50000, 321)
    if not started:
        made.start()
        assert kernel(made) == expected


def test_what_is_not_given_does_not_change(container):
    before = kernel(container)
    update(container)
    assert kernel(container) == before
    update(container, cpu_shares=600)
    assert kernel(container) == {**before, "weight": weight(600)}
    update(container, cpu_period=50000)
    assert kernel(container) == {**before, "weight": weight(600), "period": 50000}
    shown = container.status().resources.linux
    assert (shown.cpu_shares, shown.cpu_quota, shown.memory_limit_in_bytes) == (600, 50000, 96 * MB)


def test_memory_and_swap_go_both_ways(container):
    """v1 takes a memory limit only below the limit that counts swap too: up and down need another order."""
    for memory, swap in ((300, 400), (64, 64), (200, 200), (50, 70)):
        update(container, memory_limit_in_bytes=memory * MB, memory_swap_limit_in_bytes=swap * MB)
        assert (kernel(container)["memory"], kernel(container)["swap"]) == (str(memory * MB), str(swap * MB))


def test_no_swap_stays_no_swap(container):
    update(container, memory_limit_in_bytes=128 * MB)
    assert kernel(container)["swap"] == str(128 * MB)
    error = refused(update, container, memory_swap_limit_in_bytes=100 * MB)
    assert error.code() == Code.INVALID_ARGUMENT and "memory_swap_limit_in_bytes" in error.details()


def test_the_cpu_limit_can_be_lifted(container):
    update(container, cpu_quota=-1)
    assert kernel(container)["quota"] == "max"
    assert container.status().resources.linux.cpu_quota == -1
    update(container, cpu_quota=30000)
    assert (kernel(container)["quota"], kernel(container)["period"]) == ("30000", 100000)


def test_cpus_can_be_changed(container):
    if os.cpu_count() < 2 or not CPUSET:
        pytest.skip("this machine has one CPU, or no cpuset controller")
    update(container, cpuset_cpus="0-1")
    assert kernel(container)["cpus"] == "0-1"


@needs_hugetlb
def test_huge_pages_can_be_changed(container):
    update(container, hugepage_limits=[pb.HugepageLimit(page_size="2MB", limit=8 * MB)])
    assert huge_pages(container) == str(8 * MB)
    update(container, hugepage_limits=[pb.HugepageLimit(page_size="2MB", limit=0)])
    assert huge_pages(container) == "0"
    error = refused(update, container, cpu_shares=99, hugepage_limits=[pb.HugepageLimit(page_size="3MB", limit=MB)])
    assert error.code() == Code.INVALID_ARGUMENT and "3MB" in error.details()
    assert kernel(container)["weight"] == weight(512), "a refused change left a part of itself"


def test_the_oom_score_of_every_process(daemon):
    made = daemon.run_pod(network=pods.NODE).run_container(
        command=["sh", "-c", "sleep 999 & sleep 998 & sh -c 'echo 800 > /proc/self/oom_score_adj; exec sleep 997' & wait"],
        resources={"oom_score_adj": 500})
    script = "for p in $(pidof sleep); do echo $(tr '\\0' ' ' < /proc/$p/cmdline)$(cat /proc/$p/oom_score_adj); done | sort"
    deadline = time.monotonic() + 10
    while "sleep 997 800" not in made.shell(script):
        assert time.monotonic() < deadline, made.shell(script)
        time.sleep(0.05)
    update(made, oom_score_adj=300)
    assert made.shell(script).splitlines() == ["sleep 997 800", "sleep 998 300", "sleep 999 300"]
    spec = json.loads(made.info()["info"])["runtimeSpec"]
    assert spec["process"]["oomScoreAdj"] == 300


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_the_oom_score_of_executed_commands(daemon, runtime):
    """crun gives a command the score of whoever calls crun, runc the one that the container was created with."""
    made = daemon.run_pod(network=pods.NODE, runtime_handler=runtime).run_container(resources={"oom_score_adj": 500})
    score = ["cat", "/proc/self/oom_score_adj"]
    assert made.output(score) == "500\n"
    assert made.shell("cat /proc/self/oom_score_adj & wait") == "500\n"
    for value in (800, 300):
        update(made, oom_score_adj=value)
        # The command's own is changed once it runs; a moment later is soon enough for the kernel's purpose.
        assert made.shell("sleep 0.3; cat /proc/self/oom_score_adj") == f"{value}\n"


@pytest.mark.parametrize("fields", [
    {"cpuset_cpus": "99"}, {"cpu_quota": 5}, {"cpuset_cpus": "0-banana"}, {"memory_limit_in_bytes": 4096},
    {"oom_score_adj": 1001}, {"cpu_shares": -1},
    {"memory_limit_in_bytes": 128 * MB, "memory_swap_limit_in_bytes": 64 * MB}])
def test_a_refused_change_changes_nothing(container, fields):
    if "99" in fields.values() and not CPUSET:
        pytest.skip("this kernel has no cpuset controller")
    before, shown = kernel(container), container.status().resources
    error = refused(update, container, **{"cpu_shares": 700, "cpu_period": 60000, "oom_score_adj": 600, **fields})
    assert error.code() == Code.INVALID_ARGUMENT, error
    assert kernel(container) == before
    assert container.status().resources == shown
    update(container, cpu_shares=800)
    assert kernel(container) == {**before, "weight": weight(800)}


def test_memory_in_use_is_not_taken_away(daemon):
    made = daemon.run_pod(network=pods.NODE).run_container(
        command=["sh", "-c", "dd if=/dev/zero of=/dev/shm/held bs=1M count=48 2>/dev/null; echo held; sleep 1000"],
        resources={"memory_limit_in_bytes": 200 * MB})
    made.wait_log(b"held")
    before = kernel(made)
    error = refused(update, made, memory_limit_in_bytes=20 * MB)
    assert error.code() == Code.FAILED_PRECONDITION and "uses" in error.details(), error
    assert kernel(made) == before
    assert made.status().state == pb.CONTAINER_RUNNING
    assert made.status().resources.linux.memory_limit_in_bytes == 200 * MB


def test_caches_give_way_to_a_lower_limit(daemon):
    """What was read from files counts as used, but nobody has to die for it."""
    if subprocess.run(["stat", "-f", "-c", "%T", daemon.root], capture_output=True, check=True).stdout == b"tmpfs\n":
        pytest.skip("files on a tmpfs are no caches")
    made = daemon.run_pod(network=pods.NODE).run_container(
        command=["sh", "-c", "dd if=/dev/zero of=/file bs=1M count=60 2>/dev/null; sync; cat /file > /dev/null; "
                             "echo read; sleep 1000"], resources={"memory_limit_in_bytes": 200 * MB})
    made.wait_log(b"read", seconds=60)
    memory = folder(made, "memory")
    used = lambda: int(read(f"{memory}/memory.current" if IS_V2 else f"{memory}/memory.usage_in_bytes"))
    assert used() > 40 * MB
    update(made, memory_limit_in_bytes=30 * MB)
    assert used() <= 30 * MB
    assert made.status().state == pb.CONTAINER_RUNNING


def test_who_has_ended_has_no_limits(daemon):
    made = daemon.run_pod(network=pods.NODE).run_container(command=["true"])
    made.wait_exited()
    error = refused(update, made, cpu_shares=512)
    assert error.code() == Code.FAILED_PRECONDITION and "exited" in error.details()
    made.remove()
    assert refused(update, made, cpu_shares=512).code() == Code.NOT_FOUND


def test_annotations_of_a_change_are_kept(container):
    update(container, annotations={"example.com/why": "more"}, cpu_shares=600)
    update(container, annotations={"example.com/who": "me"})
    assert json.loads(container.info()["info"])["updateAnnotations"] == {
        "example.com/why": "more", "example.com/who": "me"}
    assert refused(update, container, annotations={"": "x"}).code() == Code.INVALID_ARGUMENT


def test_windows_is_refused(container):
    error = refused(container.client.UpdateContainerResources, container_id=container.id,
                    windows=pb.WindowsContainerResources(cpu_shares=1))
    assert error.code() == Code.INVALID_ARGUMENT and "windows" in error.details()


def test_stopping_does_not_wait_for_changes(container):
    futures = [container.client.UpdateContainerResources.future(
        container_id=container.id, linux=pb.LinuxContainerResources(cpu_shares=100 + n)) for n in range(8)]
    container.stop(timeout=0)
    for future in futures:
        error = future.exception()
        assert error is None or error.code() == Code.FAILED_PRECONDITION, error
    container.remove()


@pytest.mark.parametrize("end", ["TERM", "KILL"])
def test_changed_limits_survive_a_restart(scratch, runtime, end):
    daemon = scratch(runtime=runtime)
    made = daemon.run_pod(network=pods.NODE).run_container(resources=START)
    update(made, memory_limit_in_bytes=200 * MB, cpu_shares=700, oom_score_adj=400)
    shown, limits = made.status().resources, kernel(made)
    daemon.kill() if end == "KILL" else daemon.stop()
    daemon.start()
    assert made.status().resources == shown and shown.linux.cpu_shares == 700
    assert kernel(made) == limits
    update(made, cpu_shares=900)
    assert kernel(made) == {**limits, "weight": weight(900)}


@pytest.mark.berth
def test_a_change_cut_off_by_a_crash_is_undone(scratch, tmp_path, runtime):
    """The runtime's `update` takes effect and then hangs; the daemon is killed meanwhile."""
    wrapper = tmp_path / "slow"
    wrapper.write_text(f'''#!/bin/sh
case " $* " in *" update "*) /usr/bin/env {runtime} "$@"; touch {tmp_path}/done; sleep 5; exit 1;; esac
exec /usr/bin/env {runtime} "$@"
''')
    wrapper.chmod(0o755)
    daemon = scratch(runtime="slow", **{"runtimes.slow": {"path": str(wrapper)}})
    made = daemon.run_pod(network=pods.NODE).run_container(resources=START)
    before, shown = kernel(made), made.status().resources
    future = made.client.UpdateContainerResources.future(container_id=made.id, linux=pb.LinuxContainerResources(
        cpu_shares=700, memory_limit_in_bytes=200 * MB, oom_score_adj=600))
    deadline = time.monotonic() + 20
    while not (tmp_path / "done").exists():
        assert time.monotonic() < deadline, future.exception()
        time.sleep(0.01)
    assert kernel(made) != before
    daemon.kill()
    daemon.start()
    assert kernel(made) == before
    assert made.status().resources == shown


# Pods

def test_resources_of_a_pod_are_kept_and_shown(scratch):
    daemon = scratch()
    config = pods.pod_config(daemon, network=pods.NODE)
    config.linux.overhead.memory_limit_in_bytes = 10 * MB
    config.linux.resources.cpu_shares = 512
    pod = pods.Pod.run(daemon, config=config)
    info = lambda: json.loads(pod.info()["info"])
    assert info()["overhead"] == {"memory_limit_in_bytes": str(10 * MB)}
    assert info()["resources"] == {"cpu_shares": "512"}
    daemon.client.UpdatePodSandboxResources(
        pod_sandbox_id=pod.id, resources=pb.LinuxContainerResources(memory_limit_in_bytes=64 * MB))
    wanted = {"cpu_shares": "512", "memory_limit_in_bytes": str(64 * MB)}
    assert info()["resources"] == wanted and info()["overhead"] == {"memory_limit_in_bytes": str(10 * MB)}
    daemon.restart()
    assert info()["resources"] == wanted
    error = refused(daemon.client.UpdatePodSandboxResources, pod_sandbox_id=pod.id,
                    overhead=pb.LinuxContainerResources(cpu_shares=-1))
    assert error.code() == Code.INVALID_ARGUMENT and "overhead.cpu_shares" in error.details()


def test_resources_of_an_unknown_pod(any_daemon):
    assert refused(any_daemon.client.UpdatePodSandboxResources, pod_sandbox_id="f" * 64).code() == Code.NOT_FOUND
