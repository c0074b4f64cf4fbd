"""berthctl wipe: what may be taken away when, and that nothing is left."""
import os
import pty
import subprocess

import pytest

from harness import leaks, places
from harness.cri import pb

pytestmark = pytest.mark.berth


def wipe(daemon, *options, status=0, stdin=subprocess.DEVNULL):
    done = subprocess.run(
        [places.program("berthctl"), "--socket", f"unix://{daemon.socket}", "wipe", *options,
         "--config", f"{daemon.base}/berthd.toml", "--config-dir", f"{daemon.base}/conf.d"],
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert done.returncode == status, f"{options}: status {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_a_running_daemon_forbids_it(scratch):
    daemon = scratch()
    daemon.pull("busybox")
    assert "stop it first" in wipe(daemon, "--all", "--force", status=2)
    # Nor when it does not answer where it is looked for.
    socket, daemon.socket = daemon.socket, "/nowhere/berth.sock"
    assert f"pid {daemon.pid}" in wipe(daemon, "--all", "--force", status=2)
    daemon.socket = socket
    assert daemon.client.ImageStatus(image=pb.ImageSpec(image="busybox")).HasField("image")


def test_it_asks(scratch):
    daemon = scratch()
    daemon.pull("busybox")
    daemon.stop()
    assert "say --force" in wipe(daemon, "--all", status=2)
    for answer, status in ((b"y\n", 2), (b"yes\n", 0)):
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        text = wipe(daemon, "--all", stdin=theirs, status=status)
        assert "Type 'yes'" in text
        os.close(ours)
        os.close(theirs)
        assert bool(os.listdir(daemon.root)) == (status != 0)


def test_what_runs_is_left_alone_unless_all(scratch, runtime):
    daemon = scratch(runtime=runtime)
    container = daemon.run_pod().run_container()
    daemon.stop()
    for scope in ([], ["--images"]):
        assert "1 containers and 1 pods still run" in wipe(daemon, *scope, "--force", status=2)
    daemon.start()
    assert container.output(["echo", "alive"]) == "alive\n"


def test_stopped_pods_and_images(scratch):
    daemon = scratch()
    pod = daemon.run_pod()
    pod.run_container()
    daemon.client.StopPodSandbox(pod_sandbox_id=pod.id)
    daemon.stop()
    wipe(daemon, "--force")
    daemon.start()
    assert not daemon.client.ListPodSandbox().items and not daemon.client.ListContainers().containers
    assert daemon.client.ListImages().images
    daemon.stop()
    wipe(daemon, "--images", "--force")
    daemon.start()
    assert not daemon.client.ListImages().images and not leaks.settle(daemon.layers)


def test_all_leaves_nothing(scratch, runtime):
    """Running containers, a pod with a network, an image volume: processes, mounts, addresses and files go."""
    daemon = scratch(runtime=runtime)
    daemon.pull("busybox")
    pods = [daemon.run_pod(), daemon.run_pod()]
    for pod in pods:
        pod.run_container(mounts=[{"container_path": "/volume", "image": pb.ImageSpec(image="busybox")}])
    daemon.kill()
    wipe(daemon, "--all", "--force")
    assert os.listdir(daemon.root) == [] and os.listdir(daemon.state) == []
    assert not leaks.settle(lambda: leaks.reap(set()) or leaks.processes([daemon.token, *daemon.ids], set()))
    assert not leaks.mounts([daemon.base])
    assert not daemon.network.left_over()
    daemon.start()
    assert daemon.run_pod().run_container(image=daemon.need("busybox")).output(["echo", "again"]) == "again\n"


def test_all_works_where_the_daemon_would_not_start(scratch):
    """The database is nonsense, so nobody knows what runs: files and mounts go all the same."""
    daemon = scratch()
    daemon.pull("busybox")
    pod = daemon.run_pod()
    daemon.client.StopPodSandbox(pod_sandbox_id=pod.id)
    daemon.client.RemovePodSandbox(pod_sandbox_id=pod.id)
    daemon.stop()
    with open(f"{daemon.root}/berth.db", "wb") as database:
        database.write(b"nonsense" * 1000)
    for suffix in ("-wal", "-shm"):
        if os.path.exists(f"{daemon.root}/berth.db{suffix}"):
            os.unlink(f"{daemon.root}/berth.db{suffix}")
    place = f"{daemon.state}/containers/{'e' * 64}/rootfs"
    os.makedirs(place)
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    text = wipe(daemon, "--all", "--force")
    assert "cannot be taken apart in order" in text
    assert os.listdir(daemon.root) == [] and os.listdir(daemon.state) == [] and not leaks.mounts([daemon.base])
    daemon.start()
