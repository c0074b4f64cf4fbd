"""AppArmor: which profile confines a container, and what berth's own denies.

What needs a kernel with AppArmor is run in User-Mode Linux (tests/uml/integration) where this machine's has none.
"""
import os
import subprocess

import grpc
import pytest

from harness import leaks, pods
from harness.cri import pb

DEFAULT = "berth-default (enforce)"
NAMED = "berth-test-named"
NAMED_TEXT = f"""profile {NAMED} flags=(attach_disconnected,mediate_deleted) {{
  file, network, capability, umount, signal, ptrace, unix, mount,
  deny /tmp/secret rw,
}}
"""


def in_use():
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="utf-8") as value:
            return value.read().startswith("Y") and os.path.exists("/sys/kernel/security/apparmor/profiles")
    except OSError:
        return False


pytestmark = [pytest.mark.berth, pytest.mark.uml]
with_apparmor = pytest.mark.skipif(not in_use(), reason="this kernel has no AppArmor (tests/uml/integration has one)")
without_apparmor = pytest.mark.skipif(in_use(), reason="this kernel has AppArmor")


def profile(kind, ref=""):
    return {"apparmor": pb.SecurityProfile(profile_type=kind, localhost_ref=ref)}


RUNTIME_DEFAULT = profile(pb.SecurityProfile.RuntimeDefault)
UNCONFINED = profile(pb.SecurityProfile.Unconfined)
LOCALHOST = profile(pb.SecurityProfile.Localhost, NAMED)


@pytest.fixture
def named():
    """A profile that the administrator has loaded."""
    parser = ["apparmor_parser", "--skip-cache"]
    subprocess.run([*parser, "--replace"], input=NAMED_TEXT, text=True, check=True)
    yield NAMED
    subprocess.run([*parser, "--remove"], input=NAMED_TEXT, text=True, check=True)


def confinement(container):
    """The profile of an exec session, after checking that the container's first process has the same. The first process gets it
    by its execve, which a start does not wait for."""
    current = container.output(["cat", "/proc/self/attr/current"]).strip()

    def differs():
        with open(f"/proc/{container.host_pid()}/attr/current", encoding="utf-8") as value:
            found = value.read().strip()
        return [] if found == current else [found]
    assert not leaks.settle(differs, 5)
    return current


@with_apparmor
@pytest.mark.parametrize("security", [
    {}, RUNTIME_DEFAULT, {"apparmor_profile": "runtime/default"}], ids=["absent", "RuntimeDefault", "old"])
def test_the_default(daemon, security):
    assert confinement(daemon.run_pod().run_container(security=security)) == DEFAULT
    assert "apparmor_parser is missing" not in daemon.log()


@with_apparmor
@pytest.mark.parametrize("security", [UNCONFINED, {"apparmor_profile": "unconfined"}], ids=["Unconfined", "old"])
def test_unconfined(daemon, security):
    assert confinement(daemon.run_pod().run_container(security=security)) == "unconfined"


def opens_for_writing(container, path):
    """Writes nothing: what matters is whether it could."""
    answer = container.exec(["sh", "-c", f": >> {path}"])
    assert answer.exit_code == 0 or b"ermission denied" in answer.stderr, answer.stderr
    return answer.exit_code == 0


@with_apparmor
def test_what_the_default_denies(daemon):
    """Each is tried without the profile too: that it fails is the profile's doing."""
    pod = daemon.run_pod()
    # With read-only paths of its own a container has none of the default ones.
    security = {"readonly_paths": ["/proc/irq"], "capabilities": pb.Capability(add_capabilities=["SYS_ADMIN"])}
    mounts = [{"host_path": "/sys", "container_path": "/sys"}]
    confined, free = (pod.run_container(security={**security, **apparmor}, mounts=mounts)
                      for apparmor in (RUNTIME_DEFAULT, UNCONFINED))
    for path in ("/proc/sys/kernel/sysrq", "/proc/sys/kernel/hostname", "/proc/sys/vm/swappiness",
                 "/proc/sysrq-trigger", "/sys/module/apparmor/parameters/audit"):
        assert opens_for_writing(free, path), path
        assert not opens_for_writing(confined, path), path
    for path in ("/proc/sys/kernel/shmmax", "/proc/self/oom_score_adj", "/proc/self/comm", "/tmp/file"):
        assert opens_for_writing(confined, path), path
    for script in ("mount -t tmpfs tmpfs /mnt", "cat /sys/kernel/security/apparmor/profiles"):
        assert free.exec(["sh", "-c", f"mkdir -p /mnt; {script}"]).exit_code == 0, script
        answer = confined.exec(["sh", "-c", f"mkdir -p /mnt; {script}"])
        assert answer.exit_code != 0 and b"ermission denied" in answer.stderr, script


