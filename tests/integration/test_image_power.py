"""The power goes: an image is whole or not listed, what was on the disk is still there, and nothing is half-made.

berthd lives on a disk that logs every write and flush (tests/crash); the disk is then made again as it was at many moments of
that life, without a random part of what had not been flushed, and booted from.

Environment: BERTH_POWER_CUTS moments for each file system (a few; `tests/run power` takes hundreds), BERTH_POWER_FILE_SYSTEMS
(ext4), BERTH_POWER_SEED. A failure names the seed; moments are chosen in a log that is a little different each time.
"""
import os
import random

import pytest

from crash import disk, faults, power

pytestmark = pytest.mark.berth
CUTS = int(os.environ.get("BERTH_POWER_CUTS", "12"))
KINDS = os.environ.get("BERTH_POWER_FILE_SYSTEMS", "ext4").split()
SEED = int(os.environ.get("BERTH_POWER_SEED", random.SystemRandom().randrange(1 << 31)))


@pytest.fixture(scope="module", params=KINDS)
def recording(request, fault_registry):
    with power.record(request.param, fault_registry) as made:
        yield made


def test_flushes_reach_the_disk(tmp_path):
    """What the other tests stand on: syncfs above is a flush in the log, and the disk before it lacks what came after."""
    with disk.PowerDisk(str(tmp_path / "mounted"), "ext4", 64) as plugged:
        start = plugged.written()
        for name in ("one", "two"):
            (tmp_path / "mounted" / name).write_text(name)
            disk.run("sync", "--file-system", str(tmp_path / "mounted"))
        plugged.unplug()
        log = disk.Log(plugged)
        flushes = [number for number in log.flushes if log.position(number) > start]
        assert len(flushes) >= 2
        seen = []
        for number in flushes:
            path = log.cut(disk.Cut(number, 0, 0), plugged.folder)
            device = disk.mount(path, str(tmp_path / "cut"), "ext4")
            seen.append(sorted(set(os.listdir(tmp_path / "cut")) - {"lost+found"}))
            disk.unmount(str(tmp_path / "cut"))
            disk.wait_detached(device)
        log.close()
    assert [] in seen or ["one"] in seen, seen
    assert seen[-1] == ["one", "two"]


def test_power_cuts(recording):
    print(f"{recording.kind}: seed {SEED}, {CUTS} cuts, {len(recording.log.records)} records, "
          f"{len(recording.log.flushes)} flushes")
    cuts = recording.log.cuts(CUTS, recording.begin, random.Random(SEED))
    listed = [recording.check_cut(cut, with_container=number % 4 == 0) for number, cut in enumerate(cuts)]
    print(f"images listed after the cuts: {listed}")
    assert any(listed), "no cut was at a moment with images: nothing was tested"


@pytest.mark.parametrize("lost, said", [(faults.SYNC_ALL, "the image store is damaged"), (faults.SYNC_FILE, "must be listed")])
def test_a_store_that_does_not_flush_is_found_out(fault_registry, lost, said):
    """The test of the test: without berthd's flushes of layers it must see damage, without those of its database lost images."""
    with power.record("ext4", fault_registry, no_sync=lost) as recording:
        found = []
        for cut in recording.log.cuts(100, recording.begin, random.Random(SEED)):
            try:
                recording.check_cut(cut)
            except AssertionError as error:
                found.append(str(error))
                if said in found[-1]:
                    break
        print("\n".join(found))
        assert found and said in found[-1], f"flushes did nothing, and no cut showed it (seed {SEED}): {found}"
