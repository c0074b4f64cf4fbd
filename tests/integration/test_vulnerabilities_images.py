"""Vulnerabilities that other runtimes had through images, each with the test that would have found it here.

TABLE names them all: a file of tests/ or lib/ and the test in it; where it says `here`, the test is below. What makes them
worth having is that none asks berth's opinion: they look at the node, at the kernel's view of the container, at what other
servers were asked.
"""
import json
import os
import re
import shutil
import stat
import time

import grpc
import pytest

from crash import power
from harness import pods, places
from harness.cri import pb
from harness.memory import peak_kilobytes, reset_peak
from images import catalog, oci
from registry import faults, registries_conf

pytestmark = pytest.mark.berth
Code = grpc.StatusCode

HERE = "tests/integration/test_vulnerabilities_images.py"
BAD_REGISTRY, IMAGES = "tests/integration/test_bad_registry.py", "tests/integration/test_images.py"
HOSTILE, USERS, ROOTFS = "lib/archive/layer_hostile_test.cc", "lib/spec/user_test.cc", "lib/spec/parts_test.cc"

# (vulnerability, what happened, [(file, test)])
TABLE = [
    ("containerd CVE-2026-53488", "labels of images steered the runtime", [(HERE, "test_labels_of_an_image_are_nobodys_orders")]),
    ("containerd CVE-2025-47290", "a parent remembered as a folder had become a link", [
        (HOSTILE, "ROOT_SwappingADirectoryForASymlinkBetweenEntries"), (BAD_REGISTRY, "test_layers_that_try_to_escape")]),
    ("containerd CVE-2021-32760", "chmod through a link while unpacking", [
        (HOSTILE, "ROOT_DirectoryAttributesDoNotGoThroughSymlinks"), (BAD_REGISTRY, "test_layers_that_try_to_escape")]),
    ("containerd CVE-2024-25621", "folders of images that everybody could enter",
     [(HERE, "test_nobody_else_gets_to_the_files_of_images")]),
    ("containerd CVE-2024-40635", "a user id beyond 2^31 was root", [
        (HERE, "test_users_of_images_that_are_no_users"), (USERS, "RefusesWhatIsNoUser")]),
    ("containerd CVE-2023-25153", "documents of an import were read without a limit", [
        (HERE, "test_an_import_of_endless_documents"), (BAD_REGISTRY, "test_a_huge_manifest")]),
    ("containerd CVE-2022-23648", "a declared volume reached the node",
     [("tests/integration/test_image_volumes.py", "test_declared_volumes_cannot_leave_the_root")]),
    ("containerd CVE-2021-41190", "one document was two images", [
        ("lib/oci/image_test.cc", "RefusesAmbiguousDocuments"), (BAD_REGISTRY, "test_manifests_that_make_no_sense")]),
    ("containerd CVE-2020-15157", "the URL of a foreign layer was given the credentials", [
        (HERE, "test_urls_of_a_layer_are_not_asked"), (IMAGES, "test_credentials_do_not_follow_a_redirect")]),
    ("containerd 7b11d6c", "tokens in the text of errors", [
        (IMAGES, "test_authentication"), ("lib/registry/token_auth_test.cc", "SecretsDoNotAppearInErrors")]),
    ("CRI-O CVE-2024-5154", "/etc of an image was a link, and mtab was made on the node", [
        (HERE, "test_links_of_an_image_lead_nowhere"), (ROOTFS, "EtcIsALinkOut")]),
    ("CRI-O CVE-2022-4318, CVE-2026-15809", "a line feed in HOME made a line of /etc/passwd", [
        (HERE, "test_the_home_of_an_image_makes_no_users"), (USERS, "HomeCannotAddLines")]),
    ("CRI-O CVE-2025-4437", "a huge /etc/passwd of an image was read whole", [
        (HERE, "test_a_huge_passwd"), (USERS, "HostileFiles")]),
    ("archive/tar CVE-2025-58183", "the map of a sparse file had no limit",
     [("lib/archive/tar_reader_test.cc", "HugeSparseMapsAreRefused")]),
    ("containers/storage CVE-2024-9676", "passwd of an image was a link to the node's files", [
        (USERS, "HostileFiles"), (HERE, "test_links_of_an_image_lead_nowhere")]),
    ("containers/image CVE-2024-3727", "a digest was used as a path before it was checked", [
        (BAD_REGISTRY, "test_manifests_that_make_no_sense"), (BAD_REGISTRY, "test_configurations_that_make_no_sense"),
        ("lib/oci/digest_test.cc", "RefusesEverythingElse"), ("lib/image/image_import_test.cc", "ROOT_ArchivesThatPointOutside")]),
    ("runc CVE-2024-21626", "the working folder of an image was a descriptor of the node's", [
        (HERE, "test_working_folders_that_are_the_nodes"),
        ("tests/integration/test_containers.py", "test_only_standard_descriptors_are_passed_on")]),
    ("Podman CVE-2026-55686", "the working folder of an image was a link, and was made on the node", [
        (HERE, "test_working_folders_that_are_the_nodes"), (ROOTFS, "MakesDirectoriesInside")]),
    ("Kata CVE-2026-24054", "an image without layers showed the node", [
        (HERE, "test_an_image_without_layers_is_empty"),
        ("tests/integration/test_image_volumes.py", "test_an_image_without_layers")]),
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_the_table_is_true(row):
    for file, name in row[2]:
        with open(os.path.join(places.TREE, file), encoding="utf-8") as source:
            text = source.read()
        assert re.search(rf"def {name}\(|TEST(_F)?\(\w+, {name}\)", text), f"no test '{name}' in {file}"


@pytest.fixture
def canary(tmp_path):
    """A folder of the node that no image may reach; looked at after the test."""
    folder = tmp_path / "canary"
    folder.mkdir(mode=0o777)
    (folder / "secret").write_text("the node's")
    os.chmod(folder, 0o777)
    before = {name: os.lstat(folder / name).st_mtime_ns for name in os.listdir(folder)}
    yield str(folder)
    assert {name: os.lstat(folder / name).st_mtime_ns for name in os.listdir(folder)} == before
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o777 and (os.stat(folder).st_uid, os.stat(folder).st_gid) == (0, 0)


def image(members=(), **config):
    return catalog.small(list(members), **config)


def run(daemon, reference, command=("sleep", "1000"), **fields):
    return daemon.run_pod(network=pods.NODE).run_container(image=reference, command=list(command), **fields)


@pytest.fixture
def pulled(daemon, fault_registry):
    """Pulls an image into the shared daemon; it goes after the test."""
    names = []

    def pull(name, what):
        names.append(fault_registry.serve(f"vulnerable/{name}", what))
        daemon.pull(names[-1])
        return names[-1]
    yield pull
    daemon.remove_pods()
    for name in names:
        daemon.client.RemoveImage(image=pb.ImageSpec(image=name))


RESERVED = ["io.kubernetes.cri-o.LogPath", "io.kubernetes.cri-o.Annotations", "io.kubernetes.cri-o.userns-mode",
            "io.kubernetes.container.logPath", "io.kubernetes.pod.uid", "io.kubernetes.pod.name", "io.cri-containerd.kind",
            "io.cri-containerd.image", "containerd.io/restart.loguri", "io.containerd.runc.v2.group",
            "org.systemd.property.ExecStart", "run.oci.handler", "run.oci.hooks.stderr", "run.oci.systemd.force_cgroup_v1",
            "io.container.manager", "cdi.k8s.io/x", "io.berth.anything", "berth.io/log", "module.wasm.image/variant"]


def test_labels_of_an_image_are_nobodys_orders(daemon, pulled):
    """What an image says of itself reaches neither the OCI runtime nor the container's labels and annotations."""
    reference = pulled("labels", image([oci.file("l", "x")], Labels={name: "binary:///bin/sh?-c=id" for name in RESERVED}))
    container = run(daemon, reference)
    with open(f"{daemon.state}/containers/{container.id}/config.json", encoding="utf-8") as source:
        text = source.read()
    assert "binary:///bin/sh" not in text
    assert not set(RESERVED) & set(container.status().labels) and not set(RESERVED) & set(container.status().annotations)
    assert container.status().log_path == container.log_path
    assert json.loads(text)["annotations"].get("org.systemd.property.ExecStart") is None


def test_nobody_else_gets_to_the_files_of_images(scratch):
    """Setuid programs of old images are a gift to every user of the node who can reach them."""
    os.umask(0)
    try:
        daemon = scratch(with_network=False)
        daemon.pull("docker.io/berthtest/attributes:1")
        run(daemon, "docker.io/berthtest/attributes:1").remove()
    finally:
        os.umask(0o022)
    for path in (daemon.root, f"{daemon.root}/layers", f"{daemon.root}/containers", daemon.state):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700, path
    pid = os.fork()
    if pid == 0:    # the question itself, asked as another user
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            os.listdir(f"{daemon.root}/layers")
        except PermissionError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0, "another user can list the layers"


@pytest.mark.parametrize("user", ["4294967295", "4294967296", "2147483648", "-1", "0x0", "1:4294967295", "99999999999999999999",
                                  "+0", "0 ", "1000:-1", "\u0660"])
def test_users_of_images_that_are_no_users(daemon, pulled, user):
    reference = pulled("user", image([oci.file("u", user)], User=user))
    pod = daemon.run_pod(network=pods.NODE)
    with pytest.raises(grpc.RpcError) as error:
        pod.create(image=reference, command=["id"])
    assert error.value.code() in (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION), error.value
    assert user.split(":")[-1].strip() in error.value.details() or user in error.value.details(), error.value


@pytest.mark.parametrize("name", ["index.json", "manifest.json", "blob"])
def test_an_import_of_endless_documents(daemon, tmp_path, name):
    """4 GB of nothing in each document that an import reads."""
    folder = tmp_path / "layout"
    descriptor = oci.write_layout(str(folder), image([oci.file("e", name)]), "localhost/endless:1")
    path = folder / ("blobs/" + descriptor["digest"].replace(":", "/") if name == "blob" else name)
    if name == "manifest.json":
        os.unlink(folder / "index.json")
        os.unlink(folder / "oci-layout")
    with open(path, "ab") as out:
        out.truncate(4 << 30)
    before = reset_peak(daemon)
    start = time.monotonic()
    done = power.import_archive(daemon, str(folder), check=False)
    assert done.returncode, "an endless document was taken"
    assert str(folder) in done.stderr, done.stderr
    assert peak_kilobytes(daemon) - before < 40 << 10, "it was read into memory"
    assert time.monotonic() - start < 60
    assert not daemon.client.ImageStatus(image=pb.ImageSpec(image="localhost/endless:1")).HasField("image")


def test_urls_of_a_layer_are_not_asked(scratch, fault_registry):
    """A manifest may name other places for a layer: they get no request, so they get no password."""
    class Foreign(oci.Image):
        def manifest(self, store):
            document = super().manifest(store)
            for layer in document["layers"]:
                layer["urls"] = [f"http://{elsewhere.host}/v2/foreign/image/blobs/{layer['digest']}"]
            return document
    with faults.FaultRegistry() as elsewhere:
        what = Foreign([oci.Layer([oci.file("foreign", "x" * 1000)])], catalog.SHELL)
        elsewhere.repository("foreign/image").add(what)
        blobs_gone = faults.on("blobs", lambda request: request.reference == oci.digest(what.layers[0].blob()) and
                               request.answer(404))
        reference = fault_registry.serve("foreign/image", what, faults.basic("someone", "secret-word"), blobs_gone)
        daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True))
        with pytest.raises(grpc.RpcError):
            daemon.pull(reference, auth=pb.AuthConfig(username="someone", password="secret-word"))
        assert fault_registry.blob_requests(oci.digest(what.layers[0].blob())), "the layer was not even asked for"
        assert not elsewhere.requests


