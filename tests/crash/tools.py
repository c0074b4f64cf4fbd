"""Programs of this folder, compiled when a test first needs them."""
import os
import subprocess

from harness import places

HERE = os.path.dirname(os.path.abspath(__file__))


def _compiled(source, name, command):
    code, out = os.path.join(HERE, source), os.path.join(places.CACHE, "crash", name)
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(code):
        os.makedirs(os.path.dirname(out), exist_ok=True)
        part = f"{out}.{os.getpid()}"
        done = subprocess.run([*command, "-O1", "-Wall", "-Wextra", "-Werror", code, "-o", part, *_libraries(source)],
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"cannot compile {source} (contrib/install-deps --test installs what it needs): "
                               f"{done.stderr}")
        os.rename(part, out)
    return out


def _libraries(source):
    if source != "power_disk.cc":
        return ["-ldl"]
    return subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.split()


def power_disk():
    return _compiled("power_disk.cc", "power_disk", ["g++", "-std=c++20"])


def storage_faults():
    return _compiled("storage_faults.c", "storage_faults.so", ["gcc", "-std=gnu17", "-shared", "-fPIC"])
