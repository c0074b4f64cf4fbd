"""Clients that mean harm: who may reach which socket, connections that never become a request, guessed tokens."""
import os
import re
import resource
import socket
import subprocess
import time
import urllib.parse

import grpc
import pytest

from harness import leaks, pods, streams
from harness.cri import pb
from harness.memory import pss_kilobytes

pytestmark = pytest.mark.berth
HALF_OPEN = 3000
# daemon/streaming/limits.h
MAX_PENDING, REQUEST_SECONDS, MAX_TOKENS = 256, 10, 1000

CONNECT = """
import os, socket, sys
for path, kind in zip(sys.argv[1::2], sys.argv[2::2]):
    with socket.socket(socket.AF_UNIX, getattr(socket, kind)) as client:
        try:
            os.chdir(os.path.dirname(path))     # the whole path may be longer than an address
            client.connect(os.path.basename(path))
            print("connected", path)
        except OSError as error:
            print(error.errno, path)
"""


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, HALF_OPEN + 500), max(hard, HALF_OPEN + 500)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def held(daemon):
    return len(leaks.descriptors(daemon.pid))


def settled(daemon):
    """How many descriptors it holds, once that does not change any more."""
    last, since = held(daemon), time.monotonic()
    while time.monotonic() - since < 1:
        time.sleep(0.05)
        if held(daemon) != last:
            last, since = held(daemon), time.monotonic()
    return last


def address(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


# -- the sockets

def sockets_of(daemon):
    """(path, type) of each socket below the daemon's folder; there is the API's and one for each monitor."""
    found = [(daemon.socket, "SOCK_STREAM")]
    for folder, _, names in os.walk(daemon.state):
        found += [(os.path.join(folder, name), "SOCK_SEQPACKET") for name in names if name == "monitor.sock"]
    assert len(found) >= 2, found
    return found


def connect_as(user, sockets):
    """What each connect says: `connected` or an errno."""
    arguments = [word for pair in sockets for word in pair]
    out = subprocess.run(["/usr/bin/python3", "-c", CONNECT, *arguments], check=True, stdout=subprocess.PIPE, text=True, user=user,
                         group=user, extra_groups=[], cwd="/").stdout
    return [line.split()[0] for line in out.splitlines()]


@pytest.mark.uml
def test_a_user_without_root_reaches_no_socket(daemon):
    daemon.run_pod().run_container()
    sockets = sockets_of(daemon)
    assert connect_as(0, sockets) == ["connected"] * len(sockets)
    assert connect_as(65534, sockets) == ["13"] * len(sockets)      # EACCES


def test_sockets_are_roots_even_where_their_folders_are_open(daemon):
    """The folders above are no part of it: each socket refuses by itself."""
    daemon.run_pod().run_container()
    closed = [daemon.state]
    for folder, _, _ in os.walk(daemon.state):
        closed.append(folder)
    modes = [(folder, os.stat(folder).st_mode & 0o7777) for folder in closed]
    try:
        for folder, mode in modes:
            os.chmod(folder, mode | 0o111)
        assert connect_as(65534, sockets_of(daemon)) == ["13"] * len(sockets_of(daemon))
    finally:
        for folder, mode in modes:
            os.chmod(folder, mode)


@pytest.mark.uml
@pytest.mark.parametrize("where", ["pod", "node"])
def test_a_container_reaches_no_socket(daemon, where):
    """Also with the node's network, where abstract sockets and /proc/net/unix are the node's."""
    pod = daemon.run_pod(network=pods.NODE if where == "node" else pods.POD)
    container = pod.run_container()
    for path, _ in sockets_of(daemon):
        for there in (path, os.path.dirname(path)):
            assert container.exec(["test", "-e", there]).exit_code == 1, there
    # None of berth's processes has an abstract socket, which no path protects.
    owners = [daemon.pid] + [int(found.split()[1].rstrip(":")) for found in leaks.processes([daemon.token], {daemon.pid})]
    inodes = {re.sub(r"\D", "", link) for pid in owners for link in socket_links(pid)}
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        names = [line.split() for line in table.readlines()[1:]]
    assert inodes
    assert [fields[7] for fields in names if len(fields) > 7 and fields[7].startswith("@") and fields[6] in inodes] == []


def socket_links(pid):
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        links = []
    return [link for link in links if link.startswith("socket:")]


def test_the_nodes_processes_are_no_way_to_the_sockets(daemon):
    """With the node's processes in sight, a container's root may not go through their folders and descriptors."""
    pod = daemon.run_pod(pid=pods.NODE)
    container = pod.run_container()
    assert container.exec(["test", "-d", f"/proc/{daemon.pid}"]).exit_code == 0
    for command in (["ls", f"/proc/{daemon.pid}/root/"], ["ls", f"/proc/{daemon.pid}/cwd/"], ["cat", f"/proc/{daemon.pid}/fd/0"],
                    ["cat", f"/proc/{daemon.pid}/environ"]):
        answer = container.exec(command)
        assert answer.exit_code != 0 and b"ermission denied" in answer.stderr, (command, answer)


# -- connections

def test_half_open_connections_keep_nobody_out(scratch, runtime, many_descriptors):
    daemon = scratch(runtime=runtime)
    container = daemon.run_pod().run_container()
    url = streams.exec_url(container, ["true"])
    assert streams.run(container, ["echo", "before"]) == (b"before\n", b"", 0)
    before = settled(daemon), pss_kilobytes(daemon.pid)
    clients = []
    try:
        for number in range(HALF_OPEN):
            client = socket.create_connection(address(url), timeout=20)
            clients.append(client)
            # Nothing, a part of a request, or a part of it that is large.
            client.sendall((b"", b"GET /exec/ HTTP/1.1\r\nHost: a", b"GET / HTTP/1.1\r\nX: " + b"x" * 8000)[number % 3])
            if number % 500 == 499:
                assert daemon.client.Version(timeout=20).runtime_name == "berth"
        # Those that have no request yet are so many at most, and the node does not pay for the others.
        until(lambda: held(daemon) <= before[0] + MAX_PENDING + 8)
        assert pss_kilobytes(daemon.pid) < before[1] + 32 * 1024
        # Who asks is served meanwhile, while the others go on byte by byte.
        for client in clients[::10]:
            try:
                client.send(b"x")
            except OSError:
                pass
        assert streams.run(container, ["echo", "meanwhile"]) == (b"meanwhile\n", b"", 0)
        assert len(daemon.client.ListContainers().containers) == 1
        # The slow ones are left alone no longer than it may take to ask, however they keep it up.
        deadline = time.monotonic() + REQUEST_SECONDS + 20
        while held(daemon) > before[0] + 8:
            assert time.monotonic() < deadline, held(daemon)
            for client in clients[-MAX_PENDING:]:
                try:
                    client.send(b"x")
                except OSError:
                    pass
            time.sleep(0.2)
    finally:
        for client in clients:
            client.close()
    until(lambda: held(daemon) <= before[0])
    until(lambda: pss_kilobytes(daemon.pid) < before[1] + 8 * 1024)


def answer_to(where, path):
    """The first line of the answer, and how many bytes there were."""
    with socket.create_connection(where, timeout=20) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                       "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n".encode())
        got = b""
        while more := client.recv(65536):
            got += more
        return got.split(b"\r\n")[0], len(got)


