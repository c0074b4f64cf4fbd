"""Registries that fail and images that lie: a clear error, the right code, and nothing changed by it."""
import os
import time

import grpc
import pytest

from harness import leaks
from images import catalog, oci
from registry import faults, hostile, registries_conf, server

pytestmark = pytest.mark.berth
Code = grpc.StatusCode
# A limit was met.
TOO_MUCH = (Code.OUT_OF_RANGE, Code.RESOURCE_EXHAUSTED)


def refused(daemon, reference, timeout=60, **fields):
    """The error of a pull that must fail; nothing of the image is to be seen after it."""
    with pytest.raises(grpc.RpcError) as error:
        daemon.pull(reference, timeout=timeout, **fields)
    assert not daemon.image(reference)
    left = leaks.settle(daemon.layers, 5)
    assert not left, f"layers of a refused image: {left}"
    return error.value


@pytest.fixture(autouse=True)
def no_images(any_daemon):
    any_daemon.remove_images()


def image():
    return oci.Image([oci.Layer([oci.file("x", catalog.noise("bad", 64))])], {"Cmd": ["x"]})


# name -> (faults, codes any of which is right, a word of the error)
ANSWERS = {
    "not-found": ([faults.status(404)], (Code.NOT_FOUND,), "not found"),
    "blob-not-found": ([faults.on("blobs", faults.status(404))], (Code.NOT_FOUND, Code.UNAVAILABLE), ""),
    "unauthorized": ([faults.status(401)], (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNKNOWN), "unauthorized"),
    "forbidden": ([faults.status(403)], (Code.PERMISSION_DENIED, Code.UNKNOWN), ""),
    "wrong-password": ([faults.basic("a", "b")], (Code.UNAUTHENTICATED, Code.UNKNOWN), "401"),
    "server-error": ([faults.status(500)], (Code.UNAVAILABLE, Code.UNKNOWN), "500"),
    "blob-server-error": ([faults.on("blobs", faults.status(500))], (Code.UNAVAILABLE, Code.UNKNOWN), "500"),
    "bad-gateway": ([faults.status(502, b"<html>proxy</html>")], (Code.UNAVAILABLE, Code.UNKNOWN), "502"),
    "redirect-loop": ([faults.redirect_loop()], (Code.UNAVAILABLE, Code.UNKNOWN, Code.FAILED_PRECONDITION,
                                                 Code.INVALID_ARGUMENT), "redirect"),
    "redirect-to-file": ([faults.on("blobs", faults.redirect_to("file:///etc/passwd#"))],
                         (Code.FAILED_PRECONDITION, Code.INVALID_ARGUMENT), "http"),
    "truncated": ([faults.on("blobs", faults.truncated())], (Code.UNAVAILABLE, Code.DATA_LOSS, Code.UNKNOWN), ""),
    "wrong-digest": ([faults.on("blobs", faults.changed(faults.flip_byte))], (Code.DATA_LOSS,), "sha256:"),
    "short-blob": ([faults.on("blobs", faults.changed(lambda data: data[:-1]))], (Code.DATA_LOSS, Code.UNAVAILABLE), ""),
    "long-blob": ([faults.on("blobs", faults.changed(lambda data: data + b"x"))], (Code.DATA_LOSS,), ""),
    "html-manifest": ([faults.on("manifests", faults.changed(lambda _: b"<html>login</html>"))],
                      (Code.DATA_LOSS, Code.INVALID_ARGUMENT), ""),
    "empty-manifest": ([faults.on("manifests", faults.changed(lambda _: b""))], (Code.DATA_LOSS, Code.INVALID_ARGUMENT), ""),
    "endless-manifest": ([faults.on("manifests", faults.endless())],
                         TOO_MUCH, ""),
    "endless-blob": ([faults.on("blobs", faults.endless(b"\x1f\x8b" + bytes(65534)))],
                     TOO_MUCH, ""),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_of_a_bad_registry(any_daemon, fault_registry, case):
    how, codes, word = ANSWERS[case]
    error = refused(any_daemon, fault_registry.serve(f"bad/{case}", image(), *how))
    assert error.code() in codes, error
    assert word.lower() in error.details().lower(), error
    assert f"bad/{case}" in error.details(), "the error does not say which image"


def test_a_registry_that_is_down(any_daemon):
    error = refused(any_daemon, f"127.0.0.1:{server.free_port()}/no/one:1")
    # The kubelet knows this reason by its name, which it reads only when the code is UNKNOWN.
    assert (error.code(), error.details().split(":")[0]) == (Code.UNKNOWN, "RegistryUnavailable") or \
        error.code() == Code.UNAVAILABLE, error


def test_a_digest_that_is_not_there(any_daemon, fault_registry):
    fault_registry.serve("bad/pinned", image())
    error = refused(any_daemon, f"{fault_registry.host}/bad/pinned@sha256:{'0' * 64}")
    assert error.code() == Code.NOT_FOUND


def test_a_manifest_that_is_not_what_its_digest_says(any_daemon, fault_registry):
    repository = fault_registry.repository("bad/swapped", faults.on("manifests", faults.changed(
        lambda data: data.replace(b'"schemaVersion":2', b'"schemaVersion": 2'))))
    digest = repository.add(image())["digest"]
    error = refused(any_daemon, f"{fault_registry.host}/bad/swapped@{digest}")
    assert error.code() == Code.DATA_LOSS


def test_too_many_requests_are_tried_again(any_daemon, fault_registry):
    reference = fault_registry.serve("bad/busy", image(), faults.status(
        429, headers={"Retry-After": "1"}, times=2))
    start = time.monotonic()
    assert any_daemon.pull(reference)
    assert time.monotonic() - start >= 1


def test_too_many_requests_for_ever_is_an_error(any_daemon, fault_registry):
    reference = fault_registry.serve("bad/busy-always", image(), faults.status(429, headers={"Retry-After": "3600"}))
    error = refused(any_daemon, reference)
    assert "429" in error.details() or "too many" in error.details().lower()
    assert error.code() in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.UNKNOWN)


