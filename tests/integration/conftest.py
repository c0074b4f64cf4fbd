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
