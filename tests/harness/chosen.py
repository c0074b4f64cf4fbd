"""What the environment chooses for a run of the tests."""
import os

from harness import berthd, containerd

KIND = os.environ.get("BERTH_TEST_DAEMON", "berthd")
CLASSES = {"berthd": berthd.ScratchBerthd, "containerd": containerd.ScratchContainerd}
RUNTIMES = os.environ.get("BERTH_TEST_RUNTIMES", "runc crun").split()
CGROUP_MANAGER = os.environ.get("BERTH_TEST_CGROUP_MANAGER", "cgroupfs")
