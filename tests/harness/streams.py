"""Clients of the URLs that Exec, Attach and PortForward answer: client-go's own, by tests/conformance/streamclient."""
import contextlib
import functools
import os
import socket
import subprocess
import sys
import time

from harness import places
from harness.cri import pb

PROTOCOLS = ["spdy", "websocket"]
# What the large transfers carry.
MEGABYTES = int(os.environ.get("BERTH_TEST_STREAM_MEGABYTES", "1000"))
FAILED = 125     # streamclient's exit status when the session, not the command, failed


@functools.cache
def program():
    tools = subprocess.run([os.path.join(places.TREE, "tests/conformance/build-tools")], check=True,
                           stdout=subprocess.PIPE, text=True).stdout.strip()
    return os.path.join(tools, "streamclient")


def exec_url(container, command, stdin=False, stdout=True, stderr=True, tty=False):
    return container.client.Exec(pb.ExecRequest(
        container_id=container.id, cmd=command, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr and not tty)).url


def attach_url(container, stdin=False, stdout=True, stderr=True, tty=False):
    return container.client.Attach(pb.AttachRequest(
        container_id=container.id, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr and not tty)).url


class Session(subprocess.Popen):
    """A streamclient with pipes for what is wanted. `sizes`: resize(width, height) works."""

    def __init__(self, url, stdin=False, stdout=True, stderr=True, tty=False, protocol="spdy", flags=()):
        wanted = {"stdin": stdin, "stdout": stdout, "stderr": stderr and not tty, "tty": tty}
        command = [program(), "run", "--protocol", protocol, *flags]
        command += [f"--{name}" for name, on in wanted.items() if on]
        self.sizes, sizes = None, ()
        if tty:
            reading, writing = os.pipe()
            self.sizes, sizes = os.fdopen(writing, "w"), (reading,)
            command += ["--sizes-fd", str(reading)]
        super().__init__([*command, url], stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=sizes)
        for fd in sizes:
            os.close(fd)

    def resize(self, width, height):
        self.sizes.write(f"{width} {height}\n")
        self.sizes.flush()

    def send(self, data):
        self.stdin.write(data)
        self.stdin.flush()

    def read_until(self, text):
        """Reads standard output until `text` comes; returns the last of it, at least 1 KiB where there is so much."""
        got = b""
        while text not in got:
            more = self.stdout.read1()
            assert more, f"{text!r} did not come: {got[-200:]!r} {self.stderr.read()[-1000:]!r}"
            got = got[-1024:] + more
        return got

    def finish(self, data=None, seconds=60):
        """(stdout, stderr, exit status); `data` is sent first, then the input's end."""
        out, err = self.communicate(data, timeout=seconds)
        return out, err, self.returncode

    def __exit__(self, *exception):
        self.kill()
        if self.sizes:
            self.sizes.close()
        super().__exit__(*exception)


def run(container, command, data=None, protocol="spdy", seconds=60, **wanted):
    """Exec of a command to its end."""
    wanted.setdefault("stdin", data is not None)
    url = exec_url(container, command, **wanted)
    with Session(url, protocol=protocol, **wanted) as session:
        return session.finish(data, seconds)


@contextlib.contextmanager
def forwarding(pod, port, protocol="spdy"):
    """(address of a listening port that leads to the pod's, the client's process)."""
    url = pod.client.PortForward(pb.PortForwardRequest(pod_sandbox_id=pod.id, port=[port])).url
    process = subprocess.Popen([program(), "forward", "--protocol", protocol, url, str(port)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        local = process.stdout.readline()
        assert local, process.stderr.read()
        yield ("127.0.0.1", int(local)), process
    finally:
        process.kill()
        process.communicate()


def exchange(address, data=b"", seconds=60):
    """Connects, sends, ends the sending, and reads to the end."""
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while more := connection.recv(1 << 16):
            got += more
        return got


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


ECHO = """
import contextlib, socket, sys, threading
def serve(connection):
    with contextlib.suppress(ConnectionError), connection:
        while data := connection.recv(1 << 16):
            connection.sendall(data)
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, backlog=100)
print("up", flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


@contextlib.contextmanager
def echoing(pod, port, address="0.0.0.0"):
    """A server in the pod's network that sends back what it is sent."""
    pid = str(pod.run_container().host_pid())
    with subprocess.Popen(["nsenter", "--net", "--target", pid, sys.executable, "-c", ECHO, address, str(port)],
                          stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout.readline() == b"up\n"
            yield
        finally:
            server.kill()
