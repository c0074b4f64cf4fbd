"""Things that are done to an image store, one storage call after the other, so that each call can be the one that goes wrong."""
import random
import subprocess

from crash import faults, power, truth
from harness.cri import pb
from images import catalog, oci
from registry import registries_conf


def image(name):
    """Two small layers with a file of each kind: few calls, all of them different."""
    low = oci.Layer([oci.directory("d", mode=0o750), oci.file("d/f", catalog.noise(name, 40), uid=5, gid=6),
                     oci.hardlink("d/h", "d/f"), oci.symlink("d/s", "f"), oci.file("d/x", "x", xattrs={"user.a": b"b"}),
                     oci.fifo("d/p"), oci.file("i/m/plied", name)])
    high = oci.Layer([oci.directory("d"), oci.whiteout("d/f"), oci.directory("d/o"), oci.opaque("d/o"),
                      oci.file("d/o/new", name), oci.file("i/m/more", name, mode=0o4755)], "zstd")
    return oci.Image([low, high], catalog.SHELL)


class Steps:
    """A daemon under StorageFaults, and the things to do. Each does one thing and leaves the rest as it was."""

    NAMES = ("pull", "import", "remove")

    def __init__(self, scratch, fault_registry, tmp_path):
        self.daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True), wait=False,
                              with_network=False)
        self.faults = faults.StorageFaults(self.daemon.base)
        self.daemon.environment = self.faults.environment()
        self.truth = truth.Truth()
        self.reference = fault_registry.serve("steps/pulled", image("pulled"))
        self.large = fault_registry.serve("steps/large", power.images()["many"])
        self.other = fault_registry.serve("steps/other", image("other"))
        self.imported = "docker.io/steps/imported:1"
        self.archive = power.archive(str(tmp_path), image("imported"), self.imported)
        self.daemon.start()
        for reference in (self.reference, self.large, self.other):
            self.daemon.pull(reference)
        power.import_archive(self.daemon, self.archive)
        truth.wait_durable(self.daemon)
        self.truth.learn(self.daemon)
        for reference in (self.reference, self.large, self.imported):
            self.remove_image(reference)
        truth.wait_durable(self.daemon)

    def remove_image(self, reference):
        self.daemon.client.RemoveImage(image=pb.ImageSpec(image=reference))

    def do(self, name):
        """Raises what the daemon says."""
        if name == "pull":
            self.daemon.pull(self.reference)
        elif name == "pull-large":
            self.daemon.pull(self.large)
        elif name == "import":
            done = power.import_archive(self.daemon, self.archive, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
        elif name == "remove":
            self.remove_image(self.reference)

    def subject(self, name):
        return {"import": self.imported, "pull-large": self.large}.get(name, self.reference)

    def is_listed(self, name):
        return truth.listed(self.daemon, self.subject(name))

    def ready_for(self, name):
        """Brings the store to where the thing can be done again."""
        if name == "remove":
            self.daemon.need(self.reference)
        else:
            self.remove_image(self.subject(name))
        truth.wait_durable(self.daemon)
        self.truth.check(self.daemon, deep=False, reserved=True)

    def calls(self, name, classes=faults.ALL):
        """How many storage calls the thing takes, with what is done in the background after it."""
        self.ready_for(name)
        self.faults.count(classes)
        self.do(name)
        truth.wait_durable(self.daemon)
        return self.faults.counted


def some(count, wanted, seed):
    """`wanted` of the numbers 1..count, spread over all of them; all when there are not so many."""
    rng = random.Random(seed)
    if wanted >= count:
        return list(range(1, count + 1))
    return [1 + (count * n + rng.randrange(count)) // wanted for n in range(wanted)]


def wait_dead(daemon, seconds=20):
    """Whether the daemon has ended by itself."""
    try:
        daemon.process.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        return False
