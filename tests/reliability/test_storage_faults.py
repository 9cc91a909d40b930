"""L6 at the size of CI."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import msgspec
import pytest

from tests.reliability import storage_faults
from tests.reliability.disk.lives import Heard
from tests.reliability.evidence import Call, Violation
from tests.reliability.programme import Budget, Caught
from tests.reliability.storage_faults import LAYER, becomes_read_only, play
from tests.servers.provision import CannotRun


def test_what_is_said_after_the_store_has_failed_is_noticed() -> None:
    """Asking is nobody's fault, nor is opening or the word of the failure itself; an acknowledgement or an effect is."""
    call = Call(client=1, number=1, what="invoke", verb="start", run="1-1", at=0.0)
    asked = b"call " + msgspec.json.encode(call)
    answered = b"call " + msgspec.json.encode(msgspec.structs.replace(call, what="ok"))
    told = b'failed {"code": "storage-failed"}'
    heard = Heard()
    heard.take([b"durable 1-1 1 00", b"refused", b"ready", asked, answered, b"durable 1-1 2 00", told])

    assert heard.after_failure == [answered, b"durable 1-1 2 00"]


def test_no_part_is_left_out_where_time_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is pretended leaves the rest its share, and what a part had less than it should is said."""

    def nothing(folder: Path) -> list[Violation]:
        time.sleep(0.05)
        return []

    monkeypatch.setattr(
        storage_faults, "cases", lambda *_: iter([storage_faults.Case("disk full", nothing)] * 1000)
    )
    monkeypatch.setattr(storage_faults, "_catch", lambda budget: Caught(bug="", cases=1))
    record = play(Budget(tmp_path, scale=100.0, deadline=time.monotonic() + 2.0))

    assert record.counts["executed and reported as failed"] > 1
    assert record.counts["disk full"] > 1
    assert [each.rpartition(": only")[0] for each in record.not_played] == [
        "failures that are pretended",
        "failures of a real disk, file or call",
    ]


@pytest.mark.slow
def test_a_store_that_fails_is_believed_and_the_next_process_goes_on(
    tmp_path: Path,
) -> None:
    """Each kind of failure at least once; one that is swallowed is noticed."""
    record = play(Budget(tmp_path))

    assert record.violations == ()
    assert record.cases > 0
    assert [caught.bug for caught in record.caught if caught.cases is None] == []
    if missing := set(record.not_played):
        pytest.skip("; ".join(sorted(missing)))
    assert {caught.bug for caught in record.caught} == {*LAYER.controls}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 4, 19])
def test_what_a_file_system_that_gives_up_says_it_synced_is_not_believed(tmp_path: Path, seed: int) -> None:
    """A sync that is under way when ext4 becomes read-only may report that all is on the disk."""
    try:
        found = becomes_read_only(tmp_path / "disk", Random(seed))
    except CannotRun as reason:
        pytest.skip(str(reason))

    assert found == []
