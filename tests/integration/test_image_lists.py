"""What lists say of images, what removes them, and how much they take."""
import json
import time

import pytest

from harness.cri import pb
from images import oci

pytestmark = [pytest.mark.berth, pytest.mark.usefixtures("no_images_stay")]
US = "docker.io/berthtest/"


@pytest.mark.parametrize("by", ["tag", "digest", "id", "prefix"])
def test_removal_by_any_name_takes_all_names(any_daemon, by):
    """CRI v1 RemoveImage; the other tag must not keep the image."""
    any_daemon.pull("registry.k8s.io/pause:3.9")
    any_daemon.pull("k8s.gcr.io/pause:3.9")
    image, = any_daemon.client.ListImages().images
    assert sorted(image.repo_tags) == ["k8s.gcr.io/pause:3.9", "registry.k8s.io/pause:3.9"]
    name = {"tag": "k8s.gcr.io/pause:3.9", "digest": image.repo_digests[0], "id": image.id, "prefix": image.id[:12]}[by]
    for _ in range(2):
        any_daemon.client.RemoveImage(image=pb.ImageSpec(image=name))
        assert not any_daemon.client.ListImages().images


def test_the_config_is_in_the_verbose_answer(any_daemon):
    any_daemon.pull(US + "configured:1")
    answer = any_daemon.client.ImageStatus(image=pb.ImageSpec(image=US + "configured:1"), verbose=True)
    document = json.loads(answer.info["info"])
    assert document["imageSpec"]["config"]["User"].split(":")[0] == answer.image.username
    assert document["labels"] == document["imageSpec"]["config"].get("Labels", {})


def test_annotations_of_the_manifest_are_shown(any_daemon, fault_registry):
    class Annotated(oci.Image):
        def manifest(self, store):
            return dict(super().manifest(store), annotations={"org.example.key": "a value"})
    reference = fault_registry.serve("annotated/image", Annotated([oci.Layer([oci.file("x")])]))
    any_daemon.pull(reference)
    assert dict(any_daemon.image(reference).spec.annotations) == {"org.example.key": "a value"}


def test_a_filter_is_exact(any_daemon):
    any_daemon.pull("busybox")
    any_daemon.pull(US + "gzip:1")

    def names(text):
        filtered = pb.ImageFilter(image=pb.ImageSpec(image=text))
        return [name for image in any_daemon.client.ListImages(filter=filtered).images for name in image.repo_tags]
    assert names("busybox") == ["docker.io/library/busybox:latest"]
    assert names(US + "gzip:1") == [US + "gzip:1"]
    assert names(US + "gzip") == names("busybo") == names(US + "gzip:2") == []


def test_writable_layers_have_numbers_of_their_own(scratch):
    daemon = scratch()
    container = daemon.run_pod().run_container()

    def usage(kind):
        info = getattr(daemon.client.ImageFsInfo(), kind)[0]
        return info.used_bytes.value, info.inodes_used.value, info.fs_id.mountpoint
    images = usage("image_filesystems")
    container.shell("mkdir /d; for i in 1 2 3 4 5; do dd if=/dev/zero of=/d/$i bs=1M count=1; done")
    deadline = time.monotonic() + 60
    while usage("container_filesystems")[0] < 5 << 20 and time.monotonic() < deadline:
        time.sleep(0.5)    # measured again when it is asked for and older than ten seconds
    written = usage("container_filesystems")
    assert 5 << 20 <= written[0] < 6 << 20 and 7 <= written[1] < 30 and written[2] == images[2]
    assert usage("image_filesystems") == images