LINKS = {
    "etc": lambda out: [oci.symlink("etc", out)],
    "dev": lambda out: [oci.symlink("dev", out)],
    "proc": lambda out: [oci.symlink("proc", out)],
    "passwd": lambda out: [oci.directory("etc"), oci.symlink("etc/passwd", f"{out}/secret")],
    "hosts": lambda out: [oci.directory("etc"), oci.symlink("etc/hosts", f"{out}/hosts"),
                          oci.symlink("etc/resolv.conf", f"{out}/resolv.conf"), oci.symlink("etc/hostname", f"{out}/hostname"),
                          oci.symlink("etc/mtab", f"{out}/mtab")],
    "climbing": lambda out: [oci.symlink("etc", "../../../../../../../.." + out), oci.symlink("run", "../../../.." + out)],
}


@pytest.mark.parametrize("case", LINKS)
def test_links_of_an_image_lead_nowhere(daemon, pulled, canary, case):
    """The container starts or is refused; the canary's fixture looks at the node."""
    base = [member for member in catalog.static_layer().members
            if not any(member.name == made.name or member.name.startswith(f"{made.name}/") for made in LINKS[case](canary))]
    reference = pulled(f"links-{case}", oci.Image([oci.Layer(base + LINKS[case](canary))], catalog.SHELL))
    try:
        container = run(daemon, reference, namespaces=None, security={"run_as_user": 4711})
        assert b"the node's" not in container.exec(["cat", "/etc/passwd", "/etc/secret", "/dev/secret", "/run/secret"]).stdout
    except grpc.RpcError as error:
        assert error.code() not in (Code.UNKNOWN, Code.UNAVAILABLE), error


