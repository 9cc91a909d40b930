"""Durations, as connectors read them."""

from __future__ import annotations

from typing import Any

import pytest

from tenuto.connectors.duration import seconds_of
from tenuto.plugin import Faulted


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ({"seconds": 5}, 5.0),
        ({"days": 1, "hours": 1, "minutes": 1, "seconds": 1, "milliseconds": 500}, 90061.5),
        ("PT5M", 300.0),
        ("P1DT0.5S", 86400.5),
        ("P1W", 604800.0),
    ],
)
def test_both_forms_are_seconds(duration: Any, expected: float) -> None:
    """Objects and ISO 8601 texts give the same number."""
    assert expected == seconds_of(duration, "after")


@pytest.mark.parametrize(
    "duration", [None, {}, {"weeks": 1}, {"seconds": -1}, {"seconds": True}, "", "P", "PT", "P1M", "5s", 5]
)
def test_anything_else_is_refused(duration: Any) -> None:
    """The fault names the property and shows both forms."""
    with pytest.raises(Faulted, match=r"`after` must be a duration such as `{minutes: 5}` or `PT5M`"):
        seconds_of(duration, "after")
