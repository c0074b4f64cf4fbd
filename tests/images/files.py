"""Files of this machine's Debian packages, as layer members: programs, the libraries they need, busybox."""
import glob
import os
import platform
import re
import subprocess

from images import oci

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(TESTS, ".cache")

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUP = """root:x:0:
daemon:x:1:
bin:x:2:
mail:x:8:
www-data:x:33:
nobody:x:65534:
"""


def _read(path):
    with open(path, "rb") as source:
        return source.read()


def package(name):
    """Unpacks a Debian package into the cache without installing it; returns the folder."""
    folder = os.path.join(CACHE, "packages", name)
    if not os.path.isdir(folder):
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        for old in glob.glob(f"{folder}_*.deb"):
            os.unlink(old)
        subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name],
                       check=True, cwd=os.path.dirname(folder))
        part = folder + ".part"
        subprocess.run(["dpkg-deb", "-x", glob.glob(f"{folder}_*.deb")[0], part], check=True)
        os.rename(part, folder)
    return folder


def parents(members):
    """The members with a directory entry for every folder they lie in, each once, parents first."""
    done, out = set(), []
    for member in members:
        parts = member.name.strip("/").split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth])
            if folder not in done:
                done.add(folder)
                out.append(oci.directory(folder))
        if member.name not in done:
            done.add(member.name)
            out.append(member)
    return out


def program(path, as_path=None, mode=0o755):
    """A program and every shared library it needs, at the paths where its loader looks."""
    members = [oci.file((as_path or path).lstrip("/"), _read(path), mode=mode)]
    listing = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True, check=False).stdout
    for library in re.findall(r"(?:=> |^\s+)(/\S+)", listing, re.MULTILINE):
        members.append(oci.file(library.lstrip("/"), _read(library), mode=0o755))
    return members


def compiled(source):
    """A program of tests/programs, static, as bytes."""
    out = os.path.join(CACHE, "programs", source)
    code = os.path.join(TESTS, "programs", source + ".c")
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(code):
        os.makedirs(os.path.dirname(out), exist_ok=True)
        subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror",
                        "-o", out + ".part", code], check=True)
        os.rename(out + ".part", out)
    return _read(out)


def skeleton():
    """The folders and accounts that every small system has."""
    return [
        *[oci.directory(name) for name in
          ("bin", "dev", "etc", "home", "lib", "proc", "sys", "usr", "usr/bin", "usr/sbin", "sbin",
           "var", "var/log", "run")],
        oci.directory("root", mode=0o700), oci.directory("tmp", mode=0o1777),
        oci.symlink("var/run", "../run"),
        oci.file("etc/passwd", PASSWD), oci.file("etc/group", GROUP),
        oci.file("etc/shadow", "root:*:::::::\n", mode=0o640),
    ]


def busybox_static():
    """Debian's busybox-static and a symbolic link for each of its applets: one small layer."""
    binary = "/bin/busybox"
    applets = subprocess.run([binary, "--list"], check=True, stdout=subprocess.PIPE,
                             text=True).stdout.split()
    return [*skeleton(), oci.file("bin/busybox", _read(binary), mode=0o755),
            *[oci.symlink(f"bin/{name}", "busybox") for name in sorted(applets)
              if name != "busybox"]]


def busybox():
    """Debian's busybox with its libraries and a hard link for each applet.

    It differs from busybox-static in what its shell runs: the files in PATH, not its own applets, so
    that a masked /bin/ls is really not there. Hard links, so that masking one masks one.
    """
    folder = package("busybox")
    binary = os.path.join(folder, "bin", "busybox")
    applets = subprocess.run([binary, "--list"], check=True, stdout=subprocess.PIPE,
                             text=True).stdout.split()
    return [*skeleton(), *program(binary, "/bin/busybox"),
            *[oci.hardlink(f"bin/{name}", "bin/busybox", mode=0o755) for name in sorted(applets)
              if name != "busybox"]]