@pytest.mark.parametrize("home", ["/x\nevil:x:0:0::/:/bin/sh", "/x\revil", "/x:0:0", "/x\x7f"])
def test_the_home_of_an_image_makes_no_users(daemon, pulled, home):
    """Real control characters: a check for the two characters `\\n` would pass a test that sends those."""
    assert not any(ord(c) == 92 for c in home)
    reference = pulled("home", image([oci.file("h", home)], Env=[f"HOME={home}"]))
    pod = daemon.run_pod(network=pods.NODE)
    with pytest.raises(grpc.RpcError) as error:
        pod.run_container(image=reference, command=["sleep", "1000"], security={"run_as_user": 4711})
    assert error.value.code() == Code.INVALID_ARGUMENT and "HOME" in error.value.details(), error.value


def test_a_huge_passwd(daemon, pulled):
    reference = pulled("passwd", image([oci.file("etc/passwd", bytes(96 << 20))], User="somebody"))
    pod = daemon.run_pod(network=pods.NODE)
    before = reset_peak(daemon)
    with pytest.raises(grpc.RpcError) as error:
        pod.create(image=reference, command=["id"])
    assert "passwd" in error.value.details(), error.value
    assert peak_kilobytes(daemon) - before < 40 << 10, "it was read into memory"


@pytest.mark.parametrize("folder", [*(f"/proc/self/fd/{n}" for n in range(3, 13)), "/proc/1/cwd", "/proc/self/fd/7/../../..",
                                    "/out", "/out/made", "/up/made"])
