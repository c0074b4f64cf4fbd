"""Registries as nodes meet them: credentials from everywhere, proxies, HTTP/2, ranges, reloads. Each test of
authentication looks for its secrets in the daemon's log, which is at level debug here."""
import base64
import json
import os
import shutil
import signal
import time

import grpc
import pytest

from harness.cri import pb
from images import catalog, oci
from registry import faults, front, registries_conf, server

pytestmark = pytest.mark.berth
Code = grpc.StatusCode
BUSYBOX = "docker.io/library/busybox:latest"
MIB = 1 << 20


def basic(user=server.USER, password=server.PASSWORD):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def assert_silent(daemon, *secrets):
    text = daemon.log()
    for secret in [*secrets, server.PASSWORD, basic()]:
        assert secret not in text, "a secret is in the log"


def trust(daemon, *hosts, ca):
    for host in hosts:
        os.makedirs(f"{daemon.base}/certs.d/{host}", exist_ok=True)
        shutil.copy(ca, f"{daemon.base}/certs.d/{host}/ca.crt")


def write(path, text, mode=0o600):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    os.chmod(path, mode)
    return str(path)


def forget(daemon, reference):
    daemon.client.RemoveImage(image=pb.ImageSpec(image=reference))


def refused(daemon, reference, **fields):
    with pytest.raises(grpc.RpcError) as error:
        daemon.pull(reference, **fields)
    return error.value


def wait_for_log(daemon, text, seconds=20):
    deadline = time.monotonic() + seconds
    while text not in daemon.log():
        assert time.monotonic() < deadline, f"the log never said: {text}"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def no_images(request):
    daemon = request.getfixturevalue("any_daemon") if "any_daemon" in request.fixturenames else None
    for image in daemon.client.ListImages().images if daemon else ():
        forget(daemon, image.id)


# What a pull costs

def asked(fault_registry, repository, since):
    return [f"{r['method']} {r['path'].split('/')[-2]}" for r in fault_registry.requests[since:]
            if f"/v2/{repository}/" in r["path"]]


def test_a_second_pull_of_an_unchanged_tag_is_one_head(any_daemon, fault_registry):
    image = oci.Index([oci.Image([oci.Layer([oci.file("x", "1")])], architecture="amd64")])
    reference = fault_registry.serve("again/same", image)
    first = any_daemon.pull(reference)
    assert asked(fault_registry, "again/same", 0) == ["GET manifests", "GET manifests", "GET blobs", "GET blobs"]
    before = len(fault_registry.requests)
    assert any_daemon.pull(reference) == first
    digest = fault_registry.repositories["again/same"].tags["1"]
    assert any_daemon.pull(f"{fault_registry.host}/again/same@{digest}") == first
    assert asked(fault_registry, "again/same", before) == ["HEAD manifests"] * 2


def test_a_tag_that_moved_is_fetched(any_daemon, fault_registry):
    repository = fault_registry.repository("again/moved")
    repository.add(oci.Image([oci.Layer([oci.file("x", "1")])]))
    old = any_daemon.pull(f"{fault_registry.host}/again/moved:1")
    repository.add(oci.Image([oci.Layer([oci.file("x", "2")])]))
    before = len(fault_registry.requests)
    assert any_daemon.pull(f"{fault_registry.host}/again/moved:1") != old
    assert asked(fault_registry, "again/moved", before) == [
        "HEAD manifests", "GET manifests", "GET blobs", "GET blobs"]


@pytest.mark.parametrize("fault", [
    lambda r: r.handler.command == "HEAD" and r.answer(405),
    lambda r: r.kind == "manifests" and r.answer(200, r.repository.blobs[r.repository.tags["1"]], {
        "Content-Type": oci.OCI_MANIFEST})], ids=["no-head", "no-digest"])
def test_registries_that_do_not_name_the_digest_are_asked_by_get(any_daemon, fault_registry, fault):
    reference = fault_registry.serve("again/plain", oci.Image([oci.Layer([oci.file("x", "1")])]), fault)
    first = any_daemon.pull(reference)
    before = len(fault_registry.requests)
    assert any_daemon.pull(reference) == first
    assert asked(fault_registry, "again/plain", before) == ["HEAD manifests", "GET manifests", "GET blobs"]


def test_a_second_pull_still_needs_the_credentials(scratch):
    """The kubelet relies on it when a pod may use an image only with a secret of its own."""
    with server.DockerRegistry(server.content(), auth="basic") as locked:
        daemon = scratch(registries=registries_conf.redirect(locked.host))
        daemon.pull(BUSYBOX, auth=pb.AuthConfig(username=server.USER, password=server.PASSWORD))
        assert refused(daemon, BUSYBOX).code() == Code.UNAUTHENTICATED
        digest = server.digests()[BUSYBOX]
        assert refused(daemon, f"docker.io/library/busybox@{digest}").code() == Code.UNAUTHENTICATED
        assert_silent(daemon)


