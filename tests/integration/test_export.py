"""berthctl export: other programs read the archive, and an import of it gives the same images."""
import json
import os
import subprocess
import tarfile

import pytest

from harness import containerd, leaks, places
from harness.cri import pb
from images import oci

pytestmark = pytest.mark.berth
US = "docker.io/berthtest/"
NAMES = ["docker.io/library/busybox:latest", US + "whiteouts:1", US + "attributes:1", US + "layers:1"]


def berthctl(daemon, *arguments, status=0, **options):
    done = subprocess.run([places.program("berthctl"), "--socket", f"unix://{daemon.socket}", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, check=False, **options)
    assert done.returncode == status, f"{arguments}: status {done.returncode}: {done.stderr.decode()}"
    return done


def export(daemon, path, *arguments):
    berthctl(daemon, "export", "-o", str(path), *arguments)
    return str(path)


def names_and_ids(daemon):
    return {image.id: sorted(image.repo_tags) for image in daemon.client.ListImages().images}


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True).stdout


@pytest.fixture
def full(scratch):
    daemon = scratch()
    for name in NAMES:
        daemon.pull(name)
    return daemon


FORMS = [[], ["--compress"], ["--format", "docker"]]


@pytest.mark.parametrize("form", FORMS, ids=["oci", "oci-gzip", "docker"])
def test_export_wipe_import_gives_the_same(full, tmp_path, form):
    before = names_and_ids(full)
    sizes = {image.id: image.size for image in full.client.ListImages().images}
    path = export(full, tmp_path / "images.tar", *form, *NAMES)
    assert os.listdir(tmp_path) == ["images.tar"]
    full.stop()
    subprocess.run([places.program("berthctl"), "--socket", f"unix://{full.socket}", "wipe", "--all", "--force",
                    "--config", f"{full.base}/berthd.toml", "--config-dir", f"{full.base}/conf.d"],
                   check=True, stdout=subprocess.DEVNULL)
    full.start()
    assert not names_and_ids(full)
    berthctl(full, "import", path)
    assert names_and_ids(full) == before
    assert {image.id: image.size for image in full.client.ListImages().images} == sizes
    container = full.run_pod().run_container(image=US + "whiteouts:1")
    assert "/w" in container.output(["find", "/w"])
    assert full.run_pod().run_container(image=US + "layers:1").output(["ls", "/data"]).count("layer") == 8


def test_layers_are_the_ones_of_the_registry(full, tmp_path):
    """Each blob of a plain export is the tar stream whose digest the config names."""
    path = export(full, tmp_path / "a.tar", *NAMES)
    with tarfile.open(path) as archive:
        blobs = {name.removeprefix("blobs/sha256/"): archive.extractfile(name).read()
                 for name in archive.getnames() if archive.getmember(name).isfile()}
    index = json.loads(blobs["index.json"])
    assert sorted(entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]) == sorted(NAMES)
    for entry in index["manifests"]:
        manifest = json.loads(blobs[entry["digest"][7:]])
        config = json.loads(blobs[manifest["config"]["digest"][7:]])
        assert [layer["digest"] for layer in manifest["layers"]] == config["rootfs"]["diff_ids"]
    for name, data in blobs.items():
        assert name in ("oci-layout", "index.json") or oci.digest(data) == f"sha256:{name}"


@pytest.mark.parametrize("form", FORMS, ids=["oci", "oci-gzip", "docker"])
def test_skopeo_reads_it(full, tmp_path, form):
    path = export(full, tmp_path / "a.tar", *form, *NAMES)
    transport = "docker-archive" if "docker" in form else "oci-archive"
    for name in NAMES:
        shown = json.loads(run("skopeo", "inspect", "--config", f"{transport}:{path}:{name}"))
        layers = full.client.ImageStatus(image=pb.ImageSpec(image=name), verbose=True).info["info"]
        assert shown["rootfs"] == json.loads(layers)["imageSpec"]["rootfs"]
        run("skopeo", "--insecure-policy", "copy", "-q", f"{transport}:{path}:{name}", f"dir:{tmp_path}/copied")


