"""Every image of the tests, by its full reference: `references()` is the list, each value an oci.Image or oci.Index.

Two families: images of our own under docker.io/berthtest (and docker.io/library/busybox and nginx), and
stand-ins for those that critest 1.36 pulls from registry.k8s.io, k8s.gcr.io and gcr.io: same names, tags, users, ports and
output, made from Debian's busybox and nginx.
"""
import functools
import random

from images import files, oci
from images.oci import Image, Index, Layer

NGINX_CONF = """worker_processes 1;
pid /var/run/nginx.pid;
events {{ worker_connections 64; }}
http {{
  default_type text/html;
  access_log /dev/stdout;
  server {{ listen {port}; root /usr/share/nginx/html; }}
}}
"""
NGINX_PAGE = "<html><head><title>Welcome to nginx!</title></head><body>berth</body></html>\n"
SHELL = {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}


def _layer(members, compression="gzip"):
    return Layer(files.parents(members), compression)


@functools.cache
def static_layer():
    return _layer(files.busybox_static())


@functools.cache
def busybox_layers():
    tools = files.program("/usr/bin/pgrep") + files.program("/usr/bin/ipcs")
    base = files.busybox()
    known = {member.name for member in base}
    return [_layer(base), _layer([member for member in tools if member.name not in known])]


def busybox(extra=(), **config):
    """Busybox with `extra` members in a layer of their own."""
    layers = busybox_layers() + ([_layer(extra)] if extra else [])
    return Image(layers, {**SHELL, **config}, files.ARCHITECTURE)


def small(extra=(), compression="gzip", **config):
    """Static busybox, one layer, and `extra` members in a second one."""
    layers = [static_layer()] + ([_layer(extra, compression)] if extra else [])
    return Image(layers, {**SHELL, **config}, files.ARCHITECTURE)


def nginx(port):
    known = {member.name for layer in busybox_layers() for member in layer.members}
    members = [m for m in files.program("/usr/sbin/nginx") if m.name not in known]
    members += [
        oci.file("etc/nginx/nginx.conf", NGINX_CONF.format(port=port)),
        oci.file("usr/share/nginx/html/index.html", NGINX_PAGE),
        oci.directory("var/lib/nginx"), oci.directory("var/log/nginx"),
        oci.symlink("var/log/nginx/error.log", "/dev/stderr"),
    ]
    return Image([*busybox_layers(), _layer(members)],
                 {**SHELL, "Cmd": ["/usr/sbin/nginx", "-g", "daemon off; user www-data;"],
                  "ExposedPorts": {f"{port}/tcp": {}}, "StopSignal": "SIGQUIT"},
                 files.ARCHITECTURE)


def pause():
    return Image([Layer([oci.file("pause", files.compiled("pause"), mode=0o755)])],
                 {"Entrypoint": ["/pause"], "User": "65535:65535"}, files.ARCHITECTURE)


def cri_tools():
    """The images of critest 1.36: pkg/validate/consts.go and images/ of its source."""
    e2e, staging = "registry.k8s.io/e2e-test-images/", "gcr.io/k8s-staging-cri-tools/"
    httpd = busybox([oci.file("srv/index.html", "<html>httpd</html>\n")],
                    Cmd=["sh", "-c", "echo httpd: serving; exec httpd -f -p 80 -h /srv"])
    accounts = [
        oci.file("etc/passwd", files.PASSWD + "default-user:x:1000:1000::/home/default-user:/bin/sh\n"),
        oci.file("etc/group", files.GROUP + "default-user:x:1000:\n"
                 "group-defined-in-image:x:50000:default-user\n"),
    ]
    out = {
        e2e + "busybox:1.29-2": busybox(),
        e2e + "nginx:1.14-2": nginx(80),
        e2e + "httpd:2.4.39-4": httpd,
        e2e + "nonewprivs:1.3": busybox(
            [oci.file("nnp", files.compiled("nonewprivs"), mode=0o4755)], Entrypoint=["/nnp"],
            Cmd=None),
        staging + f"hostnet-nginx-{files.ARCHITECTURE}:latest": nginx(12003),
        staging + "test-image-predefined-group:latest": busybox(accounts, User="1000"),
        staging + "test-image-latest:latest": busybox([oci.file("latest")]),
        staging + "test-image-tag:test": busybox([oci.file("test")]),
        staging + "test-image-tag:all": busybox([oci.file("all")]),
    }
    for registry in ("registry.k8s.io", "k8s.gcr.io"):
        out[registry + "/pause:3.9"] = pause()
    for number in "123":
        out[staging + f"test-image-{number}:latest"] = busybox([oci.file(f"test-{number}")])
        out[staging + f"test-image-tags:{number}"] = busybox([oci.file("tags")])
    for suffix, user in (("uid", "1002"), ("username", "www-data"), ("uid-group", "1003:1003"),
                         ("username-group", "www-data:www-data")):
        out[staging + f"test-image-user-{suffix}:latest"] = busybox(User=user)
    return out


