"""Pod networks through real CNI plugins: addresses, port mappings, bandwidth, and plugins that fail."""
import json
import os
import re
import stat
import subprocess
import time
import urllib.request
from concurrent import futures

import grpc
import pytest

from harness import network, pods
from harness.cri import pb
from harness.fake_plugin import RESULT, calls, fake_plugin, with_plugin
from registry import server

HTTPD = ["httpd", "-f", "-p", "80", "-h", "/etc"]


def page(url, seconds=10):
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=3) as answer:
                return answer.read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def link_of(daemon):
    """The host's end of the only pod's network."""
    link, = [link for link in network.links() if link.get("master") == daemon.network.bridge]
    return link["ifname"]


@pytest.mark.uml
def test_pods_reach_each_other_and_the_host_reaches_them(daemon):
    one, two = daemon.run_pod(), daemon.run_pod()
    one.run_container(command=HTTPD)
    client = two.run_container()
    assert b"root:" in page(f"http://{one.address}/passwd")
    assert "root:" in client.output(["wget", "-q", "-O", "-", f"http://{one.address}/passwd"])
    assert one.address != two.address


@pytest.mark.uml
def test_a_host_port(daemon):
    port = server.free_port()
    pod = daemon.run_pod(port_mappings=[{"container_port": 80, "host_port": port, "protocol": pb.TCP}])
    pod.run_container(command=HTTPD)
    assert b"root:" in page(f"http://127.0.0.1:{port}/passwd")
    gateway = str(next(daemon.network.subnet.hosts()))
    assert b"root:" in page(f"http://{gateway}:{port}/passwd")
    pod.stop()
    with pytest.raises(OSError):
        page(f"http://127.0.0.1:{port}/passwd", seconds=0)


@pytest.mark.uml
def test_a_container_port_without_a_host_port_maps_nothing(daemon):
    daemon.run_pod(port_mappings=[{"container_port": 80}])
    assert f"--dport 80 " not in network.run("iptables-save")


@pytest.mark.berth
@pytest.mark.parametrize("mapping", [
    {"container_port": 70000, "host_port": 8080}, {"container_port": 80, "host_port": -1},
    {"container_port": 0, "host_port": 8080}, {"container_port": 80, "host_port": 8080, "host_ip": "not-an-address"},
    {"container_port": 80, "host_port": 8080, "protocol": 77}])
def test_port_mappings_that_make_no_sense_are_refused(any_daemon, mapping):
    with pytest.raises(grpc.RpcError) as error:
        any_daemon.client.RunPodSandbox(config=pods.pod_config(any_daemon, port_mappings=[mapping]))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not any_daemon.client.ListPodSandbox().items