@pytest.mark.parametrize("form", FORMS[:2], ids=["oci", "oci-gzip"])
def test_umoci_unpacks_it(full, tmp_path, form):
    path = export(full, tmp_path / "a.tar", *form, US + "whiteouts:1")
    os.makedirs(tmp_path / "layout")
    run("tar", "-C", str(tmp_path / "layout"), "-xf", path)
    run("umoci", "unpack", "--image", f"{tmp_path}/layout:{US}whiteouts:1", f"{tmp_path}/bundle")
    left = run("find", f"{tmp_path}/bundle/rootfs/w", "-printf", "%P\n").split()
    container = full.run_pod().run_container(image=US + "whiteouts:1")
    assert sorted(left) == sorted(line[3:] for line in container.output(["find", "/w"]).split() if line != "/w")


@pytest.mark.parametrize("form", FORMS, ids=["oci", "oci-gzip", "docker"])
def test_containerd_imports_it(full, tmp_path, form):
    path = export(full, tmp_path / "a.tar", *form, *NAMES)
    with containerd.ScratchContainerd(with_network=False) as other:
        run("ctr", "--address", other.socket, "-n", "k8s.io", "images", "import", path)
        for name in NAMES:
            image = other.client.ImageStatus(image=pb.ImageSpec(image=name)).image
            ours = full.client.ImageStatus(image=pb.ImageSpec(image=name)).image
            assert image.id.removeprefix("sha256:") == ours.id.removeprefix("sha256:"), name


def test_standard_output(full, tmp_path):
    archive = berthctl(full, "export", "busybox", "-o", "-").stdout
    (tmp_path / "a.tar").write_bytes(archive)
    with tarfile.open(tmp_path / "a.tar") as members:
        assert "oci-layout" in members.getnames()


def test_a_shared_layer_is_there_once(full, tmp_path):
    image = full.client.ImageStatus(image=pb.ImageSpec(image="busybox")).image
    one = export(full, tmp_path / "one.tar", "busybox")
    twice = export(full, tmp_path / "twice.tar", "busybox", image.id, image.id[:12])
    assert os.path.getsize(one) == os.path.getsize(twice)


def test_what_cannot_be_exported(full, tmp_path):
    path = str(tmp_path / "a.tar")
    assert b"no image" in berthctl(full, "export", "-o", path, "localhost/absent:1", status=1).stderr
    berthctl(full, "export", "-o", path, "--format", "docker", "--compress", "busybox", status=1)
    berthctl(full, "export", "-o", path, status=2)
    berthctl(full, "export", "-o", "/nowhere/a.tar", "busybox", status=1)
    file = next(f"{folder}/{name}" for folder, _, names in os.walk(f"{full.root}/layers") for name in names
                if "/data/layer3" in folder)
    with open(file, "r+b") as content:
        content.write(b"\0\0")
    done = berthctl(full, "export", "-o", path, US + "layers:1", status=1)
    assert b"layer" in done.stderr and os.path.basename(file).encode() in done.stderr
    os.unlink(full.root + "/recipes/" + file.removeprefix(f"{full.root}/layers/").split("/")[0])
    assert b"no recipe" in berthctl(full, "export", "-o", path, US + "layers:1", status=1).stderr
    assert not os.listdir(tmp_path)


def test_an_artifact_keeps_its_manifest(daemon, fault_registry, tmp_path):
    artifact = oci.Artifact([("a/b", b"x" * 100000), ("c", b"")], annotations={"k": "v"})
    name = fault_registry.serve("export/artifact", artifact)
    image_id = daemon.pull(name)
    path = export(daemon, tmp_path / "a.tar", name)
    daemon.client.RemoveImage(image=pb.ImageSpec(image=name))
    assert not leaks.settle(lambda: [image.id for image in daemon.client.ListImages().images if image.id == image_id])
    berthctl(daemon, "import", path)
    image = daemon.client.ImageStatus(image=pb.ImageSpec(image=name)).image
    assert image.id == image_id and dict(image.spec.annotations) == {"k": "v"}
    daemon.client.RemoveImage(image=pb.ImageSpec(image=name))
