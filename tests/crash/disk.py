"""Disks: small ones on loop devices, and one whose every write and flush is logged, so that its power can be cut later.

`PowerDisk` is mounted while a daemon works on it. `Log` is what it wrote; `Log.cut` makes the disk as it would be after a
power cut: everything up to a flush, and of what was written after that, which a disk may keep in its cache and put down in any
order, a random part. What a file system and a database make of it is their affair, and berth's.

Loop devices detach themselves with their last mount, so unmounting is all the cleaning there is.
"""
import bisect
import contextlib
import mmap
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time

from crash import tools
from harness import places

MEGABYTE = 1 << 20
_RECORD = struct.Struct("=IIQQ")
_WRITE, _FLUSH, _ZERO = 1, 2, 3
_SECTORS = 4096     # a write that was under way may be torn between blocks of this many bytes

# A file system: how to make it, mount options, how to have it checked.
FILE_SYSTEMS = {
    "ext4": (["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"],
             "noatime", ["e2fsck", "-f", "-n"]),
    "xfs": (["mkfs.xfs", "-q", "-f", "-K"], "noatime", ["xfs_repair", "-n"]),
    "btrfs": (["mkfs.btrfs", "-q", "-f", "-K"], "noatime", ["btrfs", "check", "--readonly"]),
}


def run(*command, quiet=False):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode and not quiet:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stdout}")
    return done.stdout.strip()


def scratch():
    """A folder for disks: in memory where there is much of it, since a disk's content is copied for each cut."""
    memory = "/dev/shm"
    with contextlib.suppress(OSError):
        if shutil.disk_usage(memory).free > 3 << 30:
            return tempfile.mkdtemp(prefix="bt-disk-", dir=memory)
    return places.scratch("bt-disk-")


def make(path, kind, *options):
    run(*FILE_SYSTEMS[kind][0], *options, path)


def check(path, kind):
    """Has the file system's own program look at an image that is not mounted."""
    run(*FILE_SYSTEMS[kind][2], path)


def mount(path, target, kind, options=""):
    """Mounts an image; its loop device goes with the mount."""
    os.makedirs(target, exist_ok=True)
    device = run("losetup", "--find", "--show", path)
    try:
        run("mount", "-t", kind, "-o", ",".join(filter(None, (FILE_SYSTEMS[kind][1], options))), device, target)
    finally:
        run("losetup", "--detach", device)
    return device


def unmount(target):
    """Waits for whoever is still in there: processes that were just killed hold a mount for a moment."""
    deadline = time.monotonic() + 20
    while os.path.ismount(target):
        done = subprocess.run(["umount", target], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode and time.monotonic() > deadline:
            holders = run("fuser", "-vm", target, quiet=True)
            subprocess.run(["umount", "-l", target], check=False)
            raise RuntimeError(f"{done.stderr.strip()}\n{holders}")
        if done.returncode:
            time.sleep(0.05)


def wait_detached(device):
    """A loop device lets go of its file a moment after its last user has gone, in another mount namespace for instance."""
    deadline = time.monotonic() + 20
    while run("losetup", "--noheadings", "--output", "BACK-FILE", device, quiet=True):
        if time.monotonic() > deadline:
            raise RuntimeError(f"'{device}' is still in use")
        time.sleep(0.02)


@contextlib.contextmanager
def small(target, kind="ext4", megabytes=64, options=(), mount_options=""):
    """A small file system of its own, mounted on `target`."""
    folder = scratch()
    path = f"{folder}/disk"
    try:
        with open(path, "wb") as out:
            out.truncate(megabytes * MEGABYTE)
        make(path, kind, *options)
        device = mount(path, target, kind, mount_options)
        try:
            yield path
        finally:
            unmount(target)
            wait_detached(device)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class PowerDisk:
    """A file system of `kind` on a logged disk, mounted on `target` between __enter__ and unplug(); the log stays until close()."""

    def __init__(self, target, kind="ext4", megabytes=512):
        self.target, self.kind, self.bytes = target, kind, megabytes * MEGABYTE
        self.folder = scratch()
        self.log = f"{self.folder}/log"
        self.process = None

    def __enter__(self):
        plugged = f"{self.folder}/plugged"
        os.makedirs(plugged)
        try:
            self.process = subprocess.Popen([tools.power_disk(), plugged, str(self.bytes), self.log,
                                             f"{self.folder}/content"])
            deadline = time.monotonic() + 10
            while not os.path.exists(f"{plugged}/disk"):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("power_disk does not serve: is there a /dev/fuse?")
                time.sleep(0.01)
            make(f"{plugged}/disk", self.kind)
            self.device = mount(f"{plugged}/disk", self.target, self.kind)
        except BaseException:
            self.close()
            raise
        return self

    def written(self):
        """Length of the log: what was asked of the disk before now is in front of it."""
        return os.path.getsize(self.log)

    def unplug(self):
        """Unmounts it."""
        if self.process:
            unmount(self.target)
            if hasattr(self, "device"):
                wait_detached(self.device)
            subprocess.run(["umount", "-l", f"{self.folder}/plugged"], stderr=subprocess.DEVNULL, check=False)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def close(self):
        try:
            self.unplug()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *_):
        self.close()


