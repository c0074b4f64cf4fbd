"""Images: references, pulling what registries offer, what is listed, removal."""
import concurrent.futures
import os
import shutil
import time

import grpc
import pytest

from harness import leaks, pods
from harness.cri import pb
from images import catalog, oci
from registry import faults, registries_conf, server

pytestmark = pytest.mark.usefixtures("no_images_stay")
US = "docker.io/berthtest/"


def read(daemon, reference, command):
    """What a command prints in a container of an image."""
    pod = daemon.run_pod(network=pods.NODE)
    container = pod.run_container(image=reference, command=["sleep", "1000"])
    return container.output(command)


def test_pull_list_status_remove(any_daemon):
    reference = "docker.io/library/busybox:latest"
    digest = server.digests()[reference]
    assert any_daemon.image(reference) is None
    name = any_daemon.pull(reference)
    image = any_daemon.image(reference)
    assert name in (image.id, f"docker.io/library/busybox@{digest}")
    assert list(image.repo_tags) == [reference]
    assert list(image.repo_digests) == [f"docker.io/library/busybox@{digest}"]
    assert image.size > 500_000
    assert image in list(any_daemon.client.ListImages().images)
    any_daemon.client.RemoveImage(image=pb.ImageSpec(image=reference))
    assert any_daemon.image(reference) is None
    any_daemon.client.RemoveImage(image=pb.ImageSpec(image=reference))


@pytest.mark.berth
def test_one_id_everywhere(any_daemon):
    reference = "docker.io/library/busybox:latest"
    pulled = any_daemon.pull(reference)
    image = any_daemon.image(reference)
    assert pulled == image.id
    assert len(image.id.removeprefix("sha256:")) == 64
    digest = image.repo_digests[0]
    for name in (reference, "busybox", "busybox:latest", "library/busybox", "docker.io/library/busybox", digest,
                 image.id, image.id.removeprefix("sha256:"), "sha256:" + image.id.removeprefix("sha256:"),
                 image.id.removeprefix("sha256:")[:12]):
        assert any_daemon.image(name) == image, name


@pytest.mark.parametrize("short", ["busybox", "library/busybox:latest", "docker.io/busybox"])
def test_short_references(any_daemon, short):
    any_daemon.pull(short)
    assert list(any_daemon.image(short).repo_tags) == ["docker.io/library/busybox:latest"]


def test_pull_by_digest(any_daemon):
    digest = server.digests()[US + "gzip:1"]
    reference = f"{US}gzip@{digest}"
    any_daemon.pull(reference)
    image = any_daemon.image(reference)
    assert list(image.repo_digests) == [reference]
    assert not image.repo_tags


@pytest.mark.berth
def test_a_tag_beside_a_digest_is_dropped(any_daemon):
    digest = server.digests()[US + "gzip:1"]
    any_daemon.pull(f"{US}gzip:whatever@{digest}")
    image = any_daemon.image(f"{US}gzip@{digest}")
    assert not image.repo_tags and len(image.repo_digests) == 1


@pytest.mark.parametrize("name", ["gzip", "zstd", "plain"])
def test_compressions(any_daemon, name):
    assert read(any_daemon, f"{US}{name}:1", ["cat", "/packed"]) == name


@pytest.mark.parametrize("name", ["index", "list"])
def test_this_platform_is_chosen(any_daemon, name):
    assert read(any_daemon, f"{US}{name}:1", ["cat", "/arch"]) == "amd64"
    image = any_daemon.image(f"{US}{name}:1")
    assert f"{US}{name}@{server.digests()[f'{US}{name}:1']}" in list(image.repo_digests)


def test_docker_media_types(any_daemon):
    assert read(any_daemon, US + "docker:1", ["ls", "/docker"]) == "/docker\n"


def test_whiteouts(any_daemon):
    listing = read(any_daemon, US + "whiteouts:1", ["find", "/w"])
    assert sorted(line.lstrip("/") for line in listing.splitlines()) == catalog.WHITEOUTS_LEFT


