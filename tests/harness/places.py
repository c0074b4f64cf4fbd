"""Where things are: the tree, the build, the caches, a folder for scratch."""
import os
import tempfile

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TREE = os.path.dirname(TESTS)
CACHE = os.path.join(TESTS, ".cache")
BUILD = os.environ.get("BERTH_BUILD", os.path.join(TREE, "build", "dev"))


def program(name):
    """The path of one of berth's programs; BERTH_BIN names an installed folder instead of a build."""
    installed = os.environ.get("BERTH_BIN")
    if installed:
        return os.path.join(installed, name)
    folder = {"berth-monitor": "monitor", "berth-pause": "pause"}.get(name, name)
    return os.path.join(BUILD, "cmd", folder, name)


def scratch(prefix):
    """A new folder for one test's files, on a file system that can hold overlay's upper layers.

    Short, because unix sockets lie in it: their paths end at 107 bytes.
    """
    return tempfile.mkdtemp(prefix=prefix, dir=os.environ.get("BERTH_TEST_DIR", "/tmp"))
