"""OCI artifacts: files from a registry that are no root file system, as image volumes."""
import hashlib
import json

import grpc
import pytest

from harness import leaks
from harness.cri import pb
from images import oci

pytestmark = pytest.mark.berth
WEIGHTS = bytes(range(256)) * 5000    # more than one piece of anything


def model(**fields):
    return oci.Artifact([("model.bin", WEIGHTS), ("card/README.md", b"read me"), (None, b"no title")], **fields)


def spec(name):
    return pb.ImageSpec(image=name)


def mount(name, path="/model", **fields):
    return {"container_path": path, "image": spec(name), **fields}


@pytest.fixture
def artifact(daemon, fault_registry):
    """The shared daemon's reference of a pulled artifact, which goes after the test."""
    name = fault_registry.serve("artifacts/model", model(annotations={"org.example.licence": "MIT"}))
    daemon.pull(name)
    yield name
    daemon.remove_pods()
    daemon.client.RemoveImage(image=spec(name))


def test_it_is_listed_as_an_image(daemon, artifact):
    descriptor = model(annotations={"org.example.licence": "MIT"}).put(oci.BlobStore())
    answer = daemon.client.ImageStatus(image=spec(artifact), verbose=True)
    image = answer.image
    assert f"sha256:{image.id}" == descriptor["digest"]
    assert list(image.repo_tags) == [artifact]
    assert list(image.repo_digests) == [f"{artifact[:-2]}@{descriptor['digest']}"]
    assert image.size > len(WEIGHTS)
    assert dict(image.spec.annotations) == {"org.example.licence": "MIT"}
    assert json.loads(answer.info["info"])["imageSpec"] is None
    assert image in list(daemon.client.ListImages().images)
    assert daemon.pull(artifact) == image.id


def test_its_files_are_in_a_container(daemon, artifact):
    container = daemon.run_pod().run_container(mounts=[
        mount(artifact), mount(artifact, "/card", image_sub_path="card"),
        mount(artifact, "/one", image_sub_path="card/README.md")])
    listing = container.output(["find", "/model", "-type", "f"]).split()
    digest = hashlib.sha256(b"no title").hexdigest()
    assert sorted(listing) == sorted(
        ["/model/model.bin", "/model/card/README.md", f"/model/sha256-{digest}"])
    assert container.output(["sha256sum", "/model/model.bin"]).split()[0] == hashlib.sha256(WEIGHTS).hexdigest()
    assert container.output(["cat", "/card/README.md", "/one"]) == "read meread me"
    assert b"Read-only" in container.exec(["touch", "/model/x"]).stderr


def test_removal_leaves_a_container_its_files(daemon, artifact):
    container = daemon.run_pod().run_container(mounts=[mount(artifact)])
    layers = len(daemon.layers())
    daemon.client.RemoveImage(image=spec(artifact))
    assert not daemon.client.ImageStatus(image=spec(artifact)).HasField("image")
    assert container.output(["cat", "/model/card/README.md"]) == "read me"
    container.remove()
    assert not leaks.settle(lambda: daemon.layers()[layers - 3:])    # they go in the background


def test_no_container_can_run_it(daemon, artifact):
    pod = daemon.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.create(image=artifact)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "OCI artifact" in error.value.details() and "image volume" in error.value.details()


def test_equal_files_are_fetched_once(daemon, fault_registry):
    one = fault_registry.serve("artifacts/one", oci.Artifact([("weights", WEIGHTS), ("a", b"1")]))
    two = fault_registry.serve("artifacts/two", oci.Artifact([("weights", WEIGHTS), ("a", b"2")]))
    before = len(fault_registry.blob_requests(oci.digest(WEIGHTS)))
    daemon.pull(one)
    daemon.pull(two)
    assert len(fault_registry.blob_requests(oci.digest(WEIGHTS))) == before + 1
    for name in (one, two):
        daemon.client.RemoveImage(image=spec(name))


@pytest.mark.parametrize("title,code", [
    ("../../etc/cron.d/x", grpc.StatusCode.INVALID_ARGUMENT),
    ("/etc/passwd", grpc.StatusCode.INVALID_ARGUMENT),
    (".wh..wh..opq", grpc.StatusCode.INVALID_ARGUMENT),
    ("x" * 2000, grpc.StatusCode.OUT_OF_RANGE),
])
def test_names_that_lead_elsewhere_are_refused(daemon, fault_registry, title, code):
    name = fault_registry.serve("artifacts/hostile", oci.Artifact([(title, b"x")]))
    layers = daemon.layers()
    with pytest.raises(grpc.RpcError) as error:
        daemon.pull(name)
    assert error.value.code() == code and "file name" in error.value.details()
    assert daemon.layers() == layers


@pytest.mark.parametrize("artifact_type,config_type", [
    ("", "application/vnd.cncf.helm.config.v1+json"),
    ("application/vnd.x", "application/vnd.oci.image.config.v1+json"),
])
def test_what_else_is_an_artifact(daemon, fault_registry, artifact_type, config_type):
    name = fault_registry.serve("artifacts/kinds", oci.Artifact(
        [("f", b"content")], artifact_type=artifact_type, config_type=config_type))
    daemon.pull(name)
    container = daemon.run_pod().run_container(mounts=[mount(name)])
    assert container.output(["cat", "/model/f"]) == "content"
    daemon.remove_pods()
    daemon.client.RemoveImage(image=spec(name))