def test_metadata_of_files(any_daemon):
    pod = any_daemon.run_pod(network=pods.NODE)
    container = pod.run_container(image=US + "attributes:1")

    def stat(name, form="%a %u %g %F"):
        return container.output(["stat", "-c", form, f"/a/{name}"]).strip()
    assert stat("owned") == "640 1234 5678 regular file"
    assert stat("large-id", "%u %g") == "3000000000 3000000001"
    assert stat("setuid", "%a") == "4755"
    assert stat("setgid", "%a %g") == "2755 33"
    assert stat("sticky", "%a %F") == "1777 directory"
    assert stat("fifo", "%a %F") == "600 fifo"
    assert stat("old", "%Y") == "86400"
    assert stat("hard", "%i %h") == stat("owned", "%i %h")
    assert stat("hard", "%h") == "2"
    assert container.output(["readlink", "/a/absolute"]).strip() == "/a/owned"
    assert container.output(["readlink", "/a/dangling"]).strip() == "nowhere"
    assert container.output(["cat", "/a/spa ce\tand\u00e9"]) == "x"
    assert container.output(["cat", f"/a/{'d' * 120}/{'f' * 120}"]) == "long name"
    assert stat("readonly", "%a") == "555"
    assert stat("readonly/inside", "%F") == "regular file"
    assert stat("empty", "%s") == "0"
    assert stat("", "%a %u %g %F") == "755 0 0 directory"
    root = container.host_root()
    assert os.getxattr(f"{root}/a/capable", "security.capability")[:4] == bytes.fromhex("01000002")
    assert os.getxattr(f"{root}/a/xattr", "user.berth") == b"value"


def test_users_of_images(any_daemon):
    any_daemon.pull(US + "numeric-user:1")
    any_daemon.pull(US + "configured:1")
    image = any_daemon.image(US + "numeric-user:1")
    assert (image.uid.value, image.username) == (4242, "")
    image = any_daemon.image(US + "configured:1")
    assert (image.HasField("uid"), image.username) == (False, "www-data")


def test_many_layers(any_daemon):
    container = any_daemon.run_pod(network=pods.NODE).run_container(image=US + "layers:1")
    for number in range(8):
        for part in range(4):
            path = f"{container.host_root()}/data/layer{number}/file{part}"
            with open(path, "rb") as content:
                assert content.read() == catalog.noise(f"{number}.{part}", 128)


@pytest.mark.berth
def test_equal_layers_are_fetched_and_stored_once(any_daemon, fault_registry):
    shared = oci.Layer([oci.file("shared", catalog.noise("shared", 256))])
    one = fault_registry.serve("layers/one", oci.Image([shared, oci.Layer([oci.file("1")])]))
    two = fault_registry.serve("layers/two", oci.Image([shared, oci.Layer([oci.file("2")])]))
    before = any_daemon.client.ImageFsInfo().image_filesystems[0].used_bytes.value
    any_daemon.pull(one)
    between = any_daemon.client.ImageFsInfo().image_filesystems[0].used_bytes.value
    any_daemon.pull(two)
    after = any_daemon.client.ImageFsInfo().image_filesystems[0].used_bytes.value
    assert between - before >= 256 << 10
    assert after - between < 64 << 10
    assert len(fault_registry.blob_requests(oci.digest(shared.blob()))) == 1


@pytest.mark.berth
def test_equal_pulls_at_once_are_one(any_daemon, fault_registry):
    layer = oci.Layer([oci.file("x", catalog.noise("once", 512))])
    reference = fault_registry.serve("pull/once", oci.Image([layer]), faults.on("blobs", faults.delayed(0.3)))
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: any_daemon.pull(reference), range(8)))) == 1
    assert len(fault_registry.blob_requests(oci.digest(layer.blob()))) == 1


@pytest.mark.berth
def test_a_waiter_gives_up_and_the_pull_goes_on(any_daemon, fault_registry):
    layer = oci.Layer([oci.file("x", catalog.noise("patient", 64))])
    reference = fault_registry.serve("pull/patient", oci.Image([layer]), faults.on("blobs", faults.delayed(2)))
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        patient = threads.submit(any_daemon.pull, reference)
        time.sleep(0.3)
        with pytest.raises(grpc.RpcError) as error:
            any_daemon.pull(reference, timeout=0.5)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert patient.result(timeout=30)
    assert any_daemon.image(reference)


