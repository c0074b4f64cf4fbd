"""The images that compare pulls, and how a pull is measured: wall time, the daemon's CPU time and memory.

CPU time is the daemon's own and its children's, until it has nothing left to do: what is deferred counts. Memory is the
peak of the resident set (VmHWM, which is reset before), above what the daemon had when it was idle.
"""
import gzip
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tarfile
import threading
import time

from harness import places
from images import oci
from registry import server

SHARING = 10
MANY = 500


def noise(seed, size):
    """Text that gzip halves."""
    return random.Random(seed).randbytes(size // 2).hex().encode()


def large_files():
    """8 layers of 25 MB, 12.5 MB packed, in files of 256 KiB."""
    return oci.Image([oci.Layer([oci.file(f"data{layer}/{number}", noise(f"{layer}.{number}", 256 << 10))
                                 for number in range(96)]) for layer in range(8)])


def small_files():
    """4 layers of 8,000 files of 0.6 to 3.6 kB each, 100 to a folder."""
    sizes = random.Random("sizes")
    return oci.Image([oci.Layer([
        oci.file(f"tree{layer}/{number // 100}/{number}", noise(f"{layer}-{number}", sizes.randint(600, 3600)))
        for number in range(8000)]) for layer in range(4)])


class RepeatedLayer(oci.Layer):
    """Many files of the same content; packed in gzip members, so that the content is packed once."""

    def __init__(self, count, content):
        super().__init__([oci.file(f"file{number}", content) for number in range(count)])
        self.content = content

    def blob(self):
        packed = gzip.compress(self.content, compresslevel=6, mtime=0)
        heads = [member.tarinfo().tobuf(tarfile.PAX_FORMAT) for member in self.members]
        return b"".join(gzip.compress(head, mtime=0) + packed for head in heads) + gzip.compress(bytes(1024), mtime=0)

    def diff_id(self):
        digest = hashlib.sha256()
        for member in self.members:
            digest.update(member.tarinfo().tobuf(tarfile.PAX_FORMAT) + self.content)
        digest.update(bytes(1024))
        return "sha256:" + digest.hexdigest()


def one_large_layer():
    """One layer of 1 GiB in 16 files, half of that packed."""
    return oci.Image([RepeatedLayer(16, noise("big", 64 << 20))])


def sharing_images():
    """Images with three layers of 25 MB in common and one of 6 MB each."""
    common = large_files().layers[:3]
    return [oci.Image(common + [oci.Layer([oci.file(f"own{image}/{number}", noise(f"own{image}.{number}", 256 << 10))
                                           for number in range(24)])]) for image in range(SHARING)]


# What is pulled at once.
SETS = {"8 layers, 100 MB": ["docker.io/bench/large:1"],
        "32,000 small files": ["docker.io/bench/small:1"],
        "one layer of 1 GB": ["docker.io/bench/big:1"],
        "10 images at once": [f"docker.io/bench/sharing:{number}" for number in range(SHARING)]}


def registry_content():
    """A registry's storage with what the tests have and the images to pull; made once."""
    storage = os.path.join(places.CACHE, "bench-registry-2")
    if os.path.exists(os.path.join(storage, "complete")):
        return storage
    shutil.rmtree(storage, ignore_errors=True)
    shutil.copytree(server.content(), storage)
    makers = [lambda: [large_files()], lambda: [small_files()], lambda: [one_large_layer()], sharing_images]
    with server.DockerRegistry(storage, writable=True) as registry:
        for references, make in zip(SETS.values(), makers):
            for reference, image in zip(references, make()):
                folder = places.scratch("bench-image-")
                oci.write_layout(folder, image)
                server.push(registry, folder, reference)
                shutil.rmtree(folder)
    with open(os.path.join(storage, "complete"), "w", encoding="utf-8"):
        return storage


def import_many(daemon):
    """MANY images that differ in their configurations."""
    layer = oci.Layer([oci.file("x", "x")])
    folder = places.scratch("bench-images-")
    store = oci.BlobStore(folder)
    manifests = [dict(oci.Image([layer], {"Labels": {"number": str(number)}, "Env": ["PATH=/bin"]}).put(store),
                      annotations={"io.containerd.image.name": f"docker.io/bench/many:{number}",
                                   "org.opencontainers.image.ref.name": f"docker.io/bench/many:{number}"})
                 for number in range(MANY)]
    oci.write_index(folder, manifests)
    with tarfile.open(f"{folder}.tar", "w") as out:
        out.add(folder, ".")
    command = [places.program("berthctl"), "--socket", f"unix://{daemon.socket}", "import"] if daemon.kind == "berthd" else \
        ["ctr", "--address", daemon.socket, "--namespace", "k8s.io", "images", "import"]
    subprocess.run([*command, f"{folder}.tar"], check=True, stdout=subprocess.DEVNULL)
    while len(daemon.client.ListImages().images) < MANY:    # containerd's CRI hears of them from its events
        time.sleep(0.1)
    shutil.rmtree(folder)
    os.unlink(f"{folder}.tar")


# -- measuring

def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def status_kib(pid, key):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key + ":"))


def settle(run, seconds=120):
    """Writes the disk's caches out and waits until the daemon has hardly run for three seconds and has deleted what it
    removed. Returns its CPU time."""
    pid, trash = run.daemon.pid, os.path.join(run.daemon.base, "root", "trash")
    os.sync()
    before = cpu_seconds(pid)
    end = time.monotonic() + seconds
    quiet = 0
    while quiet < 3 and time.monotonic() < end:
        time.sleep(1)
        now = cpu_seconds(pid)
        is_busy = now - before > 0.015 or os.path.exists(trash) and os.listdir(trash)
        quiet = 0 if is_busy else quiet + 1
        before = now
    os.sync()
    return cpu_seconds(pid)


def timed(calls):
    """Makes all calls at once; milliseconds until the last has ended. The first failure is raised."""
    failures = []

    def guarded(call):
        try:
            call()
        except Exception as failure:  # pylint: disable=broad-except
            failures.append(failure)
    threads = [threading.Thread(target=guarded, args=[call]) for call in calls]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = (time.monotonic() - start) * 1000
    if failures:
        raise failures[0]
    return elapsed


def measure(run, titles):
    """One pull and one removal of each set. `run`: compare's Run, which collects the figures."""
    client, pid = run.daemon.client, run.daemon.pid
    for title in titles:
        images = SETS[title]

        def note(operation, value, title=title):
            run.samples.setdefault((title, operation), []).append(value)
            print(f"  {title}: {operation}: {value:.1f}", file=sys.stderr, flush=True)
        idle = settle(run)
        with open(f"/proc/{pid}/clear_refs", "w", encoding="utf-8") as reset:
            reset.write("5")
        resident = status_kib(pid, "VmRSS")
        note("PullImage, ms", timed([lambda image=image: client.PullImage(image={"image": image}, timeout=600)
                                     for image in images]))
        note("PullImage, MiB above idle", (status_kib(pid, "VmHWM") - resident) / 1024)
        pulled = settle(run)
        note("PullImage, CPU ms", (pulled - idle) * 1000)
        note("RemoveImage, ms", timed([lambda: [client.RemoveImage(image={"image": image}, timeout=600)
                                                for image in images]]))
        note("RemoveImage, CPU ms", (settle(run) - pulled) * 1000)
