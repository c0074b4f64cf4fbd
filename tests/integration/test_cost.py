"""What berth costs, as promised: memory, durable writes, processes. Each test prints what it measured (pytest -s)."""
import json
import os
import re
import subprocess
import time

import pytest

from harness import leaks, places, pods
from harness.cri import pb
from harness.memory import peak_kilobytes, pss_kilobytes, reset_peak
from images import catalog, oci
from registry import registries_conf

pytestmark = pytest.mark.berth


def sanitized():
    """Whether this is a build whose memory says nothing about berth."""
    listing = subprocess.run(["ldd", places.program("berthd")], stdout=subprocess.PIPE, text=True, check=False).stdout
    return "asan" in listing or "tsan" in listing


def test_memory_of_an_idle_daemon(scratch):
    if sanitized():
        pytest.skip("a build with sanitizers")
    daemon = scratch()
    daemon.run_pod().remove()
    time.sleep(0.5)
    used = pss_kilobytes(daemon.pid)
    print(f"berthd idle: {used} kB PSS")
    assert used <= 24 * 1024


def test_memory_of_monitors_and_pauses(scratch):
    daemon = scratch()
    monitors, pauses = [], []
    for _ in range(10):
        pod = daemon.run_pod(network=pods.NODE)
        container = pod.run_container()
        pauses.append(json.loads(pod.info()["info"])["pid"])
        with open(f"/proc/{container.host_pid()}/stat", encoding="utf-8") as stat:
            monitors.append(int(stat.read().rsplit(")", 1)[1].split()[1]))
    time.sleep(0.5)
    monitor = sum(map(pss_kilobytes, monitors)) / 10
    pause = sum(map(pss_kilobytes, pauses)) / 10
    print(f"berth-monitor: {monitor:.0f} kB PSS, berth-pause: {pause:.0f} kB PSS, averages of 10")
    assert monitor <= 120
    assert pause <= 60


class LongWindow(oci.Layer):
    """Packed by the largest window that berth takes: a decoder has to keep the last 128 MiB of what it has unpacked."""

    def blob(self):
        return subprocess.run(["zstd", "-q", "-c", "-1", "--long=27"], input=self.tar(), check=True, stdout=subprocess.PIPE).stdout


def test_memory_of_layers_with_the_largest_windows(scratch, fault_registry):
    """However a registry's images are packed, eight layers at a time are unpacked in 64 MB."""
    if sanitized():
        pytest.skip("a build with sanitizers")
    layers = [LongWindow([oci.file(f"file{number}-{part}", catalog.noise(f"{number}", 8 << 10)) for part in range(5)], "zstd")
              for number in range(8)]
    reference = fault_registry.serve("windows/eight", oci.Image(layers, catalog.SHELL))
    daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True))
    before = reset_peak(daemon)
    daemon.pull(reference)
    grown = peak_kilobytes(daemon) - before
    print(f"eight layers with windows of 128 MiB: {grown} kB above idle")
    assert grown < 64 * 1024
    assert daemon.client.ImageStatus(image=pb.ImageSpec(image=reference)).image.size > 300 << 20


class Trace:
    """strace of a daemon and its children while something is done."""

    def __init__(self, daemon, calls):
        self.path = f"{daemon.base}/trace"
        self.process = subprocess.Popen(["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", self.path, "-p", str(daemon.pid)],
                                        stderr=subprocess.PIPE, text=True)
        assert not leaks.settle(lambda: self._not_attached(daemon.pid), 10)

    @staticmethod
    def _not_attached(pid):
        tasks = os.listdir(f"/proc/{pid}/task")
        return [task for task in tasks
                if "TracerPid:\t0" in open(f"/proc/{pid}/task/{task}/status", encoding="utf-8").read()]

    def end(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stderr.close()
        with open(self.path, encoding="utf-8", errors="replace") as lines:
            return lines.read().splitlines()


def test_durable_writes_of_a_pod_and_a_container(scratch):
    daemon = scratch()
    daemon.need(pods.BUSYBOX)
    daemon.run_pod().run_container().remove()    # whatever happens once only
    trace = Trace(daemon, "fsync,fdatasync,sync,syncfs,sync_file_range,msync")
    daemon.run_pod(network=pods.NODE).create(command=["sleep", "1000"])
    lines = trace.end()
    syncs = [line for line in lines if re.search(r"\b(fsync|fdatasync|sync|syncfs|sync_file_range|msync)\(", line)]
    print(f"RunPodSandbox and CreateContainer: {len(syncs)} fsync-like calls")
    assert len(syncs) <= 1, syncs


def test_processes_of_a_pod_with_one_container(scratch, runtime):
    daemon = scratch(runtime=runtime)
    daemon.need(pods.BUSYBOX)
    trace = Trace(daemon, "execve")
    pod = daemon.run_pod()
    pod.run_container()
    pod.stop()
    pod.remove()
    lines = [line for line in trace.end() if "execve(" in line and "= 0" in line]
    programs = [os.path.basename(re.search(r'execve\("([^"]+)"', line)[1]) for line in lines]
    network = {"bridge", "host-local", "portmap", "bandwidth", "iptables", "xtables-nft-multi", "ip6tables", "ebtables"}
    own = [name for name in programs if name not in network]
    print(f"processes with {runtime}: {programs}")
    assert own.count("berth-pause") == 1
    assert own.count("berth-monitor") == 1
    # create, start, kill, delete; runc executes itself once more to become the container's first process.
    calls = [name for name in own if name in (runtime, "exe", "memfd:runc_cloned:/proc/self/exe")]
    assert len(calls) <= {"crun": 4, "runc": 8}[runtime], own
    assert set(own) <= {"berth-pause", "berth-monitor", runtime, "exe", "sleep", "busybox"}, own


def test_no_process_is_started_to_answer_questions(scratch):
    daemon = scratch()
    container = daemon.run_pod().run_container()
    daemon.client.Status()    # the first one tries, once for all, what this kernel can do for user namespaces
    trace = Trace(daemon, "execve")
    for _ in range(3):
        daemon.client.ListPodSandbox()
        daemon.client.ListContainers()
        daemon.client.ListImages()
        daemon.client.ImageFsInfo()
        daemon.client.Status(verbose=True)
        daemon.client.ListContainerStats()
        daemon.client.ListPodSandboxStats()
        list(daemon.client.StreamContainerStats())
        list(daemon.client.StreamPodSandboxStats())
        container.status()
        container.info()
    assert not trace.end()