def test_layers_come_in_parallel(any_daemon, fault_registry):
    layers = [oci.Layer([oci.file(f"f{n}", catalog.noise(f"par{n}", 16))]) for n in range(3)]
    reference = fault_registry.serve("pull/parallel", oci.Image(layers), faults.on("blobs", faults.delayed(1)))
    start = time.monotonic()
    any_daemon.pull(reference)
    # The config is a blob too; one after the other it would be four seconds.
    assert time.monotonic() - start < 3.5


# Removal

@pytest.mark.berth
def test_removed_layers_leave_the_disk(scratch):
    daemon = scratch()
    daemon.pull(US + "layers:1")
    usage = daemon.client.ImageFsInfo().image_filesystems[0]
    assert usage.fs_id.mountpoint.startswith(daemon.root)
    assert usage.used_bytes.value > 4 << 20 and usage.inodes_used.value > 32 and usage.timestamp
    daemon.client.RemoveImage(image=pb.ImageSpec(image=US + "layers:1"))
    assert not leaks.settle(daemon.layers)
    # What is in the trash counts until it is deleted.
    assert not leaks.settle(lambda: daemon.client.ImageFsInfo().image_filesystems[0].used_bytes.value)


@pytest.mark.berth
def test_layers_in_use_stay_until_their_container_goes(scratch):
    daemon = scratch()
    container = daemon.run_pod().run_container(image=US + "gzip:1")
    daemon.client.RemoveImage(image=pb.ImageSpec(image=US + "gzip:1"))
    assert not daemon.client.ListImages().images
    assert container.output(["cat", "/packed"]) == "gzip"
    container.remove()
    assert not leaks.settle(daemon.layers)


@pytest.mark.berth
def test_images_survive_a_restart(scratch):
    daemon = scratch()
    daemon.pull(US + "whiteouts:1")
    before = daemon.client.ListImages()
    daemon.kill()
    daemon.start()
    assert daemon.client.ListImages() == before
    listing = read(daemon, US + "whiteouts:1", ["find", "/w"])
    assert sorted(line.lstrip("/") for line in listing.splitlines()) == catalog.WHITEOUTS_LEFT


@pytest.mark.berth
def test_pinned_images_say_so(scratch):
    daemon = scratch(image={"pinned": ["docker.io/library/busybox:latest"]})
    daemon.pull("busybox")
    daemon.pull(US + "gzip:1")
    assert daemon.image("busybox").pinned
    assert not daemon.image(US + "gzip:1").pinned


# Registries

def credentials():
    return pb.AuthConfig(username=server.USER, password=server.PASSWORD)


@pytest.mark.berth
@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize("tls", [False, True])
def test_authentication(scratch, auth, tls):
    with server.DockerRegistry(server.content(), auth=auth, tls=tls) as locked:
        text = registries_conf.redirect(locked.host, insecure=not tls)
        daemon = scratch(registries=text)
        for host in [locked.host, *([locked.tokens.host] if locked.tokens else [])] if tls else []:
            os.makedirs(f"{daemon.base}/certs.d/{host}")
            shutil.copy(locked.ca, f"{daemon.base}/certs.d/{host}/ca.crt")
        with pytest.raises(grpc.RpcError) as error:
            daemon.pull("busybox")
        assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED or \
            "unauthorized" in error.value.details().lower(), error.value
        wrong = pb.AuthConfig(username=server.USER, password="wrong-and-secret")
        with pytest.raises(grpc.RpcError) as error:
            daemon.pull("busybox", auth=wrong)
        assert "wrong-and-secret" not in error.value.details()
        daemon.pull("busybox", auth=credentials())
        assert daemon.image("busybox")
        assert server.PASSWORD not in daemon.log()
        assert "wrong-and-secret" not in daemon.log()


