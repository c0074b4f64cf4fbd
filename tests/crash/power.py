"""A berthd's life on a disk whose power can be cut, and what must be true after each cut.

`record` runs a berthd on a PowerDisk: pulls, removals, pulls of the same again, an import, containers, a kill. It takes down
when each image began to come or go, and when that was certainly on the disk. `Recording.check_cut` makes the disk of one
moment, boots a berthd from it, and compares.
"""
import concurrent.futures
import contextlib
import os
import subprocess
import tarfile
import uuid

from crash import disk, truth
from crash.faults import StorageFaults
from harness import berthd, places, pods
from harness.cri import pb
from images import catalog, oci
from registry import registries_conf

PRESENT, ABSENT, EITHER = "listed", "gone", "listed or gone"


def images():
    """name -> image. Each has a layer that no other has; most share the first one."""
    base = catalog.static_layer()
    small_files = [oci.file(f"many/dir{n % 20}/file{n}", catalog.noise(f"small{n}", 1 + n % 7)) for n in range(250)]
    odd = [oci.file("odd/large", catalog.noise("large", 3000)), oci.hardlink("odd/hard", "odd/large"),
           oci.symlink("odd/link", "large"), oci.file("odd/x", "x", xattrs={"user.berth": b"value"}),
           oci.directory("odd/mode", mode=0o711), oci.fifo("odd/fifo"), oci.file("not/described/file", "x"),
           oci.file("odd/owned", "x", uid=70000, gid=70001, mode=0o640), oci.whiteout("bin/busybox")]
    return {
        "old": oci.Image([base, oci.Layer([oci.file("old", catalog.noise("old", 100))])], catalog.SHELL),
        "many": oci.Image([base, oci.Layer([oci.directory("many"), *small_files])], catalog.SHELL),
        "odd": oci.Image([base, oci.Layer(odd, "zstd")], catalog.SHELL),
        "layers": catalog.many_layers(5, 160),
        "alone": oci.Image([oci.Layer([oci.file("alone", "x")])], catalog.SHELL),
        "imported": oci.Image([base, oci.Layer([oci.file("imported", catalog.noise("imported", 200))])], catalog.SHELL),
    }


class RebootedBerthd(berthd.ScratchBerthd):
    """Believes that the machine was booted since: /run is new, and so is the boot id, in a mount namespace of its own."""

    def command(self):
        path = f"{self.base}/boot-id"
        with open(path, "w", encoding="utf-8") as out:
            out.write(f"{uuid.uuid4()}\n")
        return ["unshare", "--mount", "--", "sh", "-c",
                'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"', path, *super().command()]


def archive(folder, image, name):
    """The image as a tar file that `berthctl import` takes."""
    oci.write_layout(f"{folder}/layout", image, name)
    with tarfile.open(f"{folder}/image.tar", "w") as out:
        out.add(f"{folder}/layout", ".")
    return f"{folder}/image.tar"