def test_guessed_tokens_open_nothing(scratch, runtime):
    daemon = scratch(runtime=runtime)
    container = daemon.run_pod().run_container()
    real = streams.exec_url(container, ["sh", "-c", "echo real"])
    where, path = address(real), urllib.parse.urlsplit(real).path
    token = path.rsplit("/", 1)[1]
    near = [token[:at] + ("0" if token[at] != "0" else "1") + token[at + 1:] for at in range(len(token))]
    guesses = [f"/exec/{guess}" for guess in near] + \
        [f"/exec/{token[:-1]}", f"/exec/{token}0", f"/exec/{token.upper()}x", f"/exec/{token[:16]}%00{token[17:]}", "/exec/", "/exec/../exec/x",
         f"//exec/{token}", f"/exec/{token}/", f"/portforward/{near[0]}", "/exec/" + "*" * 32] + [f"/exec/{number:032x}" for number in range(1500)]
    answer_to(where, "/exec/" + "0" * 32)
    before = held(daemon), pss_kilobytes(daemon.pid), leaks.threads(daemon.pid)
    answers = {answer_to(where, guess) for guess in guesses}
    # All alike, whatever they were near to.
    assert len(answers) == 1, answers
    status, size = answers.pop()
    assert status == b"HTTP/1.1 404 Not Found" and size < 1024, (status, size)
    until(lambda: held(daemon) <= before[0])
    assert leaks.threads(daemon.pid) <= before[2], "a guess got as far as a call"
    assert pss_kilobytes(daemon.pid) < before[1] + 4096
    # The guessing took nothing away from whom the URL was made for.
    with streams.Session(real) as session:
        assert session.finish() == (b"real\n", b"", 0)


def test_unused_urls_are_so_many_at_most(scratch, runtime):
    daemon = scratch(runtime=runtime)
    container = daemon.run_pod().run_container()
    before = pss_kilobytes(daemon.pid)
    big = ["sh", "-c", "x" * 4000]
    for _ in range(MAX_TOKENS):
        streams.exec_url(container, big)
    with pytest.raises(grpc.RpcError) as error:
        streams.exec_url(container, big)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert pss_kilobytes(daemon.pid) < before + 16 * 1024
    # Everything that needs no URL goes on.
    assert container.exec(["true"]).exit_code == 0
    assert daemon.client.ContainerStatus(pb.ContainerStatusRequest(container_id=container.id)).status.id == container.id
