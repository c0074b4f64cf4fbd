"""Disks that are full, out of inodes or quota, read-only or broken: an error that says so, nothing half-done, and work again later.

Environment: BERTH_KILLS calls of each thing that fail one at a time (a few; `tests/run power` takes all), BERTH_POWER_SEED.
"""
import contextlib
import errno
import os
import random
import re
import subprocess
import time

import grpc
import pytest

from crash import disk, faults, power, steps, truth
from harness import leaks, places, pods
from harness.cri import pb
from images import catalog, oci
from registry import faults as registry_faults, registries_conf

pytestmark = pytest.mark.berth
Code = grpc.StatusCode
FAILURES = int(os.environ.get("BERTH_KILLS", "12"))
SEED = int(os.environ.get("BERTH_POWER_SEED", random.SystemRandom().randrange(1 << 31)))
FULL = re.compile(r"no space left on device|disk quota exceeded|disk is full")


def remove(daemon, reference):
    daemon.client.RemoveImage(image=pb.ImageSpec(image=reference))


def refused(what, *arguments, word=None, codes=(Code.RESOURCE_EXHAUSTED,), **fields):
    """The error of something that must fail for want of space; it has to say so."""
    with pytest.raises(grpc.RpcError) as error:
        what(*arguments, **fields)
    assert error.value.code() in codes, error.value
    assert (re.search(word, error.value.details()) if word else FULL.search(error.value.details().lower())), error.value
    return error.value.details()


# One call after the other fails

@pytest.fixture
def store(scratch, fault_registry, tmp_path):
    made = steps.Steps(scratch, fault_registry, tmp_path)
    yield made
    made.faults.off()


@pytest.mark.parametrize("name", ["pull", "import", "pull-large"])
def test_no_space_from_some_call_on(store, name):
    count = store.calls(name, faults.GROWING)
    failed = 0
    for number in steps.some(count, FAILURES if name != "pull-large" else min(FAILURES, 40), SEED):
        store.ready_for(name)
        store.faults.fail(number, errno.ENOSPC)
        try:
            store.do(name)
            answer = ""
        except grpc.RpcError as error:
            assert error.code() == Code.RESOURCE_EXHAUSTED, f"call {number} of {count} (seed {SEED}): {error}"
            answer = error.details()
        except RuntimeError as error:
            answer = str(error)
        where = f"call {number} of {count} (seed {SEED}): {answer or 'no error'}"
        if answer:
            failed += 1
            assert store.faults.hits, where
            assert FULL.search(answer.lower()), where
            subject = store.archive if name == "import" else store.subject(name)
            assert subject in answer, f"{where}: it does not say which image"
            assert not store.is_listed(name), where
        store.faults.off()
        try:
            # What could not reach the disk after the answer is taken back too.
            leaks.settle(lambda: not truth.is_durable(store.daemon), 10)
            store.truth.check(store.daemon, reserved=True)
            if not store.is_listed(name):
                store.do(name)
            truth.wait_durable(store.daemon)
            store.truth.check(store.daemon, reserved=True)
        except Exception as error:
            raise AssertionError(f"{where}: {error}") from error
    assert failed > 3
    store.daemon.restart()
    store.truth.check(store.daemon)


@pytest.mark.parametrize("name", ["pull", "import"])
def test_a_disk_that_does_not_flush_holds_no_image(store, name):
    """A flush that failed once may be said to be well the next time, with the data lost: the image may not stay."""
    store.ready_for(name)
    store.faults.fail(1, errno.EIO, faults.SYNC, times=1)
    try:
        store.do(name)
    except (grpc.RpcError, RuntimeError) as error:
        text = error.details() if isinstance(error, grpc.RpcError) else str(error)
        assert "input/output error" in text.lower() or "disk i/o error" in text.lower(), text
    assert not leaks.settle(lambda: not store.faults.hits), "nothing was flushed"
    assert not leaks.settle(lambda: store.is_listed(name)), "an image that is not on the disk stays listed"
    store.faults.off()
    store.truth.check(store.daemon, reserved=True)
    store.do(name)
    truth.wait_durable(store.daemon)
    store.truth.check(store.daemon, reserved=True)