@pytest.mark.uml
def test_bandwidth_annotations_limit_the_link(any_daemon, shell):
    any_daemon.run_pod(annotations={"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "5M"})
    rules = shell("tc", "qdisc", "show", "dev", link_of(any_daemon))
    assert "tbf" in rules and "10Mbit" in rules, rules
    assert "ingress" in rules, rules


@pytest.mark.berth
@pytest.mark.parametrize("value", ["fast", "-1M", "1e400", ""])
def test_a_bandwidth_that_is_no_quantity_is_refused(any_daemon, value):
    config = pods.pod_config(any_daemon, annotations={"kubernetes.io/ingress-bandwidth": value})
    with pytest.raises(grpc.RpcError) as error:
        any_daemon.client.RunPodSandbox(config=config)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not any_daemon.client.ListPodSandbox().items


@pytest.mark.berth
@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_versions_of_the_cni(scratch, version):
    daemon = scratch(wait=False)
    fake_plugin(daemon, "result", f"""
if [ "$CNI_COMMAND" = ADD ]; then
  echo '{{"cniVersion":"{version}","interfaces":[{{"name":"eth0","sandbox":"'$CNI_NETNS'"}}],
    "ips":[{{"version":"4","interface":0,"address":"10.9.8.7/24","gateway":"10.9.8.1"}},{{"version":"6","interface":0,"address":"fd00::7/64"}}],
    "routes":[],"dns":{{}}}}'
fi""")
    daemon.network.write("10-scratch.conflist", {
        "cniVersion": version, "name": "fake", "plugins": [{"type": "result"}]})
    daemon.start()
    status = daemon.run_pod().status()
    assert status.network.ip == "10.9.8.7"
    assert [more.ip for more in status.network.additional_ips] == ["fd00::7"]


@pytest.mark.berth
def test_what_plugins_are_told(scratch):
    daemon = with_plugin(scratch, RESULT, [{"type": "fake", "second": True}])
    pod = daemon.run_pod(name="web", namespace="prod", uid="u-9",
                         annotations={"kubernetes.io/ingress-bandwidth": "1M"},
                         port_mappings=[{"container_port": 80, "host_port": 8080, "protocol": pb.UDP}])
    pod.stop()
    added = [call for call in calls(daemon) if call["command"] == "ADD"]
    deleted = [call for call in calls(daemon) if call["command"] == "DEL"]
    assert len(added) == len(deleted) == 2
    first, second = added
    assert first["id"] == pod.id and first["ifname"] == "eth0"
    assert first["netns"].startswith(daemon.state)
    assert set(first["args"].split(";")) == {
        "IgnoreUnknown=1", "K8S_POD_NAMESPACE=prod", "K8S_POD_NAME=web", f"K8S_POD_INFRA_CONTAINER_ID={pod.id}",
        "K8S_POD_UID=u-9"}
    assert first["config"]["name"] == "fakenet" and first["config"]["setting"] == "kept"
    mapping, = first["config"]["runtimeConfig"]["portMappings"]
    assert (mapping["hostPort"], mapping["containerPort"], mapping["protocol"]) == (8080, 80, "udp")
    assert first["config"]["runtimeConfig"]["bandwidth"]["ingressRate"] == 1000000
    assert "prevResult" not in first["config"] and "runtimeConfig" not in second["config"]
    assert second["config"]["prevResult"]["ips"][0]["address"] == "10.9.8.7/24"
    # DEL goes backwards and is told the result of ADD.
    assert deleted[0]["config"].get("second") and not deleted[1]["config"].get("second")
    assert deleted[0]["config"]["prevResult"]["ips"][0]["address"] == "10.9.8.7/24"


@pytest.mark.berth
@pytest.mark.parametrize("name,script,words", [
    ("fails", """if [ "$CNI_COMMAND" = ADD ]; then
  echo '{"cniVersion":"1.0.0","code":11,"msg":"no address left","details":"pool empty"}'; exit 1; fi""",
     ["no address left", "fake"]),
    ("fails-on-stderr", 'if [ "$CNI_COMMAND" = ADD ]; then echo trouble >&2; exit 3; fi', ["trouble", "fake"]),
    ("nonsense", 'if [ "$CNI_COMMAND" = ADD ]; then echo this is not JSON; fi', ["fake"]),
    ("nothing", 'true', ["fake"]),
    ("wrong-types", """if [ "$CNI_COMMAND" = ADD ]; then echo '{"cniVersion":"1.0.0","ips":{"a":1}}'; fi""", ["fake"]),
    ("bad-address", """if [ "$CNI_COMMAND" = ADD ]; then echo '{"cniVersion":"1.0.0","ips":[{"address":"hello"}]}'; fi""",
     ["fake"]),
    ("killed", 'if [ "$CNI_COMMAND" = ADD ]; then kill -9 $$; fi', ["fake"]),
])
def test_plugins_that_fail(scratch, name, script, words):
    daemon = with_plugin(scratch, script)
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.RunPodSandbox(config=pods.pod_config(daemon), timeout=60)
    assert error.value.code() not in (grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED)
    for word in words:
        assert word in error.value.details(), error.value
    assert not daemon.client.ListPodSandbox().items
    # What ADD began, DEL ends: also after a failure.
    assert [call["command"] for call in calls(daemon)][-1] == "DEL"


@pytest.mark.berth
def test_a_plugin_that_never_stops_talking(scratch):
    daemon = with_plugin(scratch, 'if [ "$CNI_COMMAND" = ADD ]; then exec yes; fi')
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.RunPodSandbox(config=pods.pod_config(daemon), timeout=5)
    assert error.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OUT_OF_RANGE)
    with open(f"/proc/{daemon.pid}/status", encoding="utf-8") as text:
        memory = int(re.search(r"VmRSS:\s*(\d+) kB", text.read())[1])
    assert memory < 150_000, "it keeps what nobody will read"


@pytest.mark.berth
def test_a_plugin_that_is_missing(scratch):
    daemon = scratch()
    daemon.network.write("10-scratch.conflist", {
        "cniVersion": "1.0.0", "name": "missing", "plugins": [{"type": "no-such-plugin"}]})
    time.sleep(0.5)
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.RunPodSandbox(config=pods.pod_config(daemon), timeout=30)
    assert "no-such-plugin" in error.value.details()
    assert not daemon.client.ListPodSandbox().items


@pytest.mark.berth
def test_a_later_plugin_that_fails_is_undone(scratch):
    daemon = scratch(wait=False)
    fake_plugin(daemon, "fake", 'if [ "$CNI_COMMAND" = ADD ]; then exit 1; fi')
    with open(f"{daemon.network.folder}/10-scratch.conflist", encoding="utf-8") as source:
        document = json.load(source)
    document["plugins"].append({"type": "fake"})
    daemon.network.write("10-scratch.conflist", document)
    daemon.start()
    with pytest.raises(grpc.RpcError):
        daemon.client.RunPodSandbox(config=pods.pod_config(daemon))
    assert not daemon.network.left_over()


@pytest.mark.berth
def test_a_del_that_fails_is_tried_again(scratch):
    daemon = with_plugin(scratch, RESULT + f"""
if [ "$CNI_COMMAND" = DEL ] && [ ! -e "$0.healed" ]; then echo '{{"code":100,"msg":"still busy"}}'; exit 1; fi""")
    pod = daemon.run_pod()
    with pytest.raises(grpc.RpcError) as error:
        pod.stop()
    assert "still busy" in error.value.details()
    assert pod.status().state == pb.SANDBOX_NOTREADY
    with open(f"{daemon.base}/plugins/fake.healed", "w", encoding="utf-8"):
        pass
    pod.stop()
    pod.remove()
    assert [call["command"] for call in calls(daemon)].count("DEL") >= 2


@pytest.mark.berth
def test_a_pod_stops_with_the_configuration_it_was_started_with(scratch):
    """The conflist may be gone or another one by then: the pod remembers its own."""
    daemon = scratch()
    pod = daemon.run_pod()
    daemon.network.remove()
    time.sleep(0.3)
    pod.stop()
    assert not daemon.network.left_over()


@pytest.mark.berth
def test_a_network_namespace_that_is_gone_does_not_keep_a_pod(scratch):
    daemon = scratch()
    pod = daemon.run_pod()
    subprocess.run(["umount", "-l", f"{daemon.state}/ns/{pod.id}/net"], check=True)
    os.unlink(f"{daemon.state}/ns/{pod.id}/net")
    pod.stop()
    pod.remove()
    # Without the namespace, the bridge plugin cannot know whose masquerading to undo; everything else must be gone.
    daemon.network.remove_rules()
    assert not daemon.network.left_over()


@pytest.mark.berth
def test_the_callers_deadline_ends_a_slow_plugin(scratch):
    daemon = with_plugin(scratch, 'if [ "$CNI_COMMAND" = ADD ]; then sleep 60; fi')
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.RunPodSandbox(config=pods.pod_config(daemon), timeout=2)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 10
    deadline = time.monotonic() + 20
    while daemon.client.ListPodSandbox().items and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not daemon.client.ListPodSandbox().items


@pytest.mark.berth
def test_namespaces_and_sockets_are_roots_alone(any_daemon):
    pod = any_daemon.run_pod()
    for path in (any_daemon.root, any_daemon.state):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700, path
    assert stat.S_IMODE(os.stat(any_daemon.socket).st_mode) == 0o660
    assert os.path.exists(f"{any_daemon.state}/ns/{pod.id}/net")


def has_ipv6():
    try:
        with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", encoding="utf-8") as off:
            return off.read().strip() == "0"
    except FileNotFoundError:
        return False


@pytest.mark.uml
@pytest.mark.skipif(not has_ipv6(), reason="IPv6 is off in this kernel")
def test_two_stacks(scratch):
    daemon = scratch(wait=False)
    # No gateway: the plugin would make the machine forward IPv6 for good.
    daemon.network.write("10-scratch.conflist", {
        "cniVersion": "1.0.0", "name": daemon.network.name, "plugins": [
            {"type": "bridge", "bridge": daemon.network.bridge,
             "ipam": {"type": "host-local", "dataDir": daemon.network.leases, "ranges": [
                 [{"subnet": str(daemon.network.subnet)}], [{"subnet": "fd00:be:e7::/64"}]]}}]})
    daemon.start()
    one, two = daemon.run_pod(), daemon.run_pod()
    one.run_container(command=HTTPD)
    client = two.run_container()
    status = one.status().network
    assert daemon.network.contains(status.ip)
    extra, = [more.ip for more in status.additional_ips]
    assert extra.startswith("fd00:be:e7:"), extra
    assert two.status().network.additional_ips[0].ip != extra
    for address in (status.ip, f"[{extra}]"):
        assert "root:" in client.output(["wget", "-q", "-O", "-", f"http://{address}/passwd"])
    daemon.restart()
    assert one.status().network == status


@pytest.mark.berth
def test_the_first_valid_configuration_counts_and_changes_are_seen(scratch):
    daemon = scratch(wait=False)
    fake_plugin(daemon, "fake", RESULT)
    daemon.network.write("01-broken.conflist", '{"cniVersion": "1.0.0", "name": "broken"')
    daemon.network.write("02-nameless.conf", {"cniVersion": "1.0.0", "type": "fake"})
    daemon.network.write("00-not-a-configuration.txt", "hello")
    daemon.network.write("20-later.conf", {"cniVersion": "1.0.0", "name": "later", "type": "no-such-plugin"})
    daemon.start()
    assert daemon.network.contains(daemon.run_pod().address)
    for name in ("01-broken.conflist", "02-nameless.conf"):
        line, = [line for line in daemon.log().splitlines() if name in line]
        assert "ignoring network configuration" in line and "warn" in line, line
    assert "00-not-a" not in daemon.log() and "20-later" not in daemon.log()

    daemon.network.write("05-first.conf", {"cniVersion": "1.0.0", "name": "first", "type": "fake"})
    moved = other_network(daemon, "10.9.8.7")
    # What vanishes is kept by the pods that were attached to it.
    daemon.network.remove("05-first.conf")
    assert daemon.network.contains(other_network(daemon, None).address)
    daemon.restart()
    moved.stop()
    *_, last = calls(daemon)
    assert (last["command"], last["id"], last["config"]["name"]) == ("DEL", moved.id, "first")
    assert last["config"]["prevResult"]["ips"][0]["address"] == "10.9.8.7/24"


def other_network(daemon, address):
    """A new pod, once pods get this address, or one of the scratch network's."""
    deadline = time.monotonic() + 10
    while True:
        pod = daemon.run_pod()
        if pod.address == address or address is None and daemon.network.contains(pod.address):
            return pod
        assert time.monotonic() < deadline, f"still on the network of {pod.address}"
        pod.remove()


@pytest.mark.berth
def test_the_network_that_is_asked_for_by_name(scratch):
    daemon = scratch(wait=False)
    fake_plugin(daemon, "fake", RESULT)
    daemon.options["network"]["default_network"] = "wanted"
    daemon.write_configuration()
    daemon.start()
    with pytest.raises(grpc.RpcError) as error:
        daemon.client.RunPodSandbox(config=pods.pod_config(daemon), timeout=30)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE and "'wanted'" in error.value.details()
    condition = {c.type: c for c in daemon.client.Status().status.conditions}["NetworkReady"]
    assert not condition.status and "'wanted'" in condition.message
    daemon.network.write("90-wanted.conf", {"cniVersion": "1.0.0", "name": "wanted", "type": "fake"})
    deadline = time.monotonic() + 10
    while not {c.type: c for c in daemon.client.Status().status.conditions}["NetworkReady"].status:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert daemon.run_pod().address == "10.9.8.7"


# ADD hangs for pods whose name begins with "slow", DEL for those with "stuck", until the file fake.healed is there.
SLOW = RESULT.replace("fi", """  case "$CNI_ARGS" in *K8S_POD_NAME=slow*) [ -e "$0.healed" ] || exec sleep 1000;; esac
fi
if [ "$CNI_COMMAND" = DEL ]; then
  case "$CNI_ARGS" in *K8S_POD_NAME=*stuck*) [ -e "$0.healed" ] || exec sleep 1000;; esac
fi""", 1)


def end_plugins(pod, daemon):
    """Kills this daemon's plugins that work for a pod, told by their environment."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", encoding="utf-8", errors="replace") as text:
                environment = text.read()
        except OSError:
            continue
        if pod in environment and f"CNI_PATH={daemon.base}/" in environment:
            os.kill(int(name), 9)


def heal(daemon):
    with open(f"{daemon.base}/plugins/fake.healed", "w", encoding="utf-8"):
        pass


@pytest.mark.berth
def test_one_pods_slow_plugin_is_nobody_elses(scratch):
    daemon = with_plugin(scratch, SLOW)
    stuck = daemon.run_pod(name="stuck")
    with futures.ThreadPoolExecutor() as pool:
        adding = pool.submit(daemon.run_pod, name="slow")
        deleting = pool.submit(stuck.stop)
        wait_until(lambda: sum(call["command"] == "ADD" for call in calls(daemon)) == 2)
        wait_until(lambda: any(call["command"] == "DEL" for call in calls(daemon)))
        begin = time.monotonic()
        other = daemon.run_pod(name="other")
        assert other.status().state == pb.SANDBOX_READY and other.address
        daemon.client.Status()
        assert {item.id for item in daemon.client.ListPodSandbox().items} == {stuck.id, other.id}
        assert stuck.status().state == pb.SANDBOX_NOTREADY
        other.stop()
        other.remove()
        assert time.monotonic() - begin < 5
        assert not adding.done() and not deleting.done()
        # What hangs now hangs to its own deadline; the next try finds plugins that work.
        heal(daemon)
        end_plugins("K8S_POD_NAME=stuck", daemon)
        with pytest.raises(grpc.RpcError):
            deleting.result()
        end_plugins("K8S_POD_NAME=slow", daemon)
        with pytest.raises(grpc.RpcError):
            adding.result()
    stuck.stop()
    stuck.remove()


def wait_until(what, seconds=20):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@pytest.mark.berth
def test_a_start_does_not_wait_for_each_hanging_plugin(scratch):
    daemon = with_plugin(scratch, SLOW)
    with futures.ThreadPoolExecutor() as pool:
        making = [pool.submit(daemon.run_pod, name=f"slow-stuck-{number}") for number in range(4)]
        wait_until(lambda: sum(call["command"] == "ADD" for call in calls(daemon)) == 4)
        daemon.kill()
        assert all(one.exception() for one in making)
    try:
        begin = time.monotonic()
        daemon.start()
        assert time.monotonic() - begin < 40
        left = daemon.client.ListPodSandbox().items
        assert len(left) == 4 and all(item.state == pb.SANDBOX_NOTREADY for item in left)
        daemon.ids.update(item.id for item in left)
    finally:
        end_plugins("slow-stuck", daemon)
        heal(daemon)
    daemon.remove_pods()
    assert not daemon.client.ListPodSandbox().items


@pytest.mark.berth
def test_a_plugin_that_goes_missing_keeps_its_pods_until_it_is_back(scratch):
    daemon = with_plugin(scratch, RESULT)
    pod = daemon.run_pod()
    os.rename(f"{daemon.base}/plugins/fake", f"{daemon.base}/fake")
    for request in (pod.stop, pod.remove):
        with pytest.raises(grpc.RpcError) as error:
            request()
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "'fake'" in error.value.details() and f"{daemon.base}/plugins" in error.value.details()
    assert pod.status().state == pb.SANDBOX_NOTREADY
    os.rename(f"{daemon.base}/fake", f"{daemon.base}/plugins/fake")
    pod.stop()
    pod.remove()
    assert [call["command"] for call in calls(daemon)] == ["ADD", "DEL"]


@pytest.mark.berth
def test_the_loopback_is_up_and_the_result_is_kept(scratch, shell):
    """Whatever the plugins do: these do nothing, and after a restart nobody asks them."""
    daemon = with_plugin(scratch, RESULT)
    pod = daemon.run_pod()
    lo, = json.loads(shell("nsenter", f"--net={daemon.state}/ns/{pod.id}/net", "ip", "-j", "addr", "show", "lo"))
    assert "UP" in lo["flags"] and "127.0.0.1" in [info["local"] for info in lo["addr_info"]]
    daemon.kill()
    daemon.start()
    assert pod.address == "10.9.8.7"
    assert len(calls(daemon)) == 1
