"""L9 at the size of CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.programme import Budget
from tests.reliability.upgrades import GOLDEN, LAYER, play

GOLDEN_BYTES_MAX = 200_000
"""What is kept for ever is kept small."""


@pytest.mark.slow
def test_what_old_versions_recorded_goes_on(tmp_path: Path) -> None:
    """Also when a migration is broken off; code and migrations that do not fit are noticed."""
    record = play(Budget(tmp_path))

    assert record.violations == ()
    assert record.cases > 0
    assert [caught.bug for caught in record.caught if caught.cases is None] == []
    if missing := set(record.not_played):
        pytest.skip("; ".join(sorted(missing)))
    assert {caught.bug for caught in record.caught} == {*LAYER.controls}


def test_the_golden_set_is_small() -> None:
    """Bytes of all its files."""
    assert sum(file.stat().st_size for file in GOLDEN.rglob("*") if file.is_file()) < GOLDEN_BYTES_MAX
