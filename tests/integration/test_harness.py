"""The proof that nothing is left must find what is left: each kind of thing is left here on purpose, without a daemon."""
import os
import subprocess
import sys
import time

import pytest

from harness import leaks, network, places, pods


@pytest.fixture
def mark():
    return "leak" + os.urandom(30).hex()


def test_processes_by_argument_environment_and_folder(mark, tmp_path):
    folder = tmp_path / mark
    folder.mkdir()
    ways = [
        lambda: subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)", mark]),
        lambda: subprocess.Popen(["sleep", "100"], env={"X": mark}),
        lambda: subprocess.Popen(["sleep", "100"], cwd=folder),
        lambda: subprocess.Popen(["unshare", "-m", "sh", "-c", f"mount -t tmpfs tmpfs {folder} && exec sleep 100"]),
    ]
    assert not leaks.processes([mark], set())
    for start in ways:
        process = start()
        try:
            assert not leaks.settle(lambda: not leaks.processes([mark], set()), 5)
            assert not leaks.processes([mark], {process.pid})
            assert bool(leaks.processes([mark], set(), with_mounts=False)) == (start is not ways[-1])
        finally:
            process.kill()
            process.wait()
        assert not leaks.processes([mark], set())


def test_orphans_come_to_us():
    before = set(leaks.descendants(set()))
    subprocess.run(["sh", "-c", "setsid sleep 54321 >/dev/null 2>&1 &"], check=True)
    found = []

    def missing():    # until its execve is through
        found[:] = [line for line in leaks.descendants(set()) if line not in before and "sleep 54321" in line]
        return len(found) != 1
    assert not leaks.settle(missing, 5), found
    os.kill(int(found[0].split()[1].rstrip(":")), 9)
    assert not leaks.settle(lambda: (leaks.reap(set()), [line for line in leaks.descendants(set()) if line not in before])[1], 5)


def test_mounts_and_cgroups(mark, tmp_path):
    folder = tmp_path / mark
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    assert len(leaks.mounts([mark])) == 1
    subprocess.run(["umount", folder], check=True)
    assert not leaks.mounts([mark])
    top = "/sys/fs/cgroup/memory" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup"
    os.makedirs(f"{top}/test/{mark}/inner")
    assert leaks.cgroups([mark]) == [f"cgroup {top}/test/{mark}"]
    for path in (f"{top}/test/{mark}/inner", f"{top}/test/{mark}", f"{top}/test"):
        os.rmdir(path)
    assert not leaks.cgroups([mark])


def test_files_in_common_places(mark):
    with open(f"/tmp/{mark}", "w", encoding="utf-8"):
        assert leaks.named_files([mark]) == [f"file /tmp/{mark}"]
    os.unlink(f"/tmp/{mark}")
    assert not leaks.named_files([mark])


def test_the_network(tmp_path):
    net = network.ScratchNetwork(str(tmp_path))
    link = f"v{os.urandom(4).hex()}"
    assert not net.left_over()
    try:
        subprocess.run(["ip", "link", "add", net.bridge, "type", "bridge"], check=True)
        assert not net.left_over()
        subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", link + "p"], check=True)
        subprocess.run(["ip", "link", "set", link, "master", net.bridge], check=True)
        assert len(net.left_over()) == 1
        subprocess.run(["ip", "link", "del", link], check=True)
        os.makedirs(f"{net.leases}/{net.name}")
        for name in ("lock", "last_reserved_ip.0", str(net.subnet[5])):
            with open(f"{net.leases}/{net.name}/{name}", "w", encoding="utf-8"):
                pass
        assert len(net.left_over()) == 1
        os.unlink(f"{net.leases}/{net.name}/{net.subnet[5]}")
        rule = ["POSTROUTING", "-s", str(net.subnet[5]), "-j", "ACCEPT"]
        subprocess.run(["iptables", "-t", "nat", "-A", *rule], check=True)
        assert [line for line in net.left_over() if str(net.subnet[5]) in line]
        subprocess.run(["iptables", "-t", "nat", "-D", *rule], check=True)
        assert not net.left_over()
    finally:
        subprocess.run(["ip", "link", "del", link], check=False, stderr=subprocess.DEVNULL)
        net.close()
    assert net.bridge not in {link["ifname"] for link in network.links()}


def test_descriptors_and_threads():
    process = subprocess.Popen([sys.executable, "-c", """
import threading, time
print(flush=True); input(); kept = open('/etc/hostname')
threading.Thread(target=time.sleep, args=(100,), daemon=True).start(); print(flush=True); input()"""],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        before = leaks.descriptors(process.pid), leaks.threads(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        assert [target for target in leaks.descriptors(process.pid) if target not in before[0]] == ["/etc/hostname"]
        assert leaks.threads(process.pid) == before[1] + 1
    finally:
        process.communicate("\n", timeout=10)


def test_logs_are_parsed_strictly():
    good = b"2026-11-22T20:00:00.123456789+01:00 stdout F text with  spaces\n"
    line, = pods.parse_log(good)
    assert (line.stream, line.tag, line.text, line.time.microsecond) == ("stdout", "F", b"text with  spaces", 123456)
    for bad in (good[:-1], b"x" + good, good.replace(b" F ", b" X "), good.replace(b"stdout", b"stdin"), b"\n"):
        with pytest.raises(AssertionError):
            pods.parse_log(bad)


def test_waiting_ends():
    start = time.monotonic()
    assert leaks.settle(lambda: ["left"], 0.3) == ["left"]
    assert 0.3 <= time.monotonic() - start < 2
    assert os.path.isdir(places.TESTS)
