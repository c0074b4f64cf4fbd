"""Image volumes: the content of an image mounted in a container, and the volumes that an image itself declares."""
import os
import signal
import subprocess

import grpc
import pytest

from harness import leaks, places
from harness.cri import pb
from images import catalog, oci

pytestmark = pytest.mark.berth
ENDS = [signal.SIGTERM, signal.SIGKILL]
MODEL = "localhost/model:1"


def import_image(daemon, folder, image, name):
    oci.write_layout(str(folder), image, name=name)
    subprocess.run([places.program("berthctl"), "--socket", f"unix://{daemon.socket}", "import", str(folder)],
                   check=True, stdout=subprocess.DEVNULL)


def remove_image(daemon, name):
    daemon.remove_pods()
    daemon.client.RemoveImage(image=pb.ImageSpec(image=name))


def model():
    """An image of data in two layers."""
    return oci.Image([
        oci.Layer([oci.directory("weights"), oci.file("weights/a", "old"), oci.file("weights/gone", "x"),
                   oci.file("tool", "#!/bin/sh\necho ran\n", mode=0o4755),
                   oci.directory("etc"), oci.file("etc/hostname", "the image's"),
                   oci.symlink("current", "/weights"), oci.symlink("out", "/../../../../root"),
                   oci.symlink("name", "../../../../../../../etc/hostname"),
                   oci.symlink("loop", "loop"), oci.fifo("pipe")]),
        oci.Layer([oci.file("weights/a", "new"), oci.whiteout("weights/gone")])])


@pytest.fixture
def volume(daemon, tmp_path):
    """The shared daemon with the image MODEL, which goes after the test."""
    import_image(daemon, tmp_path / "model", model(), MODEL)
    yield daemon
    remove_image(daemon, MODEL)


def image_mount(path="/model", image=MODEL, **fields):
    return {"container_path": path, "image": pb.ImageSpec(image=image), **fields}


def mounted_below(daemon):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return [line.split()[4] for line in table if f"{daemon.state}/containers" in line]


def refusal(pod, mount):
    with pytest.raises(grpc.RpcError) as error:
        pod.create(mounts=[mount])
    assert mounted_below(pod.daemon) == [], "a refused container left a mount"
    assert os.listdir(f"{pod.daemon.state}/containers") == []
    return error.value.code(), error.value.details()


@pytest.mark.uml
def test_the_content_of_all_layers(volume):
    container = volume.run_pod().run_container(mounts=[image_mount()])
    assert container.output(["cat", "/model/weights/a"]) == "new"
    assert container.output(["ls", "/model/weights"]) == "a\n"


def test_nothing_can_be_written_or_run(volume):
    container = volume.run_pod().run_container(
        mounts=[image_mount(), image_mount("/part", image_sub_path="weights")])
    for place in ("/model/x", "/part/x"):
        assert b"Read-only" in container.exec(["touch", place]).stderr
    answer = container.exec(["sh", "-c", "/model/tool"])
    assert answer.exit_code == 126 and b"ermission denied" in answer.stderr
    mounts = [line.split() for line in container.output(["cat", "/proc/mounts"]).splitlines()]
    for place in ("/model", "/part"):
        options = [set(mount[3].split(",")) for mount in mounts if mount[1] == place]
        assert options and {"ro", "nosuid", "nodev", "noexec"} <= options[0]


def test_a_privileged_container_cannot_write_either(volume):
    pod = volume.run_pod(privileged=True)
    container = pod.run_container(mounts=[image_mount()], security={"privileged": True})
    assert b"Read-only" in container.exec(["touch", "/model/x"]).stderr


@pytest.mark.parametrize("sub_path,where,content", [
    ("weights", "/model/a", "new"),
    ("weights/", "/model/a", "new"),
    ("./weights/.", "/model/a", "new"),
    ("weights/a", "/model", "new"),
    ("current", "/model/a", "new"),                      # an absolute link, inside the image
    ("name", "/model", "the image's"),                   # a link that climbs: never the node's file
])
def test_a_sub_path(volume, sub_path, where, content):
    container = volume.run_pod().run_container(mounts=[image_mount(image_sub_path=sub_path)])
    assert container.output(["cat", where]) == content


@pytest.mark.parametrize("sub_path,text", [
    ("absent", "there is no 'absent' in the image"),
    ("weights/a/b", "Not a directory"),
    ("out", "there is no 'out' in the image"),           # /root of the node exists, that of the image does not
    ("loop", "leads out of its root"),
    ("pipe", "neither a directory nor a regular file"),
])
def test_a_sub_path_that_is_not_there(volume, sub_path, text):
    code, details = refusal(volume.run_pod(), image_mount(image_sub_path=sub_path))
    assert details.startswith("ImageVolumeMountFailed: ") and text in details, details
    assert f"'{MODEL}'" in details and "'/model'" in details
    assert code == grpc.StatusCode.UNKNOWN  # the kubelet reads such words in errors of no other code


