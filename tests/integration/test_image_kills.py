"""SIGKILL at every step of what changes images: the next berthd finds each image whole or not there, and nothing else.

A library between berthd and the kernel counts the calls that change files and kills the process at a chosen one
(tests/crash/storage_faults.c), so "every step" means every such call, of the request and of what follows it in the background.

Environment: BERTH_KILLS calls of each thing (a few; `tests/run power` takes all), BERTH_POWER_SEED.
"""
import os
import random

import grpc
import pytest

from crash import steps, truth

pytestmark = pytest.mark.berth
KILLS = int(os.environ.get("BERTH_KILLS", "8"))
SEED = int(os.environ.get("BERTH_POWER_SEED", random.SystemRandom().randrange(1 << 31)))


@pytest.fixture
def store(scratch, fault_registry, tmp_path):
    made = steps.Steps(scratch, fault_registry, tmp_path)
    yield made
    made.faults.off()


def done_until_killed(store, name, number):
    """Does a thing that is killed at its call `number`. Whether the daemon had said that it was done; None: it lived on."""
    store.faults.kill(number)
    answered = True
    try:
        store.do(name)
    except (grpc.RpcError, RuntimeError):
        answered = False
    if not steps.wait_dead(store.daemon, 2 if answered else 20):
        return None
    store.daemon.stop()
    store.faults.off()
    return answered


@pytest.mark.parametrize("name", [*steps.Steps.NAMES, "pull-large"])
def test_killed_at_a_call(store, name):
    count = store.calls(name)
    numbers = steps.some(count, KILLS if name != "pull-large" else min(KILLS, 40), SEED)
    print(f"{name}: {count} calls, killed at {numbers}, seed {SEED}")
    killed = outcomes = 0
    for number in numbers:
        store.ready_for(name)
        answered = done_until_killed(store, name, number)
        if answered is None:
            continue    # the log's checkpoint, for instance, comes only now and then
        killed += 1
        store.daemon.start()
        where = f"{name} killed at call {number} of {count}, answered: {answered}"
        try:
            store.truth.check(store.daemon)
            listed = store.is_listed(name)
            outcomes |= 1 << listed
            if answered:
                assert listed == (name != "remove"), f"listed: {listed}"
            assert truth.listed(store.daemon, store.other), "another image is gone"
            store.do(name)
            truth.wait_durable(store.daemon)
            store.truth.check(store.daemon)
            assert store.is_listed(name) == (name != "remove")
        except Exception as error:
            raise AssertionError(f"{where}: {error}") from error
    assert killed >= len(numbers) // 2, f"only {killed} of {len(numbers)} were killed"


def test_killed_while_it_starts(store):
    """A start that clears away what an earlier kill left is killed too."""
    count = store.calls("pull-large")
    for number in steps.some(count, min(KILLS, 20), SEED):
        store.ready_for("pull-large")
        if done_until_killed(store, "pull-large", number) is None:
            continue
        for again in (1, 3, 10, 40):
            store.faults.kill(again)
            store.daemon.launch()
            if not steps.wait_dead(store.daemon, 1):
                break
        store.faults.off()
        store.daemon.kill()
        store.daemon.start()
        store.truth.check(store.daemon)
        assert truth.listed(store.daemon, store.other)
        store.do("pull-large")
        truth.wait_durable(store.daemon)
        store.truth.check(store.daemon)
