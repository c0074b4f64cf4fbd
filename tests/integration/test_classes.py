"""Classes of disk use that annotations ask for. What they become in the kernel is looked at in its own files."""
import os
import subprocess

import grpc
import pytest

from harness import pods
from harness.cri import pb
from test_resources import IS_V2, folder, read

pytestmark = [pytest.mark.berth, pytest.mark.uml]
CLASSES = """
Classes:
  slow:
    - Devices: [{disk}*]
      ThrottleReadBps: 2Mi
      ThrottleWriteBps: 1Mi
      ThrottleReadIOPS: 2k
      ThrottleWriteIOPS: 1k
  reading:
    - Devices: [{disk}]
      ThrottleReadBps: 3Mi
  absent:
    - Devices: [/dev/nothing*]
      ThrottleReadBps: 3Mi
"""
POD = "blockio.resources.beta.kubernetes.io/pod"
OF_CONTAINER = "blockio.resources.beta.kubernetes.io/container."


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A disk of the test's own: a loop device."""
    image = tmp_path_factory.mktemp("disk") / "image"
    with open(image, "wb") as out:
        out.truncate(4 << 20)
    made = subprocess.run(["losetup", "--find", "--show", str(image)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    if made.returncode:
        pytest.skip(f"this kernel has no loop devices: {made.stderr.strip()}")
    device = made.stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture(params=["crun", "runc"])
def node(request, scratch, disk, tmp_path):
    (tmp_path / "blockio.yaml").write_text(CLASSES.format(disk=disk))
    return scratch(runtime=request.param, with_network=False,
                   runtime_table={"blockio_config_file": str(tmp_path / "blockio.yaml")})


def limits(container, disk):
    """(read bytes, write bytes, reads, writes) a second of the container on that disk; None: not limited."""
    numbers = os.stat(disk).st_rdev
    mark = f"{os.major(numbers)}:{os.minor(numbers)} "
    if IS_V2:
        for line in read(folder(container, "io") + "/io.max").splitlines():
            if line.startswith(mark):
                found = dict(item.split("=") for item in line.split()[1:])
                return tuple(None if found[key] == "max" else int(found[key]) for key in ("rbps", "wbps", "riops", "wiops"))
        return (None,) * 4
    def one(name):
        lines = read(f"{folder(container, 'blkio')}/blkio.throttle.{name}_device").splitlines()
        return next((int(line[len(mark):]) for line in lines if line.startswith(mark)), None)
    return tuple(one(name) for name in ("read_bps", "write_bps", "read_iops", "write_iops"))


def test_a_class_limits_the_disk(node, disk):
    pod = node.run_pod(network=pods.NODE, annotations={POD: "slow", OF_CONTAINER + "picky": "reading"})
    container = pod.run_container()
    assert limits(container, disk) == (2 << 20, 1 << 20, 2000, 1000)
    assert limits(pod.run_container(name="picky"), disk) == (3 << 20, None, None, None)
    own = pod.run_container(annotations={"io.kubernetes.cri.blockio-class": "absent"})
    assert limits(own, disk) == (None,) * 4
    assert "no block device matches class=absent pattern='/dev/nothing*'" in node.log()
    assert limits(node.run_pod(network=pods.NODE).run_container(), disk) == (None,) * 4
    # A change of other resources leaves it alone, in the kernel and in what is shown.
    node.client.UpdateContainerResources(container_id=container.id, linux=pb.LinuxContainerResources(cpu_shares=300))
    assert limits(container, disk) == (2 << 20, 1 << 20, 2000, 1000)
    assert '"throttleReadBpsDevice"' in container.info()["info"]


def test_an_unknown_class_is_refused(node):
    pod = node.run_pod(network=pods.NODE, annotations={POD: "sloow"})
    with pytest.raises(grpc.RpcError) as error:
        pod.run_container()
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "no blockio class 'sloow'; there are 'absent', 'reading', 'slow'" in error.value.details()
    assert not node.client.ListContainers().containers


def test_a_file_that_makes_no_sense_stops_the_start(scratch, tmp_path):
    (tmp_path / "blockio.yaml").write_text("Classes: {slow: [{Weight: 5000}]}")
    daemon = scratch(with_network=False, wait=False,
                     runtime_table={"blockio_config_file": str(tmp_path / "blockio.yaml")})
    daemon.launch()
    assert daemon.process.wait(30) == 1
    daemon.process = None
    assert f"blockio classes of '{tmp_path}/blockio.yaml': 'Classes.slow[0].Weight' is 5000" in daemon.log()


@pytest.mark.skipif(os.path.exists("/sys/fs/resctrl/schemata"), reason="resctrl is mounted here")
def test_an_rdt_class_without_resctrl_is_refused(scratch):
    daemon = scratch(with_network=False, runtime_table={"rdt": True})
    pod = daemon.run_pod(network=pods.NODE, annotations={"rdt.resources.beta.kubernetes.io/pod": "gold"})
    with pytest.raises(grpc.RpcError) as error:
        pod.run_container()
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "RDT class 'gold'" in error.value.details() and "resctrl" in error.value.details()
    assert "has no effect" not in daemon.log()
