"""L5 at the size of CI, and that what its disks forget is what disks may forget."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tenuto.errors import StorageFailed
from tenuto.storage import sqlite
from tenuto.storage.sqlite import open_journal
from tests.reliability.disk import mounts
from tests.reliability.disk.forgetful import SECTOR, Disk
from tests.reliability.disk.mounts import MountFailed, ext4
from tests.reliability.disk.tracing import Unfinished, check_may_trace, traced
from tests.reliability.power import LAYER, NOT_YET, Played, play, record_and_explore
from tests.reliability.programme import Budget
from tests.servers.provision import CannotRun


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_power_fails(tmp_path: Path) -> None:
    """Whatever was not synced; and every store that syncs less is noticed."""
    record = play(Budget(tmp_path))

    assert record.violations == ()
    assert record.cases > 0
    assert [caught.bug for caught in record.caught if caught.cases is None] == []
    if missing := set(record.not_played) - {*NOT_YET}:
        pytest.skip("; ".join(sorted(missing)))
    assert {caught.bug for caught in record.caught} == {*LAYER.controls}


@pytest.mark.slow
def test_a_log_whose_name_may_not_be_on_the_disk_is_not_relied_on(tmp_path: Path) -> None:
    """SQLite takes no notice if the sync fails that makes it so: the 10th of a new database, in this recording."""
    try:
        check_may_trace()
    except CannotRun as reason:
        pytest.skip(str(reason))
    played = Played()
    record_and_explore(Budget(tmp_path), 17, 60, played)

    assert played.violations == []
    assert played.counts["crash states"] == 60


def test_a_process_that_is_left_over_is_not_taken_for_a_missing_loop_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails once something was played is a finding, no reason not to play."""
    monkeypatch.setattr(mounts, "UNMOUNT_SECONDS_MAX", 0.05)
    try:
        with (
            ext4(tmp_path) as disk,
            (disk.place / "open").open("wb"),
            pytest.raises(MountFailed, match="busy"),
        ):
            disk.again()
    except CannotRun as reason:
        pytest.skip(str(reason))


def test_a_life_that_broke_off_is_not_explored(tmp_path: Path) -> None:
    """What is written down of it is not all that it would have had to keep."""
    try:
        check_may_trace()
    except CannotRun as reason:
        pytest.skip(str(reason))
    with pytest.raises(Unfinished, match="ended with 7: why"):
        traced(
            [sys.executable, "-c", "exit(print('why', file=__import__('sys').stderr) or 7)"],
            tmp_path,
            tmp_path / "log",
        )


@pytest.mark.parametrize("weaker", ["NORMAL", "OFF"])
async def test_the_store_refuses_what_loses_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weaker: str
) -> None:
    """The weaknesses above need a detour: a SQLite that does not take the setting over is not worked with."""

    class Stubborn(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("synchronous = FULL", f"synchronous = {weaker}"), *values)

    monkeypatch.setattr(
        sqlite, "_connect", lambda path, mode: sqlite3.connect(path, isolation_level=None, factory=Stubborn)
    )
    with pytest.raises(StorageFailed, match="synchronous"):
        await open_journal(tmp_path / "t.db", failed=lambda error: None)


def _drawn(disk: Disk, kept: float) -> set[tuple[tuple[str, bytes], ...]]:
    return {tuple(disk.draw(Random(seed), kept).items()) for seed in range(200)}


def test_what_was_synced_is_there_and_all_else_may_be() -> None:
    """Sectors in any order, names on their own; a kill alone loses nothing."""
    disk = Disk()
    disk.create("a")
    disk.write("a", 0, b"1" * 2 * SECTOR)
    before = _drawn(disk, 0.5)
    disk.sync("a")
    disk.sync("")
    disk.write("a", 0, b"2" * 2 * SECTOR)
    torn = {content for ((_, content),) in _drawn(disk, 0.5)}
    killed = _drawn(disk, 1.0)

    assert () in before
    assert (("a", b""),) in before
    assert torn == {first * SECTOR + second * SECTOR for first in (b"1", b"2") for second in (b"1", b"2")}
    assert killed == {(("a", b"2" * 2 * SECTOR),)}


def test_a_sync_that_failed_may_lose_what_no_later_one_saves() -> None:
    """Unless it is written again; also what a file was cut by comes back, whole."""
    disk = Disk({"a": b"1" * SECTOR})
    disk.write("a", 0, b"2" * SECTOR)
    disk.sync("a", worked=False)
    disk.sync("a")
    after = _drawn(disk, 0.0)
    disk.write("a", 0, b"2" * SECTOR)
    disk.sync("a")
    again = _drawn(disk, 0.0)
    disk.resize("a", 0)

    assert after == {(("a", b"1" * SECTOR),), (("a", b"2" * SECTOR),)}
    assert again == {(("a", b"2" * SECTOR),)}
    assert _drawn(disk, 0.5) == {(("a", b"2" * SECTOR),), (("a", b""),)}