@pytest.mark.berth
def test_credentials_from_the_auth_file(scratch, tmp_path):
    import base64
    import json
    with server.DockerRegistry(server.content(), auth="basic") as locked:
        file = tmp_path / "auth.json"
        file.write_text(json.dumps({"auths": {locked.host: {
            "auth": base64.b64encode(f"{server.USER}:{server.PASSWORD}".encode()).decode()}}}))
        daemon = scratch(registries=registries_conf.redirect(locked.host), image={"auth_file": str(file)})
        assert daemon.pull("busybox")


@pytest.mark.berth
def test_an_unknown_authority_is_refused(scratch):
    with server.DockerRegistry(server.content(), tls=True) as locked:
        daemon = scratch(registries=registries_conf.redirect(locked.host, insecure=False))
        with pytest.raises(grpc.RpcError) as error:
            daemon.pull("busybox")
        assert "certificate" in error.value.details().lower()


@pytest.mark.berth
def test_insecure_accepts_an_unknown_authority(scratch):
    with server.DockerRegistry(server.content(), tls=True) as locked:
        assert scratch(registries=registries_conf.redirect(locked.host, insecure=True)).pull("busybox")


@pytest.mark.berth
def test_a_blocked_registry_is_not_asked(scratch, fault_registry):
    reference = fault_registry.serve("blocked/image", catalog.small())
    text = registries_conf.entry(location=fault_registry.host, insecure=True, blocked=True)
    with pytest.raises(grpc.RpcError) as error:
        scratch(registries=text).pull(reference)
    assert "block" in error.value.details().lower()
    assert not [r for r in fault_registry.requests if "blocked/image" in r["path"]]


@pytest.mark.berth
def test_mirrors_are_tried_in_order(scratch, registry, fault_registry):
    dead = f"127.0.0.1:{server.free_port()}"
    text = registries_conf.entry(prefix="docker.io", location=f"{dead}/nowhere", mirrors=[
        (f"{dead}/docker.io", True), (f"{fault_registry.host}/empty", True), (f"{registry.host}/docker.io", True)])
    daemon = scratch(registries=text)
    daemon.pull("docker.io/library/busybox")
    assert list(daemon.image("busybox").repo_tags) == ["docker.io/library/busybox:latest"]
    assert [r for r in fault_registry.requests if "/v2/empty/library/busybox/" in r["path"]]


@pytest.mark.berth
def test_the_longest_prefix_wins(scratch, registry):
    dead = f"127.0.0.1:{server.free_port()}"
    text = registries_conf.entry(prefix="docker.io", location=dead, insecure=True) + \
        registries_conf.entry(prefix="docker.io/berthtest", location=f"{registry.host}/docker.io/berthtest",
                              insecure=True)
    daemon = scratch(registries=text)
    assert daemon.pull(US + "gzip:1")
    with pytest.raises(grpc.RpcError) as error:
        daemon.pull("busybox")
    assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN)


@pytest.mark.berth
def test_drop_ins_are_read_too(scratch, registry):
    daemon = scratch(registries="", wait=False)
    with open(f"{daemon.base}/registries.conf.d/10-test.conf", "w", encoding="utf-8") as out:
        out.write(registries_conf.redirect(registry.host))
    daemon.start()
    assert daemon.pull("busybox")


@pytest.mark.berth
def test_credentials_do_not_follow_a_redirect(scratch, fault_registry):
    with faults.FaultRegistry() as elsewhere:
        image = oci.Image([oci.Layer([oci.file("x", "y" * 1000)])])
        elsewhere.repository("private/image").add(image)
        reference = fault_registry.serve(
            "private/image", image, faults.basic("someone", "secret-word"),
            faults.on("blobs", faults.redirect_to(f"http://{elsewhere.host}")))
        text = registries_conf.entry(location=fault_registry.host, insecure=True)
        daemon = scratch(registries=text)
        daemon.pull(reference, auth=pb.AuthConfig(username="someone", password="secret-word"))
        assert elsewhere.requests
        assert not any("authorization" in r["headers"] for r in elsewhere.requests)
        assert "secret-word" not in daemon.log()
