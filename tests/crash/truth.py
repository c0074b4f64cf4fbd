"""What is right about an image store, looked at from outside: layers byte for byte, nothing half-made, nothing counted wrong.

`Truth.learn` takes down how every unpacked layer looks while all is well; `problems` compares a store with that later and
returns a line for each thing that is wrong. It reads files and the database, and believes only ListImages and ImageFsInfo
of what the daemon says, since those two are being tested.
"""
import collections
import contextlib
import hashlib
import os
import shutil
import sqlite3
import stat
import tempfile
import time

from harness import leaks

Layer = collections.namedtuple("Layer", "number diff_id complete bytes inodes")
EMPTY = "0"     # the directory that overlayfs wants below a single layer
# What no archive describes (some folders, and whiteouts) has the time at which it was made.
_START_NS = time.time_ns()


def listing(top):
    """path -> everything about the file that unpacking decides, contents included."""
    out, links = {}, {}

    def look(path, name):
        st = os.lstat(path)
        kind = stat.S_IFMT(st.st_mode)
        xattrs = tuple((key, os.getxattr(path, key, follow_symlinks=False))
                       for key in sorted(os.listxattr(path, follow_symlinks=False)))
        what = ""
        if kind == stat.S_IFLNK:
            what = os.readlink(path)
        elif kind == stat.S_IFREG:
            with open(path, "rb") as source:
                what = hashlib.file_digest(source, "sha256").hexdigest()
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            what = str(st.st_rdev)
        is_folder = kind == stat.S_IFDIR
        same_as = name if is_folder else links.setdefault(st.st_ino, name)
        out[name] = (oct(st.st_mode), st.st_uid, st.st_gid,
                     "new" if st.st_mtime_ns > _START_NS else st.st_mtime_ns,
                     0 if is_folder else st.st_size, what, same_as, xattrs)
        if is_folder:
            for entry in sorted(os.listdir(path)):
                look(os.path.join(path, entry), f"{name}/{entry}")
    look(top, "")
    return out


def difference(found, expected):
    """The first difference in words; empty when there is none."""
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            return f"'{name or '/'}' is missing"
        if name not in expected:
            return f"'{name}' should not be there"
        if found[name] != expected[name]:
            return f"'{name or '/'}' is {found[name]}, was {expected[name]}"
    return ""


class Database:
    """A snapshot of the tables that say what images there are."""

    def __init__(self, root):
        with _open(root) as db:
            self.layers = {row[0]: Layer(*row) for row in db.execute(
                "SELECT number, diff_id, complete, size_bytes, inodes FROM layers")}
            self.images = {row[0]: [] for row in db.execute("SELECT id FROM images")}
            for image, number in db.execute("SELECT image_id, layer FROM image_layers ORDER BY image_id, position"):
                self.images.setdefault(image, []).append(self.layers[number].diff_id if number in self.layers else number)
            self.loose = db.execute("SELECT count(*) FROM layers WHERE complete = 1 AND number NOT IN (SELECT layer FROM image_layers)") \
                .fetchone()[0]
            columns = [row[1] for row in db.execute("PRAGMA table_info(layers)")]
            self.unflushed = db.execute("SELECT count(*) FROM layers WHERE complete = 1 AND boot_id IS NOT NULL").fetchone()[0] \
                if "boot_id" in columns else 0

    @property
    def complete(self):
        return {layer.number: layer for layer in self.layers.values() if layer.complete}


@contextlib.contextmanager
def _open(root):
    """A copy, since a running berthd keeps others out: the log first, or a checkpoint in between would be lost."""
    with tempfile.TemporaryDirectory(prefix="bt-db-") as copy:
        for suffix in ("-wal", ""):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{root}/berth.db{suffix}", f"{copy}/berth.db{suffix}")
        with contextlib.closing(sqlite3.connect(f"{copy}/berth.db")) as db:
            yield db


def folder(path):
    try:
        return set(os.listdir(path))
    except FileNotFoundError:
        return set()


def is_durable(daemon):
    """Whether all that is listed would survive a power cut, and all that is removed is gone from the database and the disk."""
    database = Database(daemon.root)
    if database.loose and not daemon.client.ListContainers().containers:
        return False    # a removal answers before its layers go
    return database.unflushed == 0 and not folder(f"{daemon.root}/trash")


