"""Makes the storage calls of one running berthd go wrong, by their number: see storage_faults.c."""
import errno as errors
import mmap
import os
import struct

from crash import tools

MAKE, WRITE, REMOVE, CHANGE, SYNC_FILE, SYNC_ALL = 1, 2, 4, 8, 16, 32
SYNC = SYNC_FILE | SYNC_ALL
ALL = 63
# What needs space; removing and changing do not.
GROWING = MAKE | WRITE
_COUNT, _KILL, _FAIL, _NO_SYNC = range(4)
_EVER = 1 << 60
_PAGE = struct.Struct("=qqqiiii")


class StorageFaults:
    """The page that a berthd started with `environment()` shares with the test; a context manager.

    count() starts counting calls of some classes at 0; kill(n) and fail(n, ...) count from now on too, and the n-th such call
    from now (from 1) is the first to go wrong. off() ends it.
    """

    def __init__(self, folder):
        self.path = os.path.join(folder, "storage-faults")
        with open(self.path, "wb") as out:
            out.write(bytes(mmap.PAGESIZE))
        with open(self.path, "r+b") as file:
            self.page = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def environment(self):
        return {"LD_PRELOAD": tools.storage_faults(), "BERTH_STORAGE_FAULTS": self.path}

    def _set(self, action, first=_EVER, last=_EVER, error=0, classes=ALL):
        _PAGE.pack_into(self.page, 0, 0, _EVER, _EVER, _COUNT, 0, 0, 0)    # nothing goes wrong in between
        _PAGE.pack_into(self.page, 0, 0, first, last, action, error, classes, 0)

    def off(self):
        self._set(_COUNT)

    def count(self, classes=ALL):
        self._set(_COUNT, classes=classes)

    def kill(self, number, classes=ALL):
        """The process gets SIGKILL just before its n-th call from now."""
        self._set(_KILL, number, _EVER, 0, classes)

    def fail(self, number, error=errors.ENOSPC, classes=GROWING, times=_EVER):
        """The n-th call of the classes from now, and those after it, `times` in all, fail with an errno."""
        self._set(_FAIL, number, min(number + times - 1, _EVER), error, classes)

    def no_sync(self, classes):
        """Flushes of some classes do nothing from now on, and say that they did."""
        self._set(_NO_SYNC, classes=classes)

    @property
    def counted(self):
        return _PAGE.unpack_from(self.page)[0]

    @property
    def hits(self):
        return _PAGE.unpack_from(self.page)[6]

    def close(self):
        self.page.close()
