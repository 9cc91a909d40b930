"""L8 at the size of CI."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.reliability import clocks
from tests.reliability.clocks import LAYER, NOT_YET, play
from tests.reliability.programme import Budget


def test_no_part_is_left_out_where_time_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds leave processes their share, and what a part had less than it should is said."""
    monkeypatch.setattr(clocks, "KINDS", {"quick": lambda folder, random: time.sleep(0.05) or []})
    monkeypatch.setattr(clocks, "CATCH_SEEDS_MAX", 0)
    record = play(Budget(tmp_path, scale=1000.0, deadline=time.monotonic() + 2.0))

    assert record.counts["seeds"] > 1
    assert record.counts["episodes"] > 1
    assert [each.rpartition(": only")[0] for each in record.not_played[len(NOT_YET) :]] == [
        "seeds with a clock that jumps",
        "processes whose clock is turned",
    ]


@pytest.mark.slow
def test_timers_and_limits_hold_whatever_is_done_to_clocks(tmp_path: Path) -> None:
    """Each way to turn a clock once, and some seeds; timers that do not look at the clock are noticed."""
    record = play(Budget(tmp_path))

    assert record.violations == ()
    assert record.cases > 0
    assert [caught.bug for caught in record.caught if caught.cases is None] == []
    if missing := set(record.not_played) - {*NOT_YET}:
        pytest.skip("; ".join(sorted(missing)))
    assert {caught.bug for caught in record.caught} == {*LAYER.controls}
