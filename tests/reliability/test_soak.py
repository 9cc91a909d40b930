"""The layer `soak` at the size of CI: nothing is lost, and what is wrong on purpose is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.programme import Budget
from tests.reliability.soak import LAYER, Sample, grown


@pytest.mark.slow
def test_the_promise_holds(tmp_path: Path) -> None:
    """No violation, and every control is caught."""
    record = LAYER.play(Budget(tmp_path))

    assert record.violations == (), record.failing
    assert {caught.bug for caught in record.caught if caught.cases} == set(LAYER.controls)
    assert record.cases > 0, record.not_played


def samples(*, memory: int = 0, files: int = 0, database: int = 0, log: int = 0) -> list[Sample]:
    """Two hundred samples of four thousand runs, of which each leaves so much behind."""
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
        for place in range(200)
    ]


@pytest.mark.parametrize(
    "growing", [{"memory": 10_000}, {"files": 1}, {"database": 500}, {"log": 100_000_000}]
)
def test_what_grows_is_noticed(growing: dict[str, int]) -> None:
    """Each measure can fail, and none does without a cause."""
    assert [found.invariant for found in grown(samples(**growing))] == ["flat"]
    assert grown(samples()) == []