@with_apparmor
def test_signals_reach_a_confined_container(daemon):
    container = daemon.run_pod().run_container(
        command=["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done"])
    container.shell("sleep 1000 & kill -9 $! && cat /proc/1/status > /dev/null")
    container.stop(timeout=60)
    assert container.status().exit_code == 7


@with_apparmor
def test_a_profile_of_the_node(daemon, named):
    container = daemon.run_pod().run_container(security=LOCALHOST)
    assert confinement(container) == f"{named} (enforce)"
    container.shell("echo x > /tmp/open")
    answer = container.exec(["sh", "-c", "echo x > /tmp/secret"])
    assert answer.exit_code != 0 and b"ermission denied" in answer.stderr
    old = daemon.run_pod().run_container(security={"apparmor_profile": f"localhost/{named}"})
    assert confinement(old) == f"{named} (enforce)"


def refused(daemon, pod, security):
    """The error's text; after checking that nothing was made."""
    daemon.need(pods.BUSYBOX)
    with pytest.raises(grpc.RpcError) as error:
        pod.create(name="the-one", security=security)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert not daemon.client.ListContainers().containers
    assert not os.listdir(f"{daemon.state}/containers") and not os.listdir(f"{daemon.root}/containers")
    pod.create(name="the-one", security=UNCONFINED)
    return error.value.details()


@with_apparmor
def test_an_unknown_profile_is_refused(daemon):
    assert "'no-such' is not loaded" in refused(
        daemon, daemon.run_pod(), profile(pb.SecurityProfile.Localhost, "no-such"))


@without_apparmor
def test_a_profile_without_apparmor_is_refused(daemon):
    pod = daemon.run_pod()
    assert "'strict': AppArmor is not in use" in refused(
        daemon, pod, profile(pb.SecurityProfile.Localhost, "strict"))
    for security in ({}, RUNTIME_DEFAULT, UNCONFINED):
        pod.run_container(security=security)


@with_apparmor
def test_privileged_containers_have_none_unless_named(daemon, named):
    pod = daemon.run_pod(privileged=True)
    for security, expected in (({}, "unconfined"), (RUNTIME_DEFAULT, "unconfined"),
                               (LOCALHOST, f"{named} (enforce)")):
        assert confinement(pod.run_container(security={"privileged": True, **security})) == expected


def choose(daemon, name):
    """Makes it the node's profile, from the next start on."""
    with open(f"{daemon.base}/conf.d/50-apparmor.toml", "w", encoding="utf-8") as out:
        out.write(f'[runtime]\napparmor_profile = "{name}"\n')


@with_apparmor
def test_the_administrators_choice(scratch, runtime, named):
    daemon = scratch(runtime=runtime)
    choose(daemon, named)
    daemon.restart()
    assert confinement(daemon.run_pod().run_container()) == f"{named} (enforce)"


@with_apparmor
def test_another_text_of_ours_is_replaced(scratch, runtime):
    daemon = scratch(runtime=runtime)
    daemon.stop()
    with open(f"{daemon.state}/apparmor-profile", "w", encoding="utf-8") as earlier:
        earlier.write("an earlier berth's")
    daemon.start()
    with open(f"{daemon.state}/apparmor-profile", encoding="utf-8") as now:
        assert "\nprofile berth-default " in now.read()
    assert confinement(daemon.run_pod().run_container()) == DEFAULT


@with_apparmor
def test_a_choice_that_is_not_loaded_stops_the_start(scratch, runtime):
    daemon = scratch(runtime=runtime)
    daemon.stop()
    choose(daemon, "no-such")
    end = subprocess.run(daemon.command(), capture_output=True, text=True, timeout=120, check=False)
    assert end.returncode != 0 and "'no-such' of runtime.apparmor_profile is not loaded" in end.stderr
    choose(daemon, "unconfined")
    daemon.start()
    assert confinement(daemon.run_pod().run_container()) == "unconfined"