class Cut:
    """One moment: the number of the last record that was sent to the disk, and what became of those not yet flushed."""

    def __init__(self, last, share, seed):
        self.last, self.share, self.seed = last, share, seed
        self.barrier = self.kept = self.lost = 0

    def __str__(self):
        return (f"cut after record {self.last} (flush at {self.barrier}, of the rest {self.kept} blocks kept, {self.lost} lost, "
                f"share {self.share}, seed {self.seed})")


class Log:
    """The records of an unplugged PowerDisk."""

    def __init__(self, disk):
        self.size = disk.bytes
        with open(disk.log, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.records, self.ends, self.flushes = [], [], []
        at = 0
        while at + _RECORD.size <= len(self.data):
            kind, _, offset, length = _RECORD.unpack_from(self.data, at)
            at += _RECORD.size
            if kind == _FLUSH:
                self.flushes.append(len(self.records))
            self.records.append((kind, offset, length, at))
            at += length if kind == _WRITE else 0
            self.ends.append(at)
        self._base = None
        self._applied = 0

    def close(self):
        if self._base:
            self._base.close()
        self.data.close()

    def position(self, last):
        """Where in the log record `last` ends, to be compared with PowerDisk.written()."""
        return self.ends[last]

    def cuts(self, count, begin, rng):
        """`count` moments after log position `begin`, in their order: half of them anywhere, half just before a flush, where most
        is at stake, or in the middle between two; the shares that survive range from nothing to all."""
        first = bisect.bisect_left(self.ends, begin) + 1
        flushes = [number for number in self.flushes if number > first]
        out = []
        for _ in range(count):
            last = rng.randrange(first, len(self.records))
            if rng.random() < 0.5:
                which = rng.randrange(len(flushes))
                last = flushes[which] - 1 if rng.random() < 0.5 else \
                    rng.randrange(max(first, flushes[which - 1] if which else first), flushes[which] + 1)
            out.append(Cut(last, rng.choice((0, 0.2, 0.5, 0.5, 0.8, 1)), rng.getrandbits(32)))
        return sorted(out, key=lambda cut: cut.last)

    def at_every_flush(self, begin):
        """Each flush, with nothing and with half of what came until the next one."""
        first = bisect.bisect_left(self.ends, begin) + 1
        out = []
        for number, following in zip(self.flushes, [*self.flushes[1:], len(self.records)]):
            if number > first:
                out += [Cut(number, 0, 0), Cut(max(number, following - 1), 0.5, number)]
        return out

    def _apply(self, out, record, blocks=None):
        kind, offset, length, at = record
        pieces = [(0, length)] if blocks is None else \
            [(n * _SECTORS, min((n + 1) * _SECTORS, length)) for n in blocks]
        for begin, end in pieces:
            if kind == _WRITE:
                os.pwrite(out.fileno(), self.data[at + begin:at + end], offset + begin)
            elif kind == _ZERO:
                os.pwrite(out.fileno(), bytes(end - begin), offset + begin)

    def cut(self, cut, folder):
        """The disk after a cut, as a new file. Cuts must come in their order."""
        base = f"{folder}/flushed"
        if self._base is None:
            self._base = open(base, "w+b", buffering=0)
            self._base.truncate(self.size)
        index = bisect.bisect_right(self.flushes, cut.last)
        cut.barrier = self.flushes[index - 1] if index else 0
        assert cut.barrier >= self._applied, "cuts must come in their order"
        for record in self.records[self._applied:cut.barrier]:
            self._apply(self._base, record)
        self._applied = cut.barrier
        path = f"{folder}/cut"
        run("cp", "--sparse=always", base, path)
        rng = random.Random(cut.seed)
        cut.kept = cut.lost = 0
        with open(path, "r+b", buffering=0) as out:
            for record in self.records[cut.barrier:cut.last + 1]:
                count = -(-record[2] // _SECTORS)
                whole = rng.random() < 0.7    # else it is torn
                survives = rng.random() < cut.share
                blocks = [n for n in range(count) if (survives if whole else rng.random() < cut.share)]
                self._apply(out, record, blocks)
                cut.kept += len(blocks)
                cut.lost += count - len(blocks)
        return path