def test_a_server_error_once_is_not_the_end(any_daemon, fault_registry):
    assert any_daemon.pull(fault_registry.serve("bad/once", image(), faults.on("blobs", faults.status(503, times=1))))


def test_a_broken_connection_is_mended(any_daemon, fault_registry):
    assert any_daemon.pull(fault_registry.serve("bad/cut-once", image(), faults.on("blobs", faults.truncated_once())))


@pytest.mark.parametrize("name,fault", [("trickle", faults.trickle()), ("silent", faults.silent())])
def test_a_slow_registry_ends_with_the_callers_patience(any_daemon, fault_registry, name, fault):
    reference = fault_registry.serve(f"slow/{name}", image(), faults.on("blobs", fault))
    start = time.monotonic()
    error = refused(any_daemon, reference, timeout=2)
    assert error.code() == Code.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 10


def test_a_stalled_download_ends_with_the_daemons_patience(scratch, fault_registry):
    reference = fault_registry.serve("slow/stalled", image(), faults.on("blobs", faults.silent()))
    daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True),
                     image={"pull_progress_timeout": "1s"})
    start = time.monotonic()
    error = refused(daemon, reference, timeout=60)
    assert error.code() in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNKNOWN)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("reference", [
    "", " ", "docker.io/UPPER/case", "a//b", "docker.io/x:", "docker.io/x@sha256:123", "docker.io/x@md5:" + "0" * 32,
    "http://docker.io/x", "x" * 5000, "docker.io/../x", "docker.io/x:tag/more", "-x", "docker.io:notaport/x", "a\nb"])
def test_bad_references(any_daemon, reference):
    with pytest.raises(grpc.RpcError) as error:
        any_daemon.pull(reference, timeout=20)
    assert error.value.code() == Code.INVALID_ARGUMENT, error.value


# Documents

