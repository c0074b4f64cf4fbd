"""berthctl check: each kind of damage is named, and repaired, beside a running daemon and without one."""
import json
import os
import shutil
import sqlite3
import subprocess

import pytest

from harness import leaks, places
from harness.cri import pb
from images import oci
from registry import registries_conf

pytestmark = pytest.mark.berth
US = "docker.io/berthtest/"
NAME = US + "layers:1"


class Checker:
    """berthctl check on a scratch daemon's root, whether it runs or not."""

    def __init__(self, daemon):
        self.daemon = daemon

    def run(self, *options, status=0):
        done = subprocess.run(
            [places.program("berthctl"), "--socket", f"unix://{self.daemon.socket}", "check", *options,
             "--config", f"{self.daemon.base}/berthd.toml", "--config-dir", f"{self.daemon.base}/conf.d"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
        assert done.returncode == status, f"{options}: status {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout if status < 2 else done.stderr

    def report(self, *options, status=0):
        return json.loads(self.run("--json", *options, status=status))

    def finds(self, *options):
        """The only problem there is."""
        problem, = self.report(*options, status=1)["problems"]
        return problem["kind"], problem["object"], problem["text"]

    def repairs(self, *options):
        report = self.report("--repair", *options)
        assert report["problems"] and report["left"] == 0
        assert all(problem["repaired"] for problem in report["problems"])
        assert self.report(*options)["problems"] == []


@pytest.fixture(params=["running", "stopped"])
def store(request, scratch):
    """A daemon with two images; "stopped": it runs no more when the test looks."""
    daemon = scratch()
    daemon.pull(NAME)
    daemon.pull("busybox")
    checker = Checker(daemon)
    checker.report()
    if request.param == "stopped":
        daemon.stop()
    return checker


def runs(daemon):
    """A container of the image runs, pulled again when it must be."""
    if not daemon.process:
        daemon.start()
    daemon.need(NAME)
    container = daemon.run_pod().run_container(image=NAME)
    assert container.output(["ls", "/data"])
    daemon.remove_pods()


def layer_of(daemon, path):
    """The folder of the layer that has a path."""
    folder, = [f"{daemon.root}/layers/{number}" for number in daemon.layers()
               if os.path.lexists(f"{daemon.root}/layers/{number}/{path}")]
    return folder


def test_a_whole_store(store):
    report = store.report()
    assert report["problems"] == [] and report["left"] == 0
    assert (report["images"], report["layers"]) == (2, len(store.daemon.layers()))
    assert "no problems" in store.run()


def test_a_lost_directory(store):
    folder = layer_of(store.daemon, "data/layer3")
    shutil.rmtree(folder)
    kind, number, text = store.finds()
    assert (kind, number) == ("layer", os.path.basename(folder)) and folder in text
    store.repairs()
    runs(store.daemon)


def test_leftovers(store):
    root, state = store.daemon.root, store.daemon.state
    left = [f"{root}/layers/7777/deep", f"{root}/layers/removing-12", f"{root}/containers/{'e' * 64}/upper",
            f"{state}/containers/{'e' * 64}", f"{state}/sandboxes/{'e' * 64}", f"{state}/ns/{'e' * 64}"]
    for path in left:
        os.makedirs(path)
    found = {problem["object"] for problem in store.report(status=1)["problems"]}
    assert found == {f"{root}/layers/7777", f"{root}/containers/{'e' * 64}", *left[1:2], *left[3:]}
    store.repairs()
    assert not [path for path in left if os.path.exists(path)]
    runs(store.daemon)


def test_a_leftover_mount(store):
    place = f"{store.daemon.state}/containers/{'e' * 64}/rootfs"
    os.makedirs(place)
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    found = {(problem["kind"], problem["object"]) for problem in store.report(status=1)["problems"]}
    assert found == {("mount", place), ("leftover", os.path.dirname(place))}
    store.repairs()
    assert not leaks.mounts([place])


def test_a_flipped_byte_in_an_image_of_the_database(store):
    image = store.daemon.client.ImageStatus(image=pb.ImageSpec(image=NAME)).image.id if store.daemon.client else None
    running = store.daemon.process is not None
    if running:
        store.daemon.stop()    # it locks its database
    with sqlite3.connect(f"{store.daemon.root}/berth.db", timeout=10) as database:
        database.execute("UPDATE images SET config = CAST(replace(config, 'layer', 'laier') AS BLOB) "
                         "WHERE id = (SELECT image_id FROM image_names WHERE name = ?)", [NAME])
    database.close()
    if running:
        store.daemon.start()
    kind, name, text = store.finds()
    assert kind == "image" and name == (image or name) and "its config is not what its id says" in text
    store.repairs()
    runs(store.daemon)


def test_a_container_keeps_what_it_stands_on(scratch):
    daemon = scratch()
    container = daemon.run_pod().run_container(image=NAME)
    folder = layer_of(daemon, "data/layer3")
    os.rename(folder, f"{daemon.base}/away")    # the overlay has it open
    report = Checker(daemon).report("--repair", status=1)
    texts = {problem["object"]: problem["advice"] for problem in report["problems"]}
    assert container.id in texts[os.path.basename(folder)]
    assert not daemon.client.ImageStatus(image=pb.ImageSpec(image=NAME)).HasField("image")
    assert container.output(["ls", "/data"])
    daemon.remove_pods()
    assert Checker(daemon).report()["problems"] == []
    runs(daemon)


def test_running_containers_are_no_problem(scratch):
    daemon = scratch()
    container = daemon.run_pod().run_container()
    checker = Checker(daemon)
    assert checker.report("--repair")["problems"] == []
    daemon.stop()
    report = checker.report("--repair")
    assert report["problems"] == [] and (report["pods"], report["containers"]) == (1, 1)
    daemon.start()
    assert container.output(["echo", "alive"]) == "alive\n"


def flip_pages(path):
    """Writes nonsense over a page in the middle of the database, whose file has room to grow at its end."""
    with sqlite3.connect(path) as database:
        pages, = database.execute("PRAGMA page_count").fetchone()
    database.close()
    with open(path, "r+b") as file:
        file.seek(pages // 2 * 4096)
        file.write(b"\xa5" * 4096)


def test_a_damaged_page_of_the_database(scratch):
    daemon = scratch()
    for name in (NAME, "busybox", US + "gzip:1", US + "whiteouts:1"):
        daemon.pull(name)
    daemon.stop()
    subprocess.run(["sqlite3", f"{daemon.root}/berth.db", "PRAGMA wal_checkpoint(TRUNCATE)"],
                   check=True, stdout=subprocess.DEVNULL)
    flip_pages(f"{daemon.root}/berth.db")
    checker = Checker(daemon)
    assert {problem["kind"] for problem in checker.report(status=1)["problems"]} == {"database"}
    report = checker.report("--repair")
    assert "rows that could be read" in report["problems"][0]["advice"]
    assert checker.report()["problems"] == []
    runs(daemon)
    for name in os.listdir(daemon.root):
        if ".damaged-" in name:
            os.unlink(f"{daemon.root}/{name}")


def test_without_repair_nothing_is_changed(scratch):
    daemon = scratch()
    daemon.pull(NAME)
    daemon.stop()
    os.makedirs(f"{daemon.root}/layers/7777")

    def look():
        with open(f"{daemon.root}/berth.db", "rb") as database:
            return database.read(), leaks.tree(daemon.root)
    before = look()
    Checker(daemon).report(status=1)
    after = look()
    assert after[0] == before[0]
    assert {path for path in after[1] ^ before[1] if not path.startswith(f"{daemon.root}/berth.db-")} == set()
    os.rmdir(f"{daemon.root}/layers/7777")


def test_when_it_cannot_be_made(scratch):
    daemon = scratch()
    # Somebody holds the root, and does not answer at this socket.
    done = subprocess.run(
        [places.program("berthctl"), "--socket", "unix:///nowhere/berth.sock", "check", "--root", daemon.root,
         "--state", daemon.state], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and f"pid {daemon.pid}" in done.stderr, done.stderr
    done = subprocess.run(
        [places.program("berthctl"), "--socket", "unix:///nowhere/berth.sock", "check", "--root",
         f"{daemon.base}/none", "--state", f"{daemon.base}/no-state"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and "no database" in done.stderr


def change(path):
    """Another content of the same size and time."""
    times = os.stat(path)
    with open(path, "r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def plant(folder):
    with open(f"{folder}/data/planted", "w", encoding="utf-8") as file:
        file.write("x")


@pytest.mark.parametrize("damage,words", [
    (lambda folder: change(f"{folder}/data/layer3/file0"), "data/layer3/file0"),
    (lambda folder: os.unlink(f"{folder}/data/layer3/file0"), "data/layer3/file0"),
    (plant, "data/planted"),
    (lambda folder: os.chmod(f"{folder}/data/layer3/file0", 0o600), "data/layer3/file0"),
    (lambda folder: os.truncate(f"{folder}/data/layer3/file0", 5), "data/layer3/file0"),
    (lambda folder: shutil.rmtree(f"{folder}/data"), "data"),
], ids=["flipped", "lost", "extra", "mode", "short", "half"])
def test_damage_inside_a_layer(store, damage, words):
    folder = layer_of(store.daemon, "data/layer3")
    damage(folder)
    assert store.report()["problems"] == []    # it is not looked for
    report = store.report("--layers", status=1)
    assert report["verified_layers"] == report["layers"]
    assert {(problem["kind"], problem["object"]) for problem in report["problems"]} == \
        {("layer", os.path.basename(folder))}
    assert any(words in problem["text"] for problem in report["problems"]), report
    store.repairs("--layers")
    runs(store.daemon)


def test_damage_in_an_artifact(scratch, fault_registry):
    daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True))
    name = fault_registry.serve("check/artifact", oci.Artifact([("a/b", b"content"), ("c", b"else")]))
    daemon.pull(name)
    checker = Checker(daemon)
    assert checker.report("--layers")["verified_layers"] == 2
    change(layer_of(daemon, "a/b") + "/a/b")
    _, _, text = checker.finds("--layers")
    assert "'a/b'" in text
    checker.repairs("--layers")
    daemon.pull(name)
    assert checker.report("--layers")["problems"] == []