# Real ones

@contextlib.contextmanager
def tmpfs(target, options):
    os.makedirs(target, exist_ok=True)
    disk.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", target)
    try:
        yield
    finally:
        disk.unmount(target)


@contextlib.contextmanager
def quota(target):
    with disk.small(target, "btrfs", 512):
        disk.run("btrfs", "quota", "enable", target)
        disk.run("btrfs", "qgroup", "limit", "24M", "0/5", target)
        yield


# name -> a file system with 20 MB or 1500 inodes or so
SMALL = {
    "ext4": lambda target: disk.small(target, "ext4", 24, ("-m", "0", "-O", "^has_journal")),
    "ext4-inodes": lambda target: disk.small(target, "ext4", 256, ("-N", "1500")),
    "xfs": lambda target: disk.small(target, "xfs", 300),
    "tmpfs": lambda target: tmpfs(target, "size=20m"),
    "tmpfs-inodes": lambda target: tmpfs(target, "size=200m,nr_inodes=1500"),
    "btrfs-quota": quota,
}


def image(name, kilobytes=40):
    return catalog.small([oci.file(name, catalog.noise(name, kilobytes))])


class Place:
    """A daemon whose root is a small file system, and images of which one does not fit."""

    def __init__(self, kind, scratch, fault_registry):
        self.kind = kind
        self.daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True), wait=False,
                              with_network=False)
        if "inodes" in kind:
            large = oci.Image([oci.Layer([oci.file(f"f{n}") for n in range(3000)])], catalog.SHELL)
        else:
            parts = [oci.file(f"large{n}", catalog.noise(f"large{n}", 30 << 10)) for n in range(9 if kind == "xfs" else 1)]
            large = oci.Image([oci.Layer(parts, "")], catalog.SHELL)
        self.images = {"small": image("small"), "second": image("second"), "large": large,
                       "layers": catalog.many_layers(4, 128)}
        self.references = {name: fault_registry.serve(f"full/{kind}/{name}", made) for name, made in self.images.items()}

    def pull(self, name):
        return self.daemon.pull(self.references[name])

    def hold(self, *names):
        """Pulls images to the disk; returns what is true of them."""
        known = truth.Truth()
        for name in names:
            self.pull(name)
        truth.wait_durable(self.daemon)
        known.learn(self.daemon)
        return known

    def free(self):
        """Free bytes and inodes, when what was removed has been given back."""
        disk.run("sync", "--file-system", self.daemon.root)
        st = os.statvfs(self.daemon.root)
        return st.f_bavail * st.f_frsize, st.f_favail

    def fill(self):
        """Takes every free block and inode; called again, those that have become free."""
        folder = f"{self.daemon.root}/filler"
        os.makedirs(folder, exist_ok=True)
        for size in (1 << 20, 4096, 1) if "inodes" not in self.kind else ():
            with contextlib.suppress(OSError):
                with open(f"{folder}/{size}", "ab", buffering=0) as out:
                    while out.write(bytes(size)):
                        os.fsync(out.fileno())
        with contextlib.suppress(OSError):
            for number in range(10000):    # some have no limit
                os.close(os.open(f"{folder}/n{number}", os.O_CREAT | os.O_WRONLY, 0o600))

    def empty(self):
        subprocess.run(["rm", "-rf", f"{self.daemon.root}/filler"], check=True)
        self.free()


@pytest.fixture(params=SMALL)
def place(request, scratch, fault_registry):
    made = Place(request.param, scratch, fault_registry)
    made.daemon.own_mounts.add(made.daemon.root)
    with SMALL[request.param](made.daemon.root):
        try:
            made.daemon.start()
            yield made
            made.empty()
            if made.daemon.process and made.daemon.process.poll() is None:
                made.daemon.close()    # before the file system goes, and looked at for leftovers
        finally:
            made.daemon.kill()
            made.daemon.close(check=False)


