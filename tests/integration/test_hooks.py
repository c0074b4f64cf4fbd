"""OCI hooks: programs of the administrator that the OCI runtime runs for containers that match."""
import json
import os

import grpc
import pytest

pytestmark = pytest.mark.berth
# Those that see the node's files; startContainer sees the container's.
STAGES = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]


@pytest.fixture
def node(scratch, runtime, tmp_path):
    """A daemon with two folders of hooks, `usr` and `etc`; hooks leave their traces in `out`."""
    for name in ("usr", "etc", "out"):
        (tmp_path / name).mkdir()
    daemon = scratch(runtime=runtime,
                     runtime_table={"hooks_dirs": [str(tmp_path / "usr"), str(tmp_path / "etc")]})
    daemon.folder = tmp_path
    return daemon


def write_hook(node, name, script, stages, when=None, folder="usr"):
    """A hook that runs a line of shell; its standard input is the container's state."""
    definition = {"version": "1.0.0", "when": {"always": True} if when is None else when, "stages": stages,
                  "hook": {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}}
    (node.folder / folder / name).write_text(json.dumps(definition))


def traces(node):
    return sorted(os.listdir(node.folder / "out"))


@pytest.mark.uml
def test_every_stage(node):
    out = node.folder / "out"
    for stage in STAGES:
        write_hook(node, f"{stage}.json", f"cat > {out}/{stage}", [stage])
    write_hook(node, "startContainer.json", "cat > /in-the-container", ["startContainer"])
    container = node.run_pod().create(command=["sleep", "1000"])
    # runc 1.1 takes the end of `create` for the start of the process.
    assert set(traces(node)) - {"poststart"} == {"createContainer", "createRuntime", "prestart"}
    container.start()
    assert traces(node) == ["createContainer", "createRuntime", "poststart", "prestart"]
    assert json.loads(container.output(["cat", "/in-the-container"]))["id"] == container.id
    container.remove()
    assert traces(node) == sorted(STAGES)
    for stage in STAGES:
        assert json.loads((out / stage).read_text())["id"] == container.id, stage


def test_conditions(node):
    def mark(name):
        return f"touch {node.folder}/out/{name}"
    write_hook(node, "a.json", mark("annotation"), ["createRuntime"], {"annotations": {"^team$": "^we"}})
    write_hook(node, "b.json", mark("command"), ["createRuntime"], {"commands": ["sleep$"]})
    write_hook(node, "c.json", mark("mounts"), ["createRuntime"], {"hasBindMounts": True})
    write_hook(node, "d.json", mark("never"), ["createRuntime"], {})
    node.run_pod(annotations={"team": "web"}).create(command=["sh"])
    assert traces(node) == ["annotation"]
    plain = node.run_pod()
    plain.create(command=["sh"])
    assert traces(node) == ["annotation"]
    plain.create(command=["/bin/sleep", "1"])
    assert traces(node) == ["annotation", "command"]
    plain.create(command=["sh"], mounts=[{"host_path": str(node.folder / "usr"), "container_path": "/data"}])
    assert traces(node) == ["annotation", "command", "mounts"]


def test_a_later_folder_wins_and_changes_count_at_once(node):
    write_hook(node, "x.json", f"touch {node.folder}/out/usr", ["createRuntime"])
    write_hook(node, "x.json", f"touch {node.folder}/out/etc", ["createRuntime"], folder="etc")
    pod = node.run_pod()
    pod.create(command=["sh"])
    assert traces(node) == ["etc"]
    (node.folder / "etc" / "x.json").unlink()
    pod.create(command=["sh"])
    assert traces(node) == ["etc", "usr"]


def test_a_broken_file_is_named_once_and_stops_nothing(node):
    (node.folder / "usr" / "broken.json").write_text("{")
    write_hook(node, "good.json", f"touch {node.folder}/out/good", ["createRuntime"])
    pod = node.run_pod()
    for _ in range(2):
        pod.create(command=["sh"])
    assert traces(node) == ["good"]
    assert node.log().count("usr/broken.json") == 1


def test_a_hook_that_fails_fails_the_container(node):
    write_hook(node, "no.json", "exit 3", ["createRuntime"])
    pod = node.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.create(command=["sh"])
    assert "hook" in error.value.details(), error.value.details()
    assert os.listdir(f"{node.state}/containers") == []
    (node.folder / "usr" / "no.json").unlink()
    assert pod.run_container().output(["echo", "hi"]) == "hi\n"


def test_hostile_annotations_cost_nothing(node):
    """Text on which backtracking matchers never end."""
    write_hook(node, "slow.json", "true", ["createRuntime"], {"annotations": {"^k$": "^(a+)+$"}})
    pod = node.run_pod(annotations={"k": "a" * 100_000 + "!"})
    assert pod.run_container().output(["echo", "hi"]) == "hi\n"
