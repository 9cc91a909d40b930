"""The layer `soak` at the size of CI: nothing is lost, and what is wrong on purpose is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.programme import Budget
from tests.reliability.soak import KEPT, LAYER, Sample, grown


@pytest.mark.slow
def test_the_promise_holds(tmp_path: Path) -> None:
    """No violation, and every control is caught."""
    record = LAYER.play(Budget(tmp_path))

    assert record.violations == (), record.failing
    assert {caught.bug for caught in record.caught if caught.cases} == {KEPT}
    assert record.cases > 0, record.not_played


def samples(
    *, memory: int = 0, files: int = 0, database: int = 0, log: int = 0, count: int = 200
) -> list[Sample]:
    """So many samples, of twenty runs each, of which each leaves so much behind."""
    return [
        Sample(
            at=place / 10,
            processor=place / 20,
            runs=20 * place,
            memory=40_000_000 + 20 * memory * place,
            files=20 + files * place,
            threads=10,
            database=3_000 * 20 * place + database * place**2,
            log=log,
        )
        for place in range(count)
    ]


@pytest.mark.parametrize(
    "growing", [{"memory": 1_000}, {"files": 1}, {"database": 500}, {"log": 100_000_000}]
)
def test_what_grows_is_noticed(growing: dict[str, int]) -> None:
    """Each measure can fail, and none does without a cause."""
    assert [found.invariant for found in grown(samples(**growing))] == [f"flat: {name}" for name in growing]
    assert grown(samples()) == []


def test_the_more_runs_the_less_may_each_leave_behind() -> None:
    """As much for each is noise in few runs, and too much in many."""
    assert grown(samples(memory=300)) == []
    assert [found.invariant for found in grown(samples(memory=300, count=800))] == ["flat: memory"]