# Credentials

FORMS = {
    "user": {"username": server.USER, "password": server.PASSWORD},
    "auth": {"auth": basic()},
    "identity": {"identity_token": "identity-of-reader"},
    "registry": {"registry_token": None},
    "server": {"username": server.USER, "password": server.PASSWORD, "server_address": "https://index.docker.io/v1/"},
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_the_cris_credentials(scratch, form):
    with server.DockerRegistry(server.content(), auth="token") as locked:
        locked.tokens.identity = "identity-of-reader"
        fields = dict(FORMS[form])
        if form == "registry":
            fields["registry_token"] = locked.tokens.sign(["repository:docker.io/library/busybox:pull"])
        daemon = scratch(registries=registries_conf.redirect(locked.host))
        assert refused(daemon, BUSYBOX).code() == Code.UNAUTHENTICATED
        locked.tokens.requests.clear()
        assert daemon.pull(BUSYBOX, auth=pb.AuthConfig(**fields))
        if form == "registry":
            assert not locked.tokens.requests, "the token is sent as it is"
        else:
            scopes = [r["fields"]["scope"] for r in locked.tokens.requests]
            assert scopes == [["repository:docker.io/library/busybox:pull"]], "one token for all of a pull"
        assert locked.tokens.issued
        assert_silent(daemon, "identity-of-reader", *locked.tokens.issued)


def test_refused_credentials_are_not_dropped_for_a_public_image(scratch):
    """As CRI-O and docker judge it: who is told a wrong password says so, even where nobody would need one."""
    with server.DockerRegistry(server.content(), auth="token") as locked:
        locked.tokens.anonymous = True
        daemon = scratch(registries=registries_conf.redirect(locked.host))
        assert daemon.pull(BUSYBOX)
        forget(daemon, BUSYBOX)
        error = refused(daemon, BUSYBOX, auth=pb.AuthConfig(username=server.USER, password="wrong-word"))
        assert error.code() == Code.UNAUTHENTICATED
        assert_silent(daemon, "wrong-word", basic(password="wrong-word"), *locked.tokens.issued)


def test_tokens_that_expire_in_the_middle_of_a_pull_are_replaced(any_daemon, fault_registry):
    layers = [oci.Layer([oci.file(f"f{n}", str(n))]) for n in range(6)]
    reference = fault_registry.serve("auth/expiring", oci.Image(layers), faults.bearer(uses=2))
    fault_registry.tokens.clear()
    assert any_daemon.pull(reference)
    used = list(fault_registry.tokens.values())
    assert sum(used) == 8 and len(used) >= 4, used    # manifest, config, six layers
    assert_silent(any_daemon, *fault_registry.tokens)


HELPER = """#!/bin/sh
read server
echo "$1 $server" >> {folder}/asked
test "$server" = "{host}" || {{ echo "credentials not found in native keychain"; exit 1; }}
echo '{{"ServerURL":"'"$server"'","Username":"{user}","Secret":"{password}"}}'
"""


def helper(folder, host, name="berth-test"):
    write(f"{folder}/docker-credential-{name}", HELPER.format(
        folder=folder, host=host, user=server.USER, password=server.PASSWORD), 0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("where", ["credHelpers", "credsStore", "registries.conf"])
def test_credential_helpers(scratch, tmp_path, where):
    with server.DockerRegistry(server.content(), auth="basic") as locked:
        document = {"auths": {locked.host: {}}}
        conf = registries_conf.redirect(locked.host)
        if where == "credHelpers":
            document["credHelpers"] = {locked.host: "berth-test"}
        elif where == "credsStore":
            document["credsStore"] = "berth-test"
        else:
            conf = 'credential-helpers = ["containers-auth.json", "berth-test"]\n' + conf
        file = write(f"{tmp_path}/auth.json", json.dumps(document))
        daemon = scratch(registries=conf, image={"auth_file": file}, environment=helper(tmp_path, locked.host))
        assert daemon.pull(BUSYBOX)
        assert (tmp_path / "asked").read_text() == f"get {locked.host}\n", "one question for all of a pull"
        assert_silent(daemon)


@pytest.mark.parametrize("body,word", [
    ("echo word-of-helper; echo word-of-helper >&2; exit 3", "status 3"),
    ("echo word-of-helper", "no JSON"),
    ("", "no JSON"),
    (None, "not on PATH")], ids=["fails", "nonsense", "nothing", "absent"])
def test_a_broken_credential_helper_is_named_and_not_quoted(scratch, fault_registry, tmp_path, body, word):
    reference = fault_registry.serve("auth/helper", oci.Image([oci.Layer([oci.file("x")])]))
    if body is not None:
        write(f"{tmp_path}/docker-credential-broken", f"#!/bin/sh\n{body}\n", 0o755)
    file = write(f"{tmp_path}/auth.json", json.dumps({"credHelpers": {fault_registry.host: "broken"}}))
    daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True),
                     image={"auth_file": file}, environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    error = refused(daemon, reference)
    assert error.code() == Code.FAILED_PRECONDITION
    assert "docker-credential-broken" in error.details() and word in error.details(), error.details()
    assert "word-of-helper" not in error.details()
    assert_silent(daemon, "word-of-helper")


@pytest.mark.parametrize("path", [".config/containers/auth.json", ".docker/config.json"])
def test_without_an_auth_file_those_of_a_login_are_read(scratch, tmp_path, path):
    with server.DockerRegistry(server.content(), auth="basic") as locked:
        write(f"{tmp_path}/{path}", json.dumps({"auths": {locked.host: {"auth": basic()}}}))
        conf = registries_conf.redirect(locked.host)
        daemon = scratch(registries=conf, environment={"HOME": str(tmp_path)})
        assert daemon.pull(BUSYBOX)
        assert_silent(daemon)
        none = scratch(registries=conf, environment={"HOME": str(tmp_path)}, image={"auth_file": "/dev/null"})
        assert refused(none, BUSYBOX).code() == Code.UNAUTHENTICATED


# On the way

def test_a_client_certificate(scratch):
    with server.DockerRegistry(server.content(), tls=True, clients=True) as locked:
        daemon = scratch(registries=registries_conf.redirect(locked.host, insecure=False))
        trust(daemon, locked.host, ca=locked.ca)
        assert refused(daemon, BUSYBOX)
        for path, end in zip(locked.client, ("cert", "key")):
            shutil.copy(path, f"{daemon.base}/certs.d/{locked.host}/node.{end}")
        assert daemon.pull(BUSYBOX), "read at the next use, without a reload"


def test_http2(scratch, registry):
    with front.Nginx(registry.host) as nginx:
        daemon = scratch(registries=registries_conf.redirect(nginx.host, insecure=False))
        trust(daemon, nginx.host, ca=nginx.ca)
        assert daemon.pull(BUSYBOX)
        requests = nginx.requests()
        assert {r[0] for r in requests} == {"HTTP/2.0"}
        assert {r[2] for r in requests} == {"200"}
        # Manifest, config and first layer follow each other on one connection.
        assert len({r[1] for r in requests}) < len(requests)


# Large layers

def large(name, mebibytes, compression=""):
    return oci.Layer([oci.file("large", catalog.noise(name, mebibytes << 10))], compression)


def blob_ranges(fault_registry, layer):
    return sorted(r["headers"].get("range", "") for r in fault_registry.blob_requests(oci.digest(layer.blob())))


def same_file(daemon, layer, expected):
    folder, = [name for name in daemon.layers() if os.path.exists(f"{daemon.root}/layers/{name}/large")]
    with open(f"{daemon.root}/layers/{folder}/large", "rb") as data:
        assert data.read() == expected


def test_a_large_layer_comes_in_ranges(any_daemon, fault_registry):
    layer = large("ranges", 20)
    assert any_daemon.pull(fault_registry.serve("large/ranges", oci.Image([layer])))
    size = len(layer.blob())
    expected = sorted(f"bytes={at}-{min(at + 2 * MIB, size) - 1}" if at + 2 * MIB < size else f"bytes={at}-"
                      for at in range(0, size, 2 * MIB))
    assert blob_ranges(fault_registry, layer) == expected
    same_file(any_daemon, layer, catalog.noise("ranges", 20 << 10))


def test_a_large_layer_of_a_server_without_ranges_comes_in_one_answer(any_daemon, fault_registry):
    layer = large("whole", 20)
    assert any_daemon.pull(fault_registry.serve("large/whole", oci.Image([layer]),
                                                faults.on("blobs", faults.no_ranges())))
    assert len(blob_ranges(fault_registry, layer)) == 1
    same_file(any_daemon, layer, catalog.noise("whole", 20 << 10))


def test_ranges_that_break_are_resumed_where_they_broke(any_daemon, fault_registry):
    layer = large("cut", 20)
    assert any_daemon.pull(fault_registry.serve("large/cut", oci.Image([layer]),
                                                faults.on("blobs", faults.each_range_cut_once())))
    asked_for = blob_ranges(fault_registry, layer)
    assert len(asked_for) == 22 and len(set(asked_for)) == len(asked_for), "nothing is asked for twice"
    same_file(any_daemon, layer, catalog.noise("cut", 20 << 10))


def test_ranges_follow_redirects_without_the_credentials(scratch, fault_registry):
    layer = large("elsewhere", 20)
    with faults.FaultRegistry() as elsewhere:
        elsewhere.repository("large/store").add(oci.Image([layer]))
        reference = fault_registry.serve("large/store", oci.Image([layer]), faults.basic("node", "store-word"),
                                         faults.on("blobs", faults.redirect_to(f"http://{elsewhere.host}")))
        daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True))
        assert daemon.pull(reference, auth=pb.AuthConfig(username="node", password="store-word"))
        asked_there = elsewhere.blob_requests(oci.digest(layer.blob()))
        assert len(asked_there) == 11 and all("range" in r["headers"] for r in asked_there)
        assert len(fault_registry.blob_requests(oci.digest(layer.blob()))) <= 5, "later ranges are asked for there"
        assert not any("authorization" in r["headers"] for r in elsewhere.requests)
        same_file(daemon, layer, catalog.noise("elsewhere", 20 << 10))
        assert_silent(daemon, "store-word", basic("node", "store-word"))