def test_an_image_that_does_not_fit(place, tmp_path):
    daemon = place.daemon
    known = place.hold("small")
    before = place.free()
    for _ in range(2):
        text = refused(place.pull, "large")
        assert place.references["large"] in text and "layer" in text, text
    path = power.archive(str(tmp_path), place.images["large"], "docker.io/full/large:1")
    done = power.import_archive(daemon, path, check=False)
    assert done.returncode and FULL.search(done.stderr.lower()) and path in done.stderr, done.stderr
    known.check(daemon, reserved=True)
    after = place.free()
    assert after[0] > before[0] - (1 << 20), f"free bytes before and after: {before}, {after}"
    assert after[1] > before[1] - 16 or not before[1], f"free inodes before and after: {before}, {after}"
    place.pull("second")
    container = daemon.run_pod(network=pods.NODE).run_container(image=place.references["second"],
                                                                command=["sleep", "1000"])
    assert container.output(["cat", "/second"]) is not None
    assert container.exec(["true"]).exit_code == 0


def test_a_full_disk(place):
    """Everything is taken: what needs space says so, what gives it back works, and a new berthd starts."""
    daemon = place.daemon
    known = place.hold("small", "layers")
    pod = daemon.run_pod(network=pods.NODE)
    running = pod.run_container(image=place.references["small"], command=["sleep", "1000"])
    place.fill()
    codes = (Code.RESOURCE_EXHAUSTED,)
    refused(place.pull, "second", codes=codes)
    with contextlib.suppress(grpc.RpcError):    # some have room for a container's few files
        pod.create(image=place.references["small"])
    assert running.exec(["true"]).exit_code == 0
    assert len(daemon.client.ListImages().images) == 2
    daemon.stop()
    found = subprocess.run([places.program("berthctl"), "--socket", "unix:///nowhere/berth.sock", "check", "--root", daemon.root,
                            "--state", daemon.state], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert "database" not in re.sub(r"/\S*", "", found.stdout), found.stdout
    daemon.start()
    assert "no room is kept" not in daemon.log()
    assert running.exec(["true"]).exit_code == 0
    remove(daemon, place.references["layers"])
    assert not truth.listed(daemon, place.references["layers"])
    assert not leaks.settle(lambda: not truth.is_durable(daemon), 20)
    known.check(daemon, reserved=True)
    place.pull("second")    # in the room of what was removed
    place.empty()
    place.pull("layers")
    truth.wait_durable(daemon)
    known.learn(daemon)
    known.check(daemon, reserved=True)
    assert pod.run_container(image=place.references["second"], command=["sleep", "1000"]).exec(["true"]).exit_code == 0


def test_removals_on_a_full_disk(place):
    """Pods and images go, one after the other, while somebody else takes whatever room that gives."""
    daemon = place.daemon
    names = ("small", "second", "layers")
    known = place.hold(*names)
    made = []
    for number in range(4):
        pod = daemon.run_pod(network=pods.NODE)
        made.append((pod, pod.run_container(image=place.references["small"], command=["sleep", "1000"])))
    for number, (pod, container) in enumerate(made):
        place.fill()
        if number % 2:
            daemon.restart()
            container.stop(0)
            container.remove()
            pod.stop()
        pod.remove()
        assert truth.folder(f"{daemon.root}/containers") == {left.id for _, left in made[number + 1:]}
    assert not daemon.client.ListPodSandbox().items and not daemon.client.ListContainers().containers
    for name in names:
        place.fill()
        remove(daemon, place.references[name])
        assert not leaks.settle(lambda: not truth.is_durable(daemon), 20)
        known.check(daemon, reserved=True)
    assert not daemon.client.ListImages().images
    place.empty()
    daemon.settled()
    assert os.path.getsize(f"{daemon.root}/reserve") > 0, "nothing is kept for the next time"


def test_a_start_on_a_full_disk_after_a_pull_was_cut_off(place, fault_registry):
    """It forgets the layers that were being unpacked and gives their room back."""
    daemon = place.daemon
    known = place.hold("small")
    slow = fault_registry.serve(f"full/{place.kind}/slow", place.images["layers"],
                                registry_faults.on("blobs", registry_faults.delayed(2)))
    before = len(daemon.layers())
    pulling = daemon.client.PullImage.future(image=pb.ImageSpec(image=slow))
    assert not leaks.settle(lambda: len(daemon.layers()) < before + 4), "no layer is being unpacked"
    daemon.kill()
    with pytest.raises(grpc.RpcError):
        pulling.result(timeout=10)
    place.fill()
    daemon.start()
    known.check(daemon)
    remove(daemon, place.references["small"])
    known.check(daemon)


def test_a_container_on_a_full_disk(place):
    """CreateContainer says what is the matter, and nothing of the container is left."""
    daemon = place.daemon
    place.pull("small")
    truth.wait_durable(daemon)
    pod = daemon.run_pod(network=pods.NODE)
    place.fill()
    created = []
    for number in range(40):    # until the last reserves are used up
        try:
            created.append(pod.create(image=place.references["small"], name=f"full{number}"))
        except grpc.RpcError as error:
            assert error.code() == Code.RESOURCE_EXHAUSTED, error
            assert FULL.search(error.details().lower()), error
            break
    else:
        assert place.kind == "tmpfs", "40 containers were made on a full disk"    # there an empty folder needs no block
    assert {c.id for c in daemon.client.ListContainers().containers} == {container.id for container in created}
    assert truth.folder(f"{daemon.root}/containers") == {container.id for container in created}
    place.empty()
    assert pod.run_container(image=place.references["small"], command=["sleep", "1000"]).exec(["true"]).exit_code == 0


# Read-only

@pytest.fixture
def fragile(scratch, fault_registry):
    """A root on ext4 that `abort` makes read-only, as the kernel does after an error of the disk."""
    made = Place("read-only", scratch, fault_registry)
    made.options = "errors=remount-ro"
    made.daemon.own_mounts.add(made.daemon.root)
    with disk.small(made.daemon.root, "ext4", 128, mount_options=made.options) as path:
        made.path = path
        made.abort = lambda: disk.run("mount", "-o", "remount,abort", made.daemon.root)
        try:
            made.daemon.start()
            yield made
        finally:
            made.daemon.kill()
            made.daemon.close(check=False)


def test_the_disk_becomes_read_only_during_a_pull(fragile, fault_registry):
    daemon = fragile.daemon
    known = fragile.hold("small")
    slow = fault_registry.serve("full/read-only/slow", fragile.images["layers"],
                                registry_faults.on("blobs", registry_faults.delayed(0.5)))
    pulling = daemon.client.PullImage.future(image=pb.ImageSpec(image=slow))
    time.sleep(0.7)
    fragile.abort()
    with pytest.raises(grpc.RpcError) as error:
        pulling.result(timeout=60)
    text = error.value.details().lower()
    assert slow in text and ("read-only file system" in text or "readonly database" in text or "i/o error" in text), text
    assert error.value.code() in (Code.UNAVAILABLE, Code.FAILED_PRECONDITION, Code.PERMISSION_DENIED, Code.INTERNAL,
                                  Code.RESOURCE_EXHAUSTED, Code.UNKNOWN), error.value
    assert truth.listed(daemon, fragile.references["small"]) and not truth.listed(daemon, slow)
    assert daemon.client.Version().runtime_name == "berth"
    daemon.kill()
    disk.unmount(daemon.root)
    device = disk.mount(fragile.path, daemon.root, "ext4", fragile.options)
    daemon.start()
    known.check(daemon)
    assert truth.listed(daemon, fragile.references["small"])
    daemon.pull(slow)
    assert device


def test_a_root_that_is_read_only_at_the_start(fragile):
    daemon = fragile.daemon
    fragile.pull("small")
    truth.wait_durable(daemon)
    daemon.stop()
    disk.unmount(daemon.root)
    disk.mount(fragile.path, daemon.root, "ext4", "ro")
    size = len(daemon.log())
    daemon.launch()
    assert daemon.process.wait(30) not in (0, -11, -6), "it started on a read-only root"
    daemon.process = None
    text = daemon.log()[size:]
    assert daemon.root in text and "read-only" in text.lower(), text
    disk.unmount(daemon.root)
    disk.mount(fragile.path, daemon.root, "ext4", fragile.options)
    daemon.start()
    assert truth.listed(daemon, fragile.references["small"])
