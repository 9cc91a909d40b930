"""L8 at the size of CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.clocks import LAYER, NOT_YET, play
from tests.reliability.programme import Budget


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
