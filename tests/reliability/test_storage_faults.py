"""L6 at the size of CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.programme import Budget
from tests.reliability.storage_faults import LAYER, play


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
