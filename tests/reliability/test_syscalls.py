"""The layer `syscalls` at the size of CI: nothing is lost, and what is wrong on purpose is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.programme import Budget
from tests.reliability.syscalls import LAYER


@pytest.mark.slow
def test_the_promise_holds(tmp_path: Path) -> None:
    """No violation, and every control is caught."""
    record = LAYER.play(Budget(tmp_path))

    assert record.violations == (), record.failing
    assert {caught.bug for caught in record.caught if caught.cases} == set(LAYER.controls)
    assert record.cases > 0, record.not_played