def test_working_folders_that_are_the_nodes(daemon, pulled, canary, folder):
    """It is refused, ends, or works inside its own root: the node's root has no such file as the canary's for it."""
    reference = pulled("workdir", image([oci.symlink("out", canary), oci.symlink("up", "../../../../../../../.." + canary)],
                                        WorkingDir=folder))
    pod = daemon.run_pod(network=pods.NODE)
    try:
        container = pod.run_container(image=reference, command=[
            "/bin/sh", "-c", f"/bin/ls; /bin/cat secret ../..{canary}/secret ../../..{canary}/secret ../../../..{canary}/secret"])
    except grpc.RpcError as error:
        assert error.code() not in (Code.UNAVAILABLE,), error
        return
    container.wait_exited()
    assert not any(b"the node's" in line.text for line in container.log())


def test_an_image_without_layers_is_empty(daemon, pulled, tmp_path):
    shutil.copy("/bin/busybox", tmp_path)
    reference = pulled("empty", oci.Image([], {"Cmd": ["/x"]}))
    container = run(daemon, reference, ["/tools/busybox", "sleep", "1000"],
                    mounts=[{"container_path": "/tools", "host_path": str(tmp_path)}])
    seen = set(container.output(["/tools/busybox", "ls", "-A", "/"]).split())
    assert seen == {"dev", "etc", "proc", "run", "sys", "tools"}, seen
    container.output(["/tools/busybox", "touch", "/mine"])
    other = run(daemon, reference, ["/tools/busybox", "sleep", "1000"],
                mounts=[{"container_path": "/tools", "host_path": str(tmp_path)}])
    assert "mine" not in other.output(["/tools/busybox", "ls", "-A", "/"]).split(), "what is shared is no image"