def wait_durable(daemon):
    assert not leaks.settle(lambda: not is_durable(daemon), 60), "what was pulled did not get to the disk within a minute"


class Truth:
    def __init__(self):
        self.layers = {}     # DiffID -> listing
        self.sizes = {}      # DiffID -> (bytes, inodes), as berth counts
        self.images = {}     # id -> DiffIDs

    def learn(self, daemon):
        """Takes down what there is. A layer that was known must look the same again."""
        database = Database(daemon.root)
        for layer in database.complete.values():
            found = listing(f"{daemon.root}/layers/{layer.number}")
            different = difference(found, self.layers.setdefault(layer.diff_id, found))
            assert not different, f"layer {layer.diff_id} was unpacked in two ways: {different}"
            assert self.sizes.setdefault(layer.diff_id, (layer.bytes, layer.inodes)) == (layer.bytes, layer.inodes)
        for image, diff_ids in database.images.items():
            assert self.images.setdefault(image, diff_ids) == diff_ids

    def problems(self, daemon, deep=True, reserved=False):
        """What is wrong with the store of a running daemon that has nothing to do. Not deep: contents are not read. reserved:
        numbers may be reserved for layers that nobody unpacks (where the disk was too full to forget them; a start does)."""
        database = Database(daemon.root)
        complete = database.complete
        out = [f"layer {layer.number} is reserved and nobody unpacks it"
               for layer in database.layers.values() if not layer.complete and not reserved]
        listed = {image.id.removeprefix("sha256:") for image in daemon.client.ListImages().images}
        if listed != set(database.images):
            out.append(f"listed are {sorted(listed)}, in the database {sorted(database.images)}")
        for image, diff_ids in database.images.items():
            if diff_ids != self.images.get(image):
                out.append(f"image {image} has the layers {diff_ids}, had {self.images.get(image)}")
        out += self._of_layers(daemon.root, complete, deep)
        numbers = {str(number) for number in complete}
        kept = folder(f"{daemon.root}/layers") - {EMPTY}
        if kept != numbers:
            out.append(f"layer folders are {sorted(kept)}, layers are {sorted(numbers)}")
        recipes = folder(f"{daemon.root}/recipes")
        if recipes - numbers or (os.path.isdir(f"{daemon.root}/recipes") and numbers - recipes):
            out.append(f"recipes are {sorted(recipes)}, layers are {sorted(numbers)}")
        for name in ("trash", "import"):
            if folder(f"{daemon.root}/{name}"):
                out.append(f"{name} holds {sorted(folder(f'{daemon.root}/{name}'))}")
        usage = daemon.client.ImageFsInfo().image_filesystems[0]
        expected = [sum(self.sizes.get(layer.diff_id, (0, 0))[i] for layer in complete.values()) for i in (0, 1)]
        if [usage.used_bytes.value, usage.inodes_used.value] != expected:
            out.append(f"usage is {usage.used_bytes.value} bytes and {usage.inodes_used.value} inodes, not {expected}")
        return out

    def _of_layers(self, root, complete, deep):
        out = []
        for layer in complete.values():
            path = f"{root}/layers/{layer.number}"
            if not os.path.isdir(path):
                out.append(f"layer {layer.number} ({layer.diff_id}) has no folder")
            elif layer.diff_id not in self.layers:
                out.append(f"layer {layer.number} ({layer.diff_id}) was never pulled")
            elif deep:
                different = difference(listing(path), self.layers[layer.diff_id])
                if different:
                    out.append(f"layer {layer.number} ({layer.diff_id}): {different}")
        return out

    def check(self, daemon, deep=True, reserved=False):
        """Raises unless all is right, at once or soon (what is removed in the background has its time)."""
        shallow = leaks.settle(lambda: self.problems(daemon, False, reserved), 20)
        found = shallow or (self.problems(daemon, True, reserved) if deep else [])
        assert not found, "the image store is damaged:\n  " + "\n  ".join(found[:20])


def check_file(root):
    """The database of a daemon that has ended, by SQLite's own checks."""
    db = sqlite3.connect(f"{root}/berth.db", timeout=30)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert not db.execute("PRAGMA foreign_key_check").fetchall()
    finally:
        db.close()


def listed(daemon, reference):
    return daemon.image(reference) is not None
