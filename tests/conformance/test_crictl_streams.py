"""exec, attach and port-forward with the real crictl; where it wants a terminal, in tmux's."""
import os
import re
import shlex
import subprocess
import time
import urllib.request

import pytest

from test_crictl import Crictl

pytestmark = pytest.mark.uml


@pytest.fixture
def crictl(daemon, tmp_path):
    return Crictl(daemon, tmp_path)


class Terminal:
    """A tmux session of its own server with one command in it."""

    def __init__(self, folder, command, width=80, height=24):
        self.socket = os.path.join(folder, "tmux")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height),
                  shlex.join(command) + "; echo ended with $?; sleep 1000")

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-S", self.socket, *arguments], check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}, text=True).stdout

    def type(self, *keys):
        self.tmux("send-keys", *keys)

    def wait(self, pattern, seconds=20):
        """Waits until what is on the screen matches; returns the match."""
        deadline = time.monotonic() + seconds
        while True:
            screen = self.tmux("capture-pane", "-p", "-S", "-")
            if match := re.search(pattern, screen, re.MULTILINE):
                return match
            assert time.monotonic() < deadline, f"{pattern!r} is not on the screen:\n{screen}"
            time.sleep(0.05)

    def close(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], check=False)


@pytest.fixture
def terminal(tmp_path):
    made = []

    def make(command, **size):
        made.append(Terminal(tmp_path, command, **size))
        return made[-1]
    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("transport", ["spdy", "websocket"])
def test_exec(daemon, crictl, transport):
    container = daemon.run_pod().run_container()
    run = lambda *command, status=0: crictl("exec", "--transport", transport, container.id, *command, status=status)
    assert run("echo", "hello") == "hello\n"
    run("sh", "-c", "exit 3", status=1)     # crictl's own exit code for any that is not 0


@pytest.mark.parametrize("transport", ["spdy", "websocket"])
def test_a_shell_in_a_terminal(daemon, crictl, terminal, transport):
    container = daemon.run_pod().run_container()
    screen = terminal(crictl.command("exec", "--transport", transport, "-it", container.id, "sh"), width=90, height=30)
    screen.wait(r"^/ #")
    screen.type("stty size", "Enter")
    screen.wait(r"^30 90$")
    screen.tmux("resize-window", "-x", "100", "-y", "40")
    screen.type("sleep 1; stty size", "Enter")
    screen.wait(r"^40 100$")
    screen.type("sleep 1000", "Enter")
    time.sleep(0.5)
    screen.type("C-c")
    screen.type("echo and-$((1+1))-on", "Enter")
    screen.wait(r"^and-2-on$")
    screen.type("exit 0", "Enter")
    screen.wait(r"^ended with 0$")
    assert "sh" not in container.output(["ps", "-o", "comm"]).split()


def test_attach_to_a_terminal(daemon, crictl, terminal):
    container = daemon.run_pod().run_container(command=["sh"], stdin=True, tty=True)
    screen = terminal(crictl.command("attach", "-it", container.id))
    screen.type("echo $((20+3))", "Enter")
    screen.wait(r"^23$")
    screen.type("exit 5", "Enter")
    screen.wait(r"^ended with")
    assert container.wait_exited().exit_code == 5
    assert b"23\r" in container.log_text()


def test_attach_with_input_from_a_pipe(daemon, crictl):
    container = daemon.run_pod().run_container(command=["cat"], stdin=True, stdin_once=True)
    done = subprocess.run(crictl.command("attach", "-i", container.id), input="line\n", text=True,
                          stdout=subprocess.PIPE, timeout=60, check=True)
    assert done.stdout == "line\n"
    assert container.wait_exited().exit_code == 0
    assert container.log_text() == b"line\n"


def page(address):
    with urllib.request.urlopen(f"http://{address}/index.html", timeout=5) as answer:
        return answer.read()


def test_port_forward(daemon, crictl):
    pod = daemon.run_pod()
    pod.run_container(image="docker.io/library/nginx:latest", command=())
    # A connection that is refused ends the whole session of client-go: not before the pod serves.
    deadline = time.monotonic() + 20
    while True:
        try:
            page(pod.address)
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with subprocess.Popen(crictl.command("port-forward", pod.id, "0:80"), stdout=subprocess.PIPE, text=True) as process:
        try:
            port = re.search(r"127\.0\.0\.1:(\d+) -> 80", process.stdout.readline())[1]
            for _ in range(3):
                assert b"nginx" in page(f"127.0.0.1:{port}")
        finally:
            process.kill()
