"""The verbs of CNI 1.1 that are not about one pod, through plugins of our own: Debian's stop at 1.0.0."""
import os
import time

import pytest

from harness import leaks
from harness.fake_plugin import RESULT, calls, with_plugin


def commands(daemon, command):
    return [call for call in calls(daemon) if call["command"] == command]


def network_ready(daemon):
    """The NetworkReady condition, and how long the answer took."""
    begin = time.monotonic()
    conditions = {c.type: c for c in daemon.client.Status().status.conditions}
    return conditions["NetworkReady"], time.monotonic() - begin


def wait_for(what, seconds=20):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def mark(daemon, name, there=True):
    """A file beside the plugin "fake", which its script looks at as $0.NAME."""
    path = f"{daemon.base}/plugins/fake.{name}"
    if there:
        with open(path, "w", encoding="utf-8"):
            pass
    else:
        os.unlink(path)


# Not available while the file fake.down is there; fake.limited: and the pods that there are suffer, too.
STATUS = RESULT.replace("1.0.0", "1.1.0") + """
if [ "$CNI_COMMAND" = STATUS ] && [ -e "$0.limited" ]; then
  echo '{"cniVersion":"1.1.0","code":51,"msg":"uplink lost"}'; exit 1; fi
if [ "$CNI_COMMAND" = STATUS ] && [ -e "$0.down" ]; then
  echo '{"cniVersion":"1.1.0","code":50,"msg":"agent is down"}'; exit 1; fi
if [ "$CNI_COMMAND" = STATUS ] && [ -e "$0.hangs" ]; then exec sleep 1000; fi"""


@pytest.mark.berth
def test_status_of_the_plugins_is_the_networks(scratch):
    daemon = with_plugin(scratch, STATUS, version="1.1.0")
    condition, _ = network_ready(daemon)
    assert condition.status, condition
    asked, = commands(daemon, "STATUS")[-1:]
    assert asked["config"]["name"] == "fakenet" and asked["config"]["setting"] == "kept"
    assert not asked["id"] and not asked["netns"] and "prevResult" not in asked["config"]

    mark(daemon, "down")
    wait_for(lambda: not network_ready(daemon)[0].status)
    condition, _ = network_ready(daemon)
    assert condition.reason == "NetworkPluginNotReady"
    assert "agent is down" in condition.message and "fakenet" in condition.message and "50" in condition.message
    mark(daemon, "limited")
    wait_for(lambda: "uplink lost" in network_ready(daemon)[0].message)
    # It is the kubelet's to heed: a pod that is asked for all the same is made, or refused by ADD.
    daemon.run_pod()
    mark(daemon, "limited", False)
    mark(daemon, "down", False)
    wait_for(lambda: network_ready(daemon)[0].status)


@pytest.mark.berth
def test_status_is_asked_only_now_and_then(scratch):
    daemon = with_plugin(scratch, STATUS, version="1.1.0")
    assert network_ready(daemon)[0].status
    before, begin = len(commands(daemon, "STATUS")), time.monotonic()
    for _ in range(50):
        assert network_ready(daemon)[0].status
    assert len(commands(daemon, "STATUS")) - before <= 1 + (time.monotonic() - begin) / 3
    before = len(commands(daemon, "STATUS"))
    time.sleep(4)
    assert len(commands(daemon, "STATUS")) == before, "nobody asked"


@pytest.mark.berth
def test_a_status_that_hangs_holds_nobody_up(scratch):
    daemon = with_plugin(scratch, STATUS, version="1.1.0")
    assert network_ready(daemon)[0].status
    mark(daemon, "hangs")
    time.sleep(3.5)
    condition, seconds = network_ready(daemon)
    assert condition.status and seconds < 3, "the last answer counts meanwhile"
    begin = time.monotonic()
    daemon.run_pod().remove()
    assert time.monotonic() - begin < 5
    wait_for(lambda: not network_ready(daemon)[0].status)
    condition, seconds = network_ready(daemon)
    assert "deadline" in condition.message and seconds < 3
    begin = time.monotonic()
    daemon.stop()
    assert time.monotonic() - begin < 10
    daemon.start()


