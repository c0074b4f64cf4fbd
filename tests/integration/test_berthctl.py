"""berthctl: run, import, status, config."""
import json
import os
import signal
import subprocess
import time

import pytest

from harness import leaks, places, pods
from images import catalog, oci

pytestmark = [pytest.mark.berth, pytest.mark.uml]


@pytest.fixture
def berthctl(daemon):
    def run(*arguments, status=0, timeout=120):
        done = subprocess.run([places.program("berthctl"), "--socket", f"unix://{daemon.socket}", *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, check=False)
        if status is not None:
            assert done.returncode == status, f"{arguments}: status {done.returncode}: {done.stderr}"
        return done
    run.command = lambda *arguments: [places.program("berthctl"), "--socket", f"unix://{daemon.socket}", *arguments]
    return run


def test_run_gives_output_and_exit_code(daemon, berthctl):
    done = berthctl("run", "busybox", "--", "sh", "-c", "echo out; echo err >&2; exit 7", status=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert not daemon.client.ListPodSandbox().items
    assert not daemon.client.ListContainers().containers


def test_run_with_options(daemon, berthctl):
    done = berthctl("run", "--host-network", "--env", "A=b c", "--user", "33", "busybox", "--", "sh", "-c",
                    'echo "$A"; id -u; readlink /proc/self/ns/net')
    assert done.stdout.split("\n")[:3] == ["b c", "33", os.readlink("/proc/self/ns/net")]
    other = {"crun": "runc", "runc": "crun"}[daemon.runtime]
    assert berthctl("run", "--runtime-handler", other, "busybox", "--", "echo", "hi").stdout == "hi\n"


def test_run_of_a_failing_image(berthctl, daemon):
    assert "no-such-image" in berthctl("run", "docker.io/berthtest/no-such-image", status=125).stderr
    assert berthctl("run", "busybox", "--", "/no/such/command", status=125).stderr
    assert not daemon.client.ListPodSandbox().items


def test_run_removes_everything_when_interrupted(berthctl, daemon):
    running = subprocess.Popen(berthctl.command("run", "busybox", "--", "sh", "-c", "echo started; sleep 1000"),
                               stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "started\n"
    running.send_signal(signal.SIGINT)
    assert running.wait(30) != 0
    running.stdout.close()
    assert not leaks.settle(lambda: list(daemon.client.ListPodSandbox().items))


def test_run_shows_output_as_it_comes(berthctl):
    running = subprocess.Popen(berthctl.command("run", "busybox", "--", "sh", "-c", "echo first; sleep 5; echo second"),
                               stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "first\n"
    start = time.monotonic()
    assert running.stdout.read() == "second\n"
    assert time.monotonic() - start > 2
    assert running.wait(30) == 0
    running.stdout.close()


@pytest.fixture
def layout(tmp_path):
    """An OCI image layout of an image that is in no registry."""
    oci.write_layout(str(tmp_path / "layout"), catalog.small([oci.file("imported", "yes")]), name="localhost/imported:1")
    return str(tmp_path / "layout")


def archives(layout, tmp_path):
    """The same image in every form that can be imported."""
    subprocess.run(["tar", "-C", layout, "-cf", f"{tmp_path}/layout.tar", "."], check=True)
    subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", f"oci:{layout}:localhost/imported:1",
                    f"docker-archive:{tmp_path}/docker.tar:localhost/imported:1"], check=True)
    os.makedirs(f"{tmp_path}/docker")
    subprocess.run(["tar", "-C", f"{tmp_path}/docker", "-xf", f"{tmp_path}/docker.tar"], check=True)
    subprocess.run(["gzip", "-k", f"{tmp_path}/docker.tar"], check=True)
    return [layout, f"{tmp_path}/layout.tar", f"{tmp_path}/docker.tar", f"{tmp_path}/docker", f"{tmp_path}/docker.tar.gz"]


@pytest.mark.parametrize("which", range(5), ids=["layout", "layout-tar", "docker-tar", "docker-folder", "docker-tar-gz"])
def test_import(daemon, berthctl, layout, tmp_path, which):
    path = archives(layout, tmp_path)[which]
    assert berthctl("import", path).stdout.strip()
    image, = [image for image in daemon.client.ListImages().images if "localhost/imported:1" in image.repo_tags]
    assert berthctl("run", "--no-pull", "localhost/imported:1", "--", "cat", "/imported").stdout == "yes"
    daemon.client.RemoveImage(image=pods.pb.ImageSpec(image=image.id))


def test_import_with_a_name(daemon, berthctl, layout):
    berthctl("import", layout, "--name", "localhost/other:2")
    names = {name for image in daemon.client.ListImages().images for name in image.repo_tags}
    assert "localhost/other:2" in names and "localhost/imported:1" not in names
    daemon.client.RemoveImage(image=pods.pb.ImageSpec(image="localhost/other:2"))


def test_import_of_what_is_no_image(berthctl, tmp_path, daemon):
    before = len(daemon.client.ListImages().images)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("not an archive")
    (tmp_path / "link").symlink_to("/etc")
    for path in ("empty", "text", "link", "missing"):
        assert berthctl("import", str(tmp_path / path), status=1).stderr
    assert len(daemon.client.ListImages().images) == before


def test_import_of_a_layout_that_lies(berthctl, layout, daemon):
    before = len(daemon.client.ListImages().images)
    for folder, _, names in os.walk(os.path.join(layout, "blobs")):
        for name in names:
            with open(os.path.join(folder, name), "r+b") as blob:
                blob.seek(10)
                blob.write(b"\0")
    assert berthctl("import", layout, status=1).stderr
    assert len(daemon.client.ListImages().images) == before


def test_status(daemon, berthctl):
    pod = daemon.run_pod()
    pod.run_container()
    text = berthctl("status").stdout
    for word in ("0.1", daemon.socket, daemon.root, daemon.network.name, daemon.runtime):
        assert word in text, text
    document = json.loads(berthctl("status", "--json").stdout)
    assert isinstance(document, dict) and document


def test_config_is_what_print_config_says(daemon, berthctl):
    printed = subprocess.run([*daemon.command(), "--print-config"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert berthctl("config").stdout == printed


def test_without_a_daemon_it_says_so():
    done = subprocess.run([places.program("berthctl"), "--socket", "unix:///nowhere/berth.sock", "status"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "/nowhere/berth.sock" in done.stderr


def test_wrong_usage(berthctl):
    berthctl("no-such-command", status=2)
    berthctl("run", status=2)
    assert "berthctl" in berthctl("--help").stdout
