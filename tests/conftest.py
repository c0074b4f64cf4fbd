"""Fixtures of all Python tests.

`daemon` is a running berthd, shared by the tests of one runtime; after each test all pods are removed and it must be as
it was at its start. `scratch` makes daemons for one test alone. Tests that a machine cannot run are skipped with the
reason in words; nothing passes without having been tried.

BERTH_TEST_DAEMON=containerd runs the same tests against Debian's containerd, which is how a test is told from a bug.
"""
import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import leaks, places  # noqa: E402
from harness.chosen import CGROUP_MANAGER, CLASSES, KIND, RUNTIMES  # noqa: E402
from registry import faults, registries_conf, server  # noqa: E402


def pytest_configure(config):
    for line in (
            "berth: looks at what only berth does or promises (not run against another daemon)",
            "slow: takes many seconds even on a fast machine",
            "uml: worth running on another kernel: cgroup v2, the systemd driver, AppArmor, all capabilities",
    ):
        config.addinivalue_line("markers", line)


def _missing():
    """Why no test can run here; empty when they can."""
    if os.geteuid() != 0:
        return "these tests make namespaces, mounts and cgroups: run them as root"
    for name in (*RUNTIMES, "docker-registry", "skopeo", "protoc", "iptables", "ip", "musl-gcc"):
        if not shutil.which(name):
            return f"program '{name}' is missing: run contrib/install-deps"
    if KIND == "berthd" and not os.path.exists(places.program("berthd")):
        return f"{places.program('berthd')} is not built"
    return ""


def pytest_sessionstart(session):
    reason = _missing()
    if reason:
        pytest.exit(reason, returncode=3)
    leaks.adopt_orphans()


def pytest_collection_modifyitems(config, items):
    if KIND != "berthd":
        for item in items:
            if item.get_closest_marker("berth"):
                item.add_marker(pytest.mark.skip(reason=f"says what berth does; this is {KIND}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the last lines of the log of each daemon the test had."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for daemon in item.funcargs.values():
            text = daemon.log() if isinstance(daemon, tuple(CLASSES.values())) else ""
            for made in getattr(daemon, "made", ()):
                text += made.log()
            if text:
                report.sections.append(("daemon log", "\n".join(text.splitlines()[-60:])))


@pytest.fixture(scope="session")
def registry():
    """A docker-registry with every test image."""
    with server.DockerRegistry(server.content()) as running:
        yield running


@pytest.fixture(scope="session")
def fault_registry():
    """A registry that misbehaves on request; the shared daemon knows it as a plain HTTP one."""
    with faults.FaultRegistry() as running:
        yield running


class Pool:
    """The shared daemons, one per runtime; a daemon that left something is replaced."""

    def __init__(self, registry, fault_registry):
        self.registry, self.fault_registry = registry, fault_registry
        self.running = {}

    def get(self, runtime):
        if runtime not in self.running:
            text = registries_conf.redirect(self.registry.host) + \
                registries_conf.entry(location=self.fault_registry.host, insecure=True)
            self.running[runtime] = CLASSES[KIND](runtime=runtime, registry=self.registry.host,
                                                  registries=text, cgroup_manager=CGROUP_MANAGER)
        return self.running[runtime]

    def drop(self, runtime, check):
        daemon = self.running.pop(runtime, None)
        if daemon:
            daemon.close(check=check)

    def settle(self, runtime):
        try:
            self.running[runtime].settled()
        except BaseException:
            self.drop(runtime, check=False)
            raise


@pytest.fixture(scope="session")
def pool(registry, fault_registry):
    shared = Pool(registry, fault_registry)
    yield shared
    for runtime in list(shared.running):
        shared.drop(runtime, check=True)


@pytest.fixture(scope="session", params=RUNTIMES)
def runtime(request):
    """The OCI runtime under test."""
    return request.param


@pytest.fixture
def daemon(pool, runtime):
    """A running daemon whose default runtime is `runtime`; after the test nothing of its pods may be left."""
    yield pool.get(runtime)
    pool.settle(runtime)


@pytest.fixture
def any_daemon(pool):
    """The same, for tests in which the OCI runtime plays no part."""
    yield pool.get(RUNTIMES[-1])
    pool.settle(RUNTIMES[-1])


class Scratches:
    """Makes daemons for one test: scratch(runtime="runc", image={...}) starts one."""

    def __init__(self, registry):
        self.registry = registry
        self.made = []

    def __call__(self, **options):
        options.setdefault("registry", self.registry.host)
        options.setdefault("runtime", RUNTIMES[-1])
        options.setdefault("cgroup_manager", CGROUP_MANAGER)
        self.made.append(CLASSES[KIND](**options))
        return self.made[-1]


@pytest.fixture
def scratch(registry):
    """Daemons of the test's own, ended and checked for leftovers after it."""
    factory = Scratches(registry)
    yield factory
    troubles = []
    for daemon in factory.made:
        try:
            daemon.close()
        except Exception as error:    # all of them must be taken down before any is reported
            troubles.append(error)
    if troubles:
        raise troubles[0]


@pytest.fixture
def shell():
    """Runs a program of the host; returns its standard output."""
    def run(*command, check=True):
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=check).stdout
    return run
