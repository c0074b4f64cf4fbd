"""Fixtures of several files here."""
import pytest

from harness import streams


@pytest.fixture(params=streams.PROTOCOLS)
def protocol(request):
    """How a client of a streaming URL speaks."""
    return request.param


@pytest.fixture
def container(daemon):
    """One that only waits."""
    return daemon.run_pod().run_container()


@pytest.fixture
def no_images_stay(request):
    """The test begins and ends without images, where it works with the shared daemon."""
    daemon = request.getfixturevalue("any_daemon") if "any_daemon" in request.fixturenames else None
    if daemon:
        daemon.remove_images()
    yield
    if daemon:
        daemon.remove_images()
