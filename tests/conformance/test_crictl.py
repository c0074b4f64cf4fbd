"""The walk-through that every user of a CRI runtime knows, with the real crictl."""
import json
import os
import select
import subprocess
import time
import urllib.request

import pytest
import yaml

from harness import network

HERE = os.path.dirname(os.path.abspath(__file__))
pytestmark = pytest.mark.uml


class Crictl:
    """crictl, pointed at a scratch daemon by a configuration file of its own."""

    def __init__(self, daemon, folder):
        tools = subprocess.run([os.path.join(HERE, "build-tools")], check=True, stdout=subprocess.PIPE,
                               text=True).stdout.strip()
        self.program = os.path.join(tools, "crictl")
        self.config = os.path.join(folder, "crictl.yaml")
        with open(self.config, "w", encoding="utf-8") as out:
            yaml.safe_dump({"runtime-endpoint": f"unix://{daemon.socket}",
                            "image-endpoint": f"unix://{daemon.socket}", "timeout": 60}, out)

    def command(self, *arguments):
        return [self.program, "--config", self.config, *arguments]

    def __call__(self, *arguments, status=0):
        done = subprocess.run(self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False, timeout=120)
        assert done.returncode == status, f"crictl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def json(self, *arguments):
        return json.loads(self(*arguments))

    def table(self, *arguments):
        """The rows of a listing as lists of words, without the heading."""
        return [line.split() for line in self(*arguments).splitlines()[1:]]


@pytest.fixture
def crictl(daemon, tmp_path):
    return Crictl(daemon, tmp_path)


def write(path, document):
    with open(path, "w", encoding="utf-8") as out:
        yaml.safe_dump(document, out)
    return str(path)