def import_archive(daemon, path, check=True):
    return subprocess.run([places.program("berthctl"), "--socket", f"unix://{daemon.socket}", "import", path], check=check,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Recording:
    """What happened on the disk and when. `marks`: (position in the log, reference, what must be true of it from then on)."""

    def __init__(self, kind, registry):
        self.kind, self.registry = kind, registry
        self.images = images()
        self.references = {name: registry.serve(f"power/{name}", image) for name, image in self.images.items()}
        self.references["imported"] = "docker.io/power/imported:1"
        self.marks, self.pending = [], {}
        self.truth = truth.Truth()
        self.daemon = self.disk = self.log = None
        self.begin = 0

    def options(self):
        return {"wait": False, "with_network": False, "runtime": "crun",
                "registries": registries_conf.entry(location=self.registry.host, insecure=True)}

    # -- recording

    def _begin(self, name, becomes):
        self.marks.append((self.disk.written(), name, EITHER))
        self.pending[name] = becomes

    def pull(self, name):
        self._begin(name, PRESENT)
        self.daemon.pull(self.references[name])

    def remove(self, name):
        self._begin(name, ABSENT)
        self.daemon.client.RemoveImage(image=pb.ImageSpec(image=self.references[name]))

    def import_image(self, name):
        self._begin(name, PRESENT)
        import_archive(self.daemon, archive(self.daemon.base, self.images[name], self.references[name]))
        self._settle([name])    # an import has answered: it is on the disk

    def _settle(self, names):
        for name in names:
            self.marks.append((self.disk.written(), name, self.pending.pop(name)))

    def durable(self):
        """Waits until berthd, by itself, has put everything on the disk."""
        truth.wait_durable(self.daemon)
        self._settle(list(self.pending))
        self.truth.learn(self.daemon)

    def live(self):
        """A life in which images come and go, alone and at once, with containers and a kill in between."""
        self.pull("old")
        self.durable()
        self.pull("many")
        self.pull("odd")
        self.durable()
        self.import_image("imported")
        pod = self.daemon.run_pod(network=pods.NODE)
        container = pod.run_container(image=self.references["old"], command=["sh", "-c", "echo x > /written; exec sleep 1000"])
        self.remove("many")
        self.durable()
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            list(threads.map(self.pull, ("many", "layers", "alone")))
        self.durable()
        self.remove("odd")
        self.pull("odd")
        self.durable()
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            jobs = [threads.submit(self.remove, name) for name in ("many", "layers")]
            for job in jobs:
                job.result()
        container.remove()
        self.daemon.kill()
        self.daemon.start()
        self.pull("many")
        self.remove("imported")
        self.durable()

    # -- looking at cuts

    def expected(self, position):
        """name -> what must be true of it when everything up to `position` had been sent to the disk."""
        out = dict.fromkeys(self.references, ABSENT)
        for at, name, what in self.marks:
            if at <= position:
                out[name] = what
        return out

    def check_cut(self, cut, with_container=False):
        """Boots from the disk of a cut; raises when anything is wrong. Returns how many images were listed."""
        daemon = RebootedBerthd(**self.options())
        daemon.own_mounts.add(daemon.root)
        try:
            path = self.log.cut(cut, self.disk.folder)
            device = disk.mount(path, daemon.root, self.kind)
            try:
                self._check(daemon, cut, with_container)
                listed = self.before
            finally:
                daemon.kill()
                daemon.close(check=False)
                disk.wait_detached(device)
            disk.check(path, self.kind)
            return listed
        except Exception as error:
            raise AssertionError(f"{self.kind}, {cut}: {error}") from error

    def _check(self, daemon, cut, with_container):
        daemon.start()
        self.truth.check(daemon)
        self.before = len(daemon.client.ListImages().images)
        for name, what in self.expected(self.log.position(cut.last)).items():
            if what != EITHER:
                found = PRESENT if truth.listed(daemon, self.references[name]) else ABSENT
                assert found == what, f"image '{name}' is {found}, must be {what}"
        for name, reference in self.references.items():
            if name != "imported":
                daemon.pull(reference)
        self.truth.check(daemon)
        if with_container:
            pod = daemon.run_pod(network=pods.NODE)
            assert pod.run_container(image=self.references["old"]).output(["cat", "/bin/busybox"])
        daemon.remove_pods()
        daemon.remove_images()
        truth.wait_durable(daemon)
        self.truth.check(daemon)
        assert not daemon.layers(), "layers stay when all images are gone"
        status = daemon.stop()
        assert status == 0, f"berthd ended with status {status}"
        truth.check_file(daemon.root)


@contextlib.contextmanager
def record(kind, registry, no_sync=0):
    """The recording of one life. no_sync: classes of berthd's flushes that do nothing, as if it had none (crash.faults)."""
    recording = Recording(kind, registry)
    daemon = recording.daemon = berthd.ScratchBerthd(**recording.options())
    daemon.own_mounts.add(daemon.root)
    recording.disk = disk.PowerDisk(daemon.root, kind)
    try:
        with contextlib.ExitStack() as running:
            running.callback(daemon.close, check=False)
            recording.disk.__enter__()
            if no_sync:
                faults = StorageFaults(daemon.base)
                daemon.environment = faults.environment()
                faults.no_sync(no_sync)
            recording.begin = recording.disk.written()
            daemon.start()
            recording.live()
            daemon.remove_pods()
            end = recording.disk.written()
        recording.disk.unplug()
        recording.end = end
        recording.log = disk.Log(recording.disk)
        yield recording
    finally:
        if recording.log:
            recording.log.close()
        recording.disk.close()