@pytest.mark.berth
def test_networks_of_older_versions_are_not_asked(scratch):
    daemon = with_plugin(scratch, STATUS.replace("1.1.0", "1.0.0"), version="1.0.0")
    mark(daemon, "down")
    assert network_ready(daemon)[0].status
    assert not commands(daemon, "STATUS")


GC = STATUS + """
if [ "$CNI_COMMAND" = GC ] && [ -e "$0.gc-hangs" ]; then exec sleep 1000; fi"""


def valid(call):
    return {(entry["containerID"], entry["ifname"]) for entry in call["config"]["cni.dev/valid-attachments"]}


@pytest.mark.berth
def test_garbage_is_collected_at_start_with_the_pods_that_are_left(scratch):
    daemon = with_plugin(scratch, GC, version="1.1.0")
    wait_for(lambda: len(commands(daemon, "GC")) == 1)
    first, = commands(daemon, "GC")
    assert valid(first) == set() and first["config"]["name"] == "fakenet" and not first["id"]
    stays, stopped = daemon.run_pod(), daemon.run_pod()
    stopped.stop()
    daemon.kill()
    daemon.start()
    wait_for(lambda: len(commands(daemon, "GC")) == 2)
    assert valid(commands(daemon, "GC")[1]) == {(stays.id, "eth0")}
    # Once at a start, whatever happens afterwards.
    daemon.run_pod()
    stays.stop()
    time.sleep(6)
    assert len(commands(daemon, "GC")) == 2


@pytest.mark.berth
def test_garbage_collection_waits_for_the_plugins_to_be_ready(scratch):
    daemon = with_plugin(scratch, GC, version="1.1.0")
    wait_for(lambda: len(commands(daemon, "GC")) == 1)
    daemon.stop()
    mark(daemon, "down")
    daemon.start()
    pod = daemon.run_pod()
    assert len(commands(daemon, "GC")) == 1
    mark(daemon, "down", False)
    wait_for(lambda: len(commands(daemon, "GC")) == 2)
    assert valid(commands(daemon, "GC")[1]) == {(pod.id, "eth0")}


@pytest.mark.berth
def test_garbage_collection_that_hangs(scratch):
    daemon = with_plugin(scratch, GC, version="1.1.0")
    wait_for(lambda: len(commands(daemon, "GC")) == 1)
    mark(daemon, "gc-hangs")
    begin = time.monotonic()
    daemon.restart()
    assert time.monotonic() - begin < 5, "nobody waits for it to serve"
    wait_for(lambda: len(commands(daemon, "GC")) == 2)
    # ADD may not run beside GC, says the specification; it waits until the plugin is killed.
    daemon.run_pod()
    assert time.monotonic() - begin < 20
    assert "collect what no pod has in network 'fakenet': cni plugin 'fake'" in daemon.log()
    # One that a killed daemon leaves would collect what the next one's pods have.
    daemon.restart()
    wait_for(lambda: len(commands(daemon, "GC")) == 3)
    assert leaks.processes([f"CNI_PATH={daemon.base}/plugins"], set())
    daemon.kill()
    wait_for(lambda: not leaks.processes([f"CNI_PATH={daemon.base}/plugins"], set()), seconds=5)
    mark(daemon, "gc-hangs", False)
    daemon.start()


@pytest.mark.berth
@pytest.mark.parametrize("version,members", [("1.1.0", {"disableGC": True}), ("1.0.0", {})])
def test_networks_whose_garbage_is_not_collected(scratch, version, members):
    daemon = with_plugin(scratch, GC.replace("1.1.0", version), version=version, **members)
    daemon.run_pod()
    daemon.restart()
    time.sleep(1)
    assert not commands(daemon, "GC")