def test_a_caller_that_goes_away_ends_all_connections_of_a_layer(any_daemon, fault_registry):
    layer = large("gone", 60)
    reference = fault_registry.serve("large/gone", oci.Image([layer]), faults.on("blobs", faults.delayed(0.5)))
    assert refused(any_daemon, reference, timeout=2).code() == Code.DEADLINE_EXCEEDED
    time.sleep(1)
    asked_by_then = len(blob_ranges(fault_registry, layer))
    assert 1 < asked_by_then < 30
    time.sleep(2)
    assert len(blob_ranges(fault_registry, layer)) == asked_by_then


def test_a_large_layer_over_one_connection_where_that_is_configured(scratch, fault_registry):
    layer = large("one", 20)
    daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True),
                     image={"connections_per_layer": 1})
    assert daemon.pull(fault_registry.serve("large/one", oci.Image([layer])))
    assert blob_ranges(fault_registry, layer) == [""]


def test_a_large_layer_from_debians_registry(scratch, tmp_path):
    storage = tmp_path / "storage"
    storage.mkdir()
    layer = large("debian", 20)
    layout = tmp_path / "layout"
    with server.DockerRegistry(str(storage), writable=True) as registry:
        oci.write_layout(str(layout), oci.Image([layer]))
        server.push(registry, str(layout), "large/debian:1")
        daemon = scratch(registries=registries_conf.entry(location=registry.host, insecure=True))
        assert daemon.pull(f"{registry.host}/large/debian:1")
        same_file(daemon, layer, catalog.noise("debian", 20 << 10))


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_eight_large_layers_at_once_stay_within_the_memory_that_is_promised(scratch, fault_registry, compression):
    layers = [large(f"memory{n}", 17, compression) for n in range(8)]
    reference = fault_registry.serve("large/memory", oci.Image(layers))
    daemon = scratch(registries=registries_conf.entry(location=fault_registry.host, insecure=True))

    def status(key):
        with open(f"/proc/{daemon.pid}/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(key)) << 10
    with open(f"/proc/{daemon.pid}/clear_refs", "w", encoding="ascii") as reset:
        reset.write("5")    # VmHWM begins anew
    idle = status("VmRSS")
    assert daemon.pull(reference)
    grown = status("VmHWM") - idle
    print(f"idle {idle >> 10} KiB, at most {grown >> 10} KiB more")
    assert any("range" in r["headers"] for r in fault_registry.requests if "/v2/large/memory/" in r["path"])
    assert grown < 64 * MIB


# Reload

def test_sighup_reads_the_registries_again(scratch, registry, fault_registry):
    dead = f"127.0.0.1:{server.free_port()}"
    daemon = scratch(registries=registries_conf.redirect(dead))
    path = f"{daemon.base}/registries.conf"
    assert refused(daemon, BUSYBOX)
    write(path, registries_conf.redirect(registry.host))
    daemon.process.send_signal(signal.SIGHUP)
    wait_for_log(daemon, "registries.conf is read again")
    assert daemon.pull(BUSYBOX)
    forget(daemon, BUSYBOX)

    write(path, "[[registry]]\nlocation = 5\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for_log(daemon, "keeping the registries as they were")
    assert f"{path}:2: 'location' is an integer" in daemon.log()
    assert daemon.pull(BUSYBOX), "the old configuration stays"
