"""Scratch daemons: a berthd (or, to prove the tests themselves, Debian's containerd) with everything of its own.

A `ScratchDaemon` has its own folder, socket, configuration, CNI network and cgroup parent. `close()` removes all pods
and images' users, stops the daemon and raises `LeftOver` unless nothing remains of it (see leaks.py).
"""
import os
import shutil
import signal
import subprocess
import time

import grpc

from harness import cri, leaks, network, places, pods
from registry import registries_conf

pb = cri.pb


# gRPC keeps a few threads waiting for the next call, more or fewer of them as it likes.
IDLE_THREADS = 8


class LeftOver(AssertionError):
    """Something of a daemon is still there when nothing should be."""


class ScratchDaemon:
    """What both kinds have in common. Not thread-safe, but for `client`."""

    kind = ""
    # Whether it may hold more descriptors and threads after its pods are gone than before they came.
    keeps_resources = False
    # Whether its killed runtimes may leave files in /tmp.
    leaves_runtime_files = False

    def __init__(self, runtime="crun", registry="", registries=None, with_network=True,
                 cgroup_manager="cgroupfs", wait=True, **options):
        self.base = places.scratch("bt-")
        os.chmod(self.base, 0o711)    # the roots of user namespaces come by, as on a node
        self.token = os.path.basename(self.base)
        self.environment = dict(options.pop("environment", {}))    # more of it for the daemon's process
        self.runtime, self.cgroup_manager, self.options = runtime, cgroup_manager, options
        self.root, self.state = f"{self.base}/root", f"{self.base}/state"
        self.socket = f"{self.base}/d.sock"
        self.logs = f"{self.base}/logs"
        self.log_path = f"{self.base}/daemon.log"
        self.registry = registry
        self.registries = registries if registries is not None else (
            registries_conf.redirect(registry) if registry else "")
        os.makedirs(self.logs)
        self.network = network.ScratchNetwork(self.base) if with_network else None
        if not with_network:
            os.makedirs(f"{self.base}/net.d")
        self.process = None
        self.client = None
        self.ids = set()
        self.baseline = None
        self.own_mounts = set()    # below `base`, made by the test
        self.write_configuration()
        if wait:
            try:
                self.start()
            except BaseException:
                self.close(check=False)
                raise

    # -- to be said by each kind

    def write_configuration(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def may_stay(self, path):
        """Whether a file below root may remain once all pods are gone."""
        raise NotImplementedError

    # -- running it

    @property
    def cgroup_parent(self):
        return f"{self.token.replace('-', '')}.slice" if self.cgroup_manager == "systemd" \
            else f"/{self.token}"

    @property
    def pid(self):
        return self.process.pid if self.process else 0

    def launch(self):
        """Starts the process and does not wait for it to serve."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env={"PATH": os.environ["PATH"], "BERTH_SCRATCH": self.token, **self.environment},
                start_new_session=True)

    def start(self):
        self.launch()
        self.wait_ready()
        if self.baseline is None:
            self.baseline = self._resources()
        return self

    def wait_ready(self, seconds=60):
        """Waits until the daemon answers; its log is in the error when it does not."""
        deadline = time.monotonic() + seconds
        if self.client:
            self.client.close()
        self.client = cri.Client(self.socket)
        while True:
            try:
                return self.client.Version(timeout=5)
            except grpc.RpcError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.kind} does not serve (status {self.process.poll()}): "
                                       f"{error.details()}\n{self.log()[-4000:]}") from error
            time.sleep(0.01)

    def stop(self, number=signal.SIGTERM, seconds=30):
        """Ends the daemon and nothing else; returns its exit status."""
        if self.client:
            self.client.close()
            self.client = None
        if not self.process:
            return None
        self.process.send_signal(number)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.kind} still ran {seconds} s after signal {number}") from None
        finally:
            self.process = None
        return status

    def kill(self):
        return self.stop(signal.SIGKILL)

    def restart(self, number=signal.SIGTERM):
        self.stop(number)
        return self.start()

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                return log.read()
        except OSError:
            return ""

    # -- using it

    def pull(self, reference, timeout=120, **fields):
        return self.client.PullImage(image=pb.ImageSpec(image=reference), timeout=timeout, **fields).image_ref

    def image(self, reference):
        """What ImageStatus says of an image; None when it is not there."""
        answer = self.client.ImageStatus(image=pb.ImageSpec(image=reference))
        return answer.image if answer.HasField("image") else None

    def remove_images(self):
        """All of them, but for what the daemon's own pods are made of."""
        for image in self.client.ListImages().images:
            if self.kind != "containerd" or not any("/pause" in name for name in image.repo_tags):
                self.client.RemoveImage(image=pb.ImageSpec(image=image.id))

    def need(self, reference):
        """Pulls an image unless it is there."""
        if not self.image(reference):
            self.pull(reference)
        return reference

    def run_pod(self, **fields):
        return pods.Pod.run(self, **fields)

    def remove_pods(self):
        """Stops and removes every pod the daemon lists, and its containers with it."""
        for pod in self.client.ListPodSandbox().items:
            self.client.StopPodSandbox(pod_sandbox_id=pod.id)
            self.client.RemovePodSandbox(pod_sandbox_id=pod.id)
        for container in self.client.ListContainers().containers:
            self.client.RemoveContainer(container_id=container.id)

    # -- what is left of it

    def _resources(self):
        return {"descriptors": leaks.descriptors(self.pid), "threads": leaks.threads(self.pid),
                "files": leaks.tree(self.root, self.state), "machine": self._left_on_the_machine()}

    def _left_on_the_machine(self):
        """What cannot be told by its name to be this daemon's."""
        return {*leaks.runtime_files(), *leaks.empty_chains()}

    def _grown(self):
        """What the running daemon holds more than when it had no pods yet."""
        if self.keeps_resources:
            return []
        left, now = [], self._resources()
        before = list(self.baseline["descriptors"])
        for target in now["descriptors"]:
            if target in before:
                before.remove(target)
            elif not target.startswith("socket:"):
                left.append(f"descriptor of the daemon: {target}")
        sockets = [sum(target.startswith("socket:") for target in state["descriptors"])
                   for state in (self.baseline, now)]
        if sockets[1] > sockets[0]:
            left.append(f"sockets of the daemon: {sockets[1]}, at the start {sockets[0]}")
        if now["threads"] > self.baseline["threads"] + IDLE_THREADS:
            left.append(f"threads of the daemon: {now['threads']}, at the start {self.baseline['threads']}")
        return left


    def _left_over(self, with_daemon):
        """One line for each thing that remains of pods; of the daemon too, when it should be gone."""
        marks = [*self.ids]
        spare = {self.pid} if self.process else set()
        leaks.reap(spare)
        left = []
        if marks:
            left += leaks.processes(marks, spare) + leaks.cgroups(marks) + leaks.units(marks)
            left += leaks.named_files(marks)
        left += [line for line in self._mounts() if self._pod_mount(line)]
        left += [line for line in leaks.processes([self.token], spare)]
        if self.network:
            left += self.network.left_over()
        left += [f"file {path}" for path in sorted(leaks.tree(self.root, self.state) - self.baseline["files"])
                 if not self.may_stay(path)] if self.baseline else []
        if self.baseline and not self.leaves_runtime_files:
            left += self._left_on_the_machine() - self.baseline["machine"]
        if with_daemon:
            left += self._mounts()
        return sorted(set(left))

    def _mounts(self):
        return [line for line in leaks.mounts([self.base]) if line.split()[1] not in self.own_mounts]

    def _pod_mount(self, line):
        return True

    def settled(self, seconds=10):
        """Raises LeftOver unless the running daemon, all its pods removed, is as it was at its start."""
        self.remove_pods()
        self.client.close()
        left = leaks.settle(lambda: self._left_over(False) + self._grown(), seconds)
        self.client = cri.Client(self.socket)
        if left:
            raise LeftOver(f"left over by {self.kind} with all pods removed:\n  " + "\n  ".join(left))
        self.ids.clear()

    def close(self, check=True):
        """Removes the pods, ends the daemon, takes the scratch away; raises LeftOver for what remains."""
        left, trouble = [], None
        try:
            if self.process and self.client:
                self.remove_pods()
                self.client.close()
                left = leaks.settle(lambda: self._left_over(False) + self._grown())
        except grpc.RpcError as error:
            trouble = error
        status = self.stop() if self.process else 0
        if check and self.baseline:
            left += [line for line in leaks.settle(lambda: self._left_over(True)) if line not in left]
        if status not in (0, None):
            left.append(f"{self.kind} ended with status {status}")
        self._take_away()
        if trouble:
            raise trouble
        if check and left:
            raise LeftOver(f"left over by {self.kind}:\n  " + "\n  ".join(left))

    def _take_away(self):
        """Clears the machine of whatever is there, so that one leak does not fail the tests after it."""
        table = leaks.process_table()
        for line in leaks.processes([self.token, *self.ids], {os.getpid()}, with_mounts=False):
            pid = int(line.split()[1].rstrip(":"))
            if pid in table:
                os.kill(pid, signal.SIGKILL)
        for line in reversed(leaks.mounts([self.base])):
            subprocess.run(["umount", "-l", line.split()[1]], check=False, stderr=subprocess.DEVNULL)
        if self.network:
            self.network.close()
        self._remove_cgroup_parent()
        shutil.rmtree(self.base, ignore_errors=True)

    def _remove_cgroup_parent(self):
        """As the kubelet does for its pods' parents: the folder goes when it is empty."""
        for line in leaks.cgroups([self.token]):
            for folder, _, _ in os.walk(line.split(" ", 1)[1], topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close(check=kind is None)