def raw_manifest(fault_registry, name, **changes):
    """An image whose manifest has some fields changed (None: removed)."""
    repository = fault_registry.repository(name)
    store = oci.BlobStore()
    document = image().manifest(store)
    for key, value in changes.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = value(document) if callable(value) else value
    repository.blobs.update(store.memory)
    repository.add_raw(oci.encode(document))
    return f"{fault_registry.host}/{name}:1"


MANIFESTS = {
    "no-layers-field": {"layers": None}, "layers-not-a-list": {"layers": {"a": 1}}, "no-config": {"config": None},
    "schema-1": {"schemaVersion": 1}, "schema-text": {"schemaVersion": "2"},
    "layers-and-manifests": {"manifests": [{"mediaType": oci.OCI_MANIFEST, "digest": "sha256:" + "0" * 64, "size": 2}]},
    "bad-layer-digest": {"layers": lambda d: [dict(d["layers"][0], digest="sha256:../../../etc/passwd")]},
    "negative-size": {"layers": lambda d: [dict(d["layers"][0], size=-1)]},
    "huge-size": {"layers": lambda d: [dict(d["layers"][0], size=1 << 62)]},
    "size-text": {"layers": lambda d: [dict(d["layers"][0], size="12")]},
    "unknown-layer-type": {"layers": lambda d: [dict(d["layers"][0], mediaType="application/x-unknown")]},
    "one-layer-too-many": {"layers": lambda d: d["layers"] * 2},
    "one-layer-too-few": {"layers": []},
    "config-is-a-layer": {"config": lambda d: dict(d["layers"][0], mediaType=oci.OCI_CONFIG)},
    "ten-thousand-layers": {"layers": lambda d: d["layers"] * 10000},
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests_that_make_no_sense(any_daemon, fault_registry, case):
    error = refused(any_daemon, raw_manifest(fault_registry, f"manifest/{case}", **MANIFESTS[case]))
    assert error.code() in (Code.INVALID_ARGUMENT, Code.DATA_LOSS, Code.UNIMPLEMENTED, Code.FAILED_PRECONDITION,
                            *TOO_MUCH), error


@pytest.mark.parametrize("text", [b"{", b"[]", b"null", b'{"schemaVersion":2', b"\xff\xfe", b"[" * 100000, b"1e999"],
                         ids=["cut", "list", "null", "cut-later", "no-text", "deep", "number"])
def test_manifests_that_are_not_json_objects(any_daemon, fault_registry, text):
    repository = fault_registry.repository("manifest/garbage")
    repository.add_raw(text)
    error = refused(any_daemon, f"{fault_registry.host}/manifest/garbage:1")
    assert error.code() in (Code.DATA_LOSS, Code.INVALID_ARGUMENT, *TOO_MUCH), error


def test_an_index_without_this_platform(any_daemon, fault_registry):
    other = oci.Index([oci.Image([oci.Layer([oci.file("x")])], architecture="s390x")])
    error = refused(any_daemon, fault_registry.serve("index/other", other))
    assert error.code() == Code.NOT_FOUND
    assert "amd64" in error.details()


def test_an_index_of_itself_and_of_indexes(any_daemon, fault_registry):
    class Deep(oci.Image):
        def __init__(self, inner):
            super().__init__([])
            self.inner = inner

        def put(self, store):
            return self.inner.put(store)
    index = oci.Index([image()])
    for _ in range(40):
        index = oci.Index([Deep(index)])
    error = refused(any_daemon, fault_registry.serve("index/deep", index))
    assert error.code() in (Code.INVALID_ARGUMENT, Code.DATA_LOSS, Code.UNIMPLEMENTED, *TOO_MUCH), error


def test_a_huge_manifest(any_daemon, fault_registry):
    repository = fault_registry.repository("manifest/huge")
    repository.add_raw(b'{"schemaVersion":2,"x":"' + b"y" * (32 << 20) + b'"}')
    error = refused(any_daemon, f"{fault_registry.host}/manifest/huge:1")
    assert error.code() in TOO_MUCH, error


class BadConfig(oci.Image):
    """An image whose configuration is `edit(configuration)`, with a manifest that fits it."""

    def __init__(self, edit):
        super().__init__([oci.Layer([oci.file("x", "y")])], {"Cmd": ["x"]})
        self.edit = edit

    def configuration(self):
        return self.edit(super().configuration())


CONFIGS = {
    "not-an-object": lambda c: [1, 2], "no-rootfs": lambda c: {k: v for k, v in c.items() if k != "rootfs"},
    "wrong-diff-id": lambda c: dict(c, rootfs={"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}),
    "diff-id-is-a-path": lambda c: dict(c, rootfs={"type": "layers", "diff_ids": ["../../../../etc"]}),
    "env-not-a-list": lambda c: dict(c, config={"Env": "PATH=/"}),
    "command-of-numbers": lambda c: dict(c, config={"Cmd": [1, 2]}),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configurations_that_make_no_sense(any_daemon, fault_registry, case):
    error = refused(any_daemon, fault_registry.serve(f"config/{case}", BadConfig(CONFIGS[case])))
    assert error.code() in (Code.INVALID_ARGUMENT, Code.DATA_LOSS), error


# Layers

@pytest.mark.parametrize("case", [*hostile.broken(), *hostile.corrupt_streams()])
def test_broken_layers(any_daemon, fault_registry, case):
    layer = {**hostile.broken(), **hostile.corrupt_streams()}[case]
    error = refused(any_daemon, fault_registry.serve(f"layer/{case}", hostile.plain_image(layer)))
    assert error.code() in (Code.DATA_LOSS, Code.INVALID_ARGUMENT, *TOO_MUCH), error
    assert "sha256:" in error.details(), "the error does not say which layer"


@pytest.mark.parametrize("case", hostile.escapes("/nowhere"))
def test_layers_that_try_to_escape(any_daemon, fault_registry, tmp_path, case):
    canary = tmp_path / "canary"
    canary.mkdir(mode=0o755)
    (canary / "alive").write_text("alive")
    before = [(e.name, e.stat().st_mode, e.stat().st_nlink, e.stat().st_mtime_ns) for e in os.scandir(canary)]
    mode = canary.stat().st_mode
    layers = hostile.escapes(str(canary))[case]
    reference = fault_registry.serve(f"escape/{case}", hostile.plain_image(*layers))
    try:
        any_daemon.pull(reference)
    except grpc.RpcError as error:
        assert error.code() in (Code.INVALID_ARGUMENT, Code.DATA_LOSS), error
    after = [(e.name, e.stat().st_mode, e.stat().st_nlink, e.stat().st_mtime_ns) for e in os.scandir(canary)]
    assert after == before
    assert (canary / "alive").read_text() == "alive"
    assert canary.stat().st_mode == mode
    assert not os.listxattr(canary)
    # What was taken of it lies below the layer's root and nowhere else.
    assert not [path for path in leaks.tree(any_daemon.base) if os.path.basename(path) == "pwned"
                and "/root/layers/" not in path]


def test_a_small_layer_that_is_large_unpacked(any_daemon, fault_registry):
    """64 MB from 64 kB is fine: limits are not guesses about honest images."""
    assert any_daemon.pull(fault_registry.serve("layer/zeros", hostile.plain_image(hostile.bomb())))


def test_a_full_disk(scratch, fault_registry, shell):
    daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True), wait=False)
    os.makedirs(daemon.root)
    shell("mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", daemon.root)
    try:
        daemon.start()
        reference = fault_registry.serve("disk/full", hostile.plain_image(
            oci.Layer([oci.file("big", catalog.noise("big", 32 << 10))])))
        error = refused(daemon, reference)
        assert error.code() == Code.RESOURCE_EXHAUSTED, error
        assert "space" in error.details().lower()
        assert daemon.pull(fault_registry.serve("disk/fits", image())), "the disk is not usable any more"
        daemon.stop()
        assert len(daemon.layers()) == 1
    finally:
        if daemon.process:
            daemon.stop()
        shell("umount", daemon.root)
        daemon.baseline = None
