"""A FUSE file system over a folder whose writes are slow, or do not end at all: slow_disk.py SOURCE MOUNTPOINT.

The file `.write_seconds` in the source says how long one write takes, and is read before each: "0.05"; "hang": until it says
something else.
"""
import errno
import os
import sys
import time

import fusepy as fuse

fuse.fuse_python_api = (0, 2)


class SlowDisk(fuse.Operations):
    def __init__(self, source):
        self.source = source

    def _at(self, path):
        return self.source + path

    def _wait(self):
        while True:
            with open(self._at("/.write_seconds"), encoding="utf-8") as says:
                word = says.read().strip()
            if word and word != "hang":
                time.sleep(float(word))
                return
            time.sleep(0.02)

    def getattr(self, path, fh=None):
        try:
            status = os.lstat(self._at(path))
        except OSError as error:
            raise fuse.FuseOSError(error.errno or errno.EIO)
        return {key: getattr(status, key) for key in (
            "st_atime", "st_ctime", "st_gid", "st_mode", "st_mtime", "st_nlink", "st_size", "st_uid")}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self._at(path))]

    def create(self, path, mode, fi=None):
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT, mode)

    def open(self, path, flags):
        return os.open(self._at(path), flags & ~os.O_APPEND & ~os.O_NOFOLLOW)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        self._wait()
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(self._at(path), length)

    def release(self, path, fh):
        os.close(fh)

    def mkdir(self, path, mode):
        os.mkdir(self._at(path), mode)

    def chmod(self, path, mode):
        os.chmod(self._at(path), mode)

    def chown(self, path, uid, gid):
        os.chown(self._at(path), uid, gid)

    def unlink(self, path):
        os.unlink(self._at(path))

    def rename(self, old, new):
        os.rename(self._at(old), self._at(new))


if __name__ == "__main__":
    # Several threads: a write that waits does not keep others.
    fuse.FUSE(SlowDisk(sys.argv[1]), sys.argv[2], foreground=True, nothreads=False, big_writes=True, allow_other=True)