def whiteouts():
    """Three layers; what must be left of them is in WHITEOUTS_LEFT."""
    lower = [oci.directory("w"), oci.directory("w/gone"), oci.file("w/gone/file", "1"),
             oci.file("w/kept", "lower"), oci.file("w/removed", "1"),
             oci.directory("w/opaque"), oci.file("w/opaque/old", "1"),
             oci.directory("w/opaque/olddir"), oci.file("w/opaque/olddir/x", "1"),
             oci.directory("w/becomes-file"), oci.file("w/becomes-file/x", "1"),
             oci.file("w/becomes-directory", "1"), oci.symlink("w/becomes-real", "kept"),
             oci.file("w/comes-back", "first")]
    middle = [oci.directory("w"), oci.whiteout("w/gone"), oci.whiteout("w/removed"),
              oci.directory("w/opaque"), oci.file("w/opaque/new", "2"), oci.opaque("w/opaque"),
              oci.file("w/becomes-file", "2"), oci.directory("w/becomes-directory"),
              oci.file("w/becomes-directory/y", "2"), oci.file("w/becomes-real", "2"),
              oci.whiteout("w/comes-back"), oci.whiteout("w/never-was")]
    upper = [oci.directory("w"), oci.file("w/comes-back", "third"), oci.directory("w/gone"),
             oci.file("w/gone/again", "3")]
    return Image([static_layer(), Layer(lower), Layer(middle), Layer(upper)], SHELL,
                 files.ARCHITECTURE)


WHITEOUTS_LEFT = sorted([
    "w", "w/gone", "w/gone/again", "w/kept", "w/opaque", "w/opaque/new", "w/becomes-file",
    "w/becomes-directory", "w/becomes-directory/y", "w/becomes-real", "w/comes-back"])


def attributes():
    """One file for each kind of metadata that unpacking has to keep."""
    members = [
        oci.directory("a", mode=0o755), oci.file("a/owned", "x", uid=1234, gid=5678, mode=0o640),
        oci.file("a/large-id", "x", uid=3000000000, gid=3000000001),
        oci.file("a/setuid", "x", mode=0o4755), oci.file("a/setgid", "x", mode=0o2755, gid=33),
        oci.directory("a/sticky", mode=0o1777), oci.fifo("a/fifo", mode=0o600),
        oci.file("a/xattr", "x", xattrs={"user.berth": b"value"}),
        oci.file("a/capable", "x", mode=0o755, xattrs={
            "security.capability": bytes.fromhex("0100000200040000000000000000000000000000")}),
        oci.file("a/old", "x", mtime=86400), oci.hardlink("a/hard", "a/owned", uid=1234, gid=5678, mode=0o640),
        oci.symlink("a/absolute", "/a/owned"), oci.symlink("a/relative", "owned"),
        oci.symlink("a/dangling", "nowhere"), oci.file("a/spa ce\tand\u00e9", "x"),
        oci.file("a/" + "d" * 120 + "/" + "f" * 120, "long name"),
        oci.directory("a/readonly", mode=0o555), oci.file("a/readonly/inside", "x"),
        oci.file("a/empty"),
    ]
    return Image([static_layer(), _layer(members)], SHELL, files.ARCHITECTURE)


def noise(seed, kilobytes):
    """Bytes that no compressor makes smaller, the same on every run."""
    return random.Random(seed).randbytes(kilobytes * 1024)


def many_layers(count=8, kilobytes=512):
    layers = [_layer([oci.file(f"data/layer{number}/file{part}", noise(f"{number}.{part}", kilobytes // 4))
                      for part in range(4)]) for number in range(count)]
    return Image([static_layer(), *layers], SHELL, files.ARCHITECTURE)


def platforms(docker=False):
    """One tag for several platforms; /arch says which one was taken."""
    images = [Image([static_layer(), _layer([oci.file("arch", name)])], SHELL, name, variant, docker)
              for name, variant in (("s390x", ""), ("arm64", "v8"), ("amd64", ""))]
    return Index(images, docker)


def own():
    """Images that the tests of this project are about."""
    us = "docker.io/berthtest/"
    probes = [oci.file(f"bin/{name}", files.compiled(name), mode=0o755)
              for name in ("print_fds", "eat_memory", "signals", "sockets")]
    configured = small(
        Entrypoint=["/bin/sh", "-c"], Cmd=["pwd; id; env"], WorkingDir="/srv/dir",
        User="www-data:mail", Env=["FROM_IMAGE=1", "OVERRIDDEN=image", "PATH=/bin:/image"],
        Volumes={"/volume": {}}, StopSignal="SIGUSR1",
        Labels={"org.example.label": "value", "io.kubernetes.pod.name": "from-image"})
    return {
        "docker.io/library/busybox:latest": small(),
        "docker.io/library/nginx:latest": nginx(80),
        us + "probes:1": small(probes),
        us + "configured:1": configured,
        us + "whiteouts:1": whiteouts(),
        us + "attributes:1": attributes(),
        us + "layers:1": many_layers(),
        us + "index:1": platforms(),
        us + "list:1": platforms(docker=True),
        us + "docker:1": Image([static_layer(), _layer([oci.file("docker")])], SHELL,
                               files.ARCHITECTURE, docker=True),
        us + "gzip:1": small([oci.file("packed", "gzip")], "gzip"),
        us + "zstd:1": small([oci.file("packed", "zstd")], "zstd"),
        us + "plain:1": small([oci.file("packed", "plain")], ""),
        us + "no-command:1": Image([static_layer()], {}, files.ARCHITECTURE),
        us + "numeric-user:1": small(User="4242"),
        us + "unknown-user:1": small(User="nosuchuser"),
        us + "stop-number:1": small(probes, StopSignal="10"),
    }


def references():
    return {**own(), **cri_tools()}