def test_walk_through(daemon, crictl, tmp_path, shell):
    version = crictl("version")
    assert "RuntimeApiVersion:  v1" in version
    assert ("berth" if daemon.kind == "berthd" else daemon.kind) in version

    info = crictl.json("info")
    conditions = {c["type"]: c["status"] for c in info["status"]["conditions"]}
    assert conditions["RuntimeReady"] and conditions["NetworkReady"]

    assert "Image is up to date" in crictl("pull", "docker.io/library/nginx:latest")
    crictl("pull", "busybox")    # a short name, which registries.conf completes and redirects
    images = {row[0]: row[1] for row in crictl.table("images")}
    assert images["docker.io/library/nginx"] == "latest"
    assert images["docker.io/library/busybox"] == "latest"
    assert crictl.json("inspecti", "nginx")["status"]["repoTags"] == ["docker.io/library/nginx:latest"]

    logs = tmp_path / "logs"
    logs.mkdir()
    sandbox = write(tmp_path / "sandbox.yaml", {
        "metadata": {"name": "nginx-sandbox", "namespace": "default", "attempt": 1, "uid": f"uid-{daemon.token}"},
        "log_directory": str(logs), "labels": {"app": "nginx"},
        "linux": {"cgroup_parent": daemon.cgroup_parent,
                  "security_context": {"namespace_options": {"pid": 1}}}})
    pod = crictl("runp", "--runtime", daemon.runtime, sandbox).strip()
    daemon.ids.add(pod)
    row, = crictl.table("pods")
    assert pod.startswith(row[0]) and "Ready" in row and "nginx-sandbox" in row
    address = crictl.json("inspectp", pod)["status"]["network"]["ip"]
    assert daemon.network.contains(address)

    container_file = write(tmp_path / "container.yaml", {
        "metadata": {"name": "nginx"}, "image": {"image": "docker.io/library/nginx:latest"},
        "log_path": "nginx.log", "linux": {"resources": {"memory_limit_in_bytes": 256 << 20}}})
    container = crictl("create", pod, container_file, sandbox).strip()
    daemon.ids.add(container)
    row, = crictl.table("ps", "-a")
    assert container.startswith(row[0]) and "Created" in row
    if daemon.kind == "berthd":
        assert container in shell(daemon.runtime, "list")

    crictl("start", container)
    row, = crictl.table("ps")
    assert container.startswith(row[0]) and "Running" in row
    status = crictl.json("inspect", container)["status"]
    assert status["state"] == "CONTAINER_RUNNING"
    assert status["image"]["image"] == "docker.io/library/nginx:latest"
    assert status["resources"]["linux"]["memoryLimitInBytes"] == str(256 << 20) or daemon.kind != "berthd"

    assert crictl("exec", "-s", container, "echo", "hello").strip() == "hello"
    crictl("exec", "-s", container, "false", status=1)

    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
                page = answer.read().decode()
            break
        except OSError:
            assert time.monotonic() < deadline, "nginx does not answer"
            time.sleep(0.1)
    assert "Welcome to nginx!" in page
    assert "GET / HTTP/1.1" in wait_for(lambda: crictl("logs", container), "GET /")

    stats, = crictl.json("stats", "-o", "json")["stats"]
    assert stats["attributes"]["id"] == container
    assert int(stats["memory"]["workingSetBytes"]["value"]) > 0
    row, = crictl.table("stats")
    assert container.startswith(row[0])
    stats, = crictl.json("statsp", "-o", "json")["stats"]
    assert stats["attributes"]["id"] == pod
    assert stats["linux"]["network"]["defaultInterface"]["name"] == "eth0"

    following = subprocess.Popen(crictl.command("logs", "-f", "--tail", "0", container), stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 60
        while not select.select([following.stdout], [], [], 0.5)[0]:    # what came before it looked is not told
            assert time.monotonic() < deadline, "crictl logs -f says nothing"
            urllib.request.urlopen(f"http://{address}/index.html", timeout=5).close()
        assert "GET /index.html" in following.stdout.readline()
    finally:
        following.kill()
        following.wait()

    crictl("stop", container)
    row, = crictl.table("ps", "-a")
    assert "Exited" in row
    assert not crictl.table("ps")
    crictl("rm", container)
    assert not crictl.table("ps", "-a")
    crictl("stopp", pod)
    row, = crictl.table("pods")
    assert "NotReady" in row
    crictl("rmp", pod)
    assert not crictl.table("pods")
    crictl("rmi", "nginx", "busybox")
    assert not [row for row in crictl.table("images") if "library" in row[0]]
    assert not network.links() or not [link for link in network.links()
                                       if link.get("master") == daemon.network.bridge]


def wait_for(read, text, seconds=10):
    deadline = time.monotonic() + seconds
    while True:
        got = read()
        if text in got or time.monotonic() > deadline:
            return got
        time.sleep(0.1)


def test_errors_are_told_to_the_user(crictl, tmp_path):
    assert crictl("inspect", "f" * 64, status=1) == ""
    crictl("start", "f" * 64, status=1)
    crictl("pull", "docker.io/berthtest/no-such-image", status=1)
    crictl("runp", write(tmp_path / "bad.yaml", {"metadata": {"name": "x"}}), status=1)
    crictl("rm", "f" * 64, status=1)      # crictl asks for the container's status first
    crictl("rmp", "f" * 64, status=1)


@pytest.mark.berth
def test_run_in_one_command(daemon, crictl, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    sandbox = write(tmp_path / "sandbox.yaml", {
        "metadata": {"name": "once", "namespace": "default", "attempt": 1, "uid": "once"},
        "log_directory": str(logs), "linux": {"cgroup_parent": daemon.cgroup_parent}})
    container = write(tmp_path / "container.yaml", {
        "metadata": {"name": "sleeper"}, "image": {"image": "busybox"}, "command": ["sleep", "1000"],
        "log_path": "sleeper.log"})
    made = crictl("run", container, sandbox).strip()
    daemon.ids.add(made)
    assert crictl.table("ps")[0][0] == made[:13]
    assert crictl("ps", "-q").strip() == made
    assert crictl("pods", "--state", "ready", "-q").strip()
    crictl("rmp", "-fa")
    assert not crictl.table("ps", "-a") and not crictl.table("pods")