@pytest.mark.parametrize("sub_path", ["..", "weights/../../etc", "/etc"])
def test_a_sub_path_that_leaves_the_image_is_refused(volume, sub_path):
    code, details = refusal(volume.run_pod(), image_mount(image_sub_path=sub_path))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "image_sub_path" in details


def test_an_image_that_is_not_here(daemon):
    code, details = refusal(daemon.run_pod(), image_mount(image="localhost/absent:1"))
    assert code == grpc.StatusCode.NOT_FOUND and "localhost/absent:1" in details and "/model" in details


def test_an_image_without_layers(daemon, tmp_path):
    import_image(daemon, tmp_path / "empty", oci.Image([]), "localhost/empty:1")
    container = daemon.run_pod().run_container(mounts=[image_mount(image="localhost/empty:1")])
    assert container.output(["ls", "-a", "/model"]).split() == [".", ".."]
    assert b"Read-only" in container.exec(["touch", "/model/x"]).stderr
    remove_image(daemon, "localhost/empty:1")


def test_the_status_shows_the_image(volume):
    container = volume.run_pod().create(mounts=[image_mount(image_sub_path="weights", readonly=True)])
    (mount,) = container.status().mounts
    assert (mount.image.image, mount.image_sub_path, mount.host_path) == (MODEL, "weights", "")


def test_removing_the_image_takes_nothing_away(volume):
    container = volume.run_pod().run_container(mounts=[image_mount()])
    volume.client.RemoveImage(image=pb.ImageSpec(image=MODEL))
    assert not volume.client.ImageStatus(image=pb.ImageSpec(image=MODEL)).HasField("image")
    layers = len(volume.layers())
    assert container.output(["cat", "/model/weights/a"]) == "new"
    container.remove()
    assert not leaks.settle(lambda: volume.layers()[layers - 2:]), "the image's two layers stay"
    assert len(volume.layers()) == layers - 2
    assert mounted_below(volume) == []


@pytest.mark.parametrize("end", ENDS, ids=["SIGTERM", "SIGKILL"])
def test_a_restart(scratch, runtime, tmp_path, end):
    daemon = scratch(runtime=runtime)
    import_image(daemon, tmp_path / "model", model(), MODEL)
    pod = daemon.run_pod()
    container = pod.run_container(mounts=[image_mount(), image_mount("/a", image_sub_path="weights/a")])
    daemon.client.RemoveImage(image=pb.ImageSpec(image=MODEL))
    daemon.restart(end)
    assert container.output(["cat", "/model/weights/a", "/a"]) == "newnew"
    container.remove()
    assert mounted_below(daemon) == []


# What an image declares as its own volumes: directories in the container's root, CRI-O's default ("mkdir").

def declares(daemon, tmp_path, name, volumes, members):
    reference = f"localhost/{name}:1"
    image = oci.Image([catalog.static_layer(), oci.Layer(members)],
                      {**catalog.SHELL, "Volumes": {path: {} for path in volumes}})
    import_image(daemon, tmp_path / name, image, reference)
    return reference


def test_declared_volumes_are_directories_of_the_container(daemon, tmp_path):
    reference = declares(daemon, tmp_path, "declared", ["/new/deep", "/kept"],
                         [oci.directory("kept"), oci.file("kept/file", "content")])
    container = daemon.run_pod().run_container(image=reference)
    container.shell("touch /new/deep/x /kept/x")
    assert container.output(["cat", "/kept/file"]) == "content"
    remove_image(daemon, reference)


def test_declared_volumes_cannot_leave_the_root(daemon, tmp_path):
    """CVE-2022-23648: a volume whose path climbs, or leads through a link, reached files of the node."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("the node's")
    climb = "/.." * 12
    reference = declares(daemon, tmp_path, "climbing",
                         [f"{climb}{secret}", f"{climb}{tmp_path}/planted", "/link/planted", "/up/planted"],
                         [oci.symlink("link", str(tmp_path)), oci.symlink("up", "../../../../../.." + str(tmp_path))])
    container = daemon.run_pod().run_container(image=reference)
    assert sorted(os.listdir(tmp_path)) == ["climbing", "secret"]
    assert os.listdir(secret) == ["key"]
    assert container.output(["ls", str(secret)]) == ""
    assert container.output(["ls", "-d", f"{tmp_path}/planted"]).strip() == f"{tmp_path}/planted"
    remove_image(daemon, reference)
