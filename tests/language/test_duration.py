"""Durations: both spellings, exact, and a clear refusal of everything else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.language.duration import duration_seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ({"days": 1, "hours": 1, "minutes": 1, "seconds": 1, "milliseconds": 1}, 90_061.001),
        ({}, 0.0),
        ("PT0S", 0.0),
        ("PT30S", 30.0),
        ("PT1.5S", 1.5),
        ("P1DT2H", 93_600.0),
        ("P2W", 1_209_600.0),
        ("PT90M", 5_400.0),
    ],
)
def test_durations_are_counted_in_seconds(value: object, seconds: float) -> None:
    """An object of units, or ISO 8601."""
    assert duration_seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "P",
        "PT",
        "30",
        "P1Y",
        "P1M",
        "PT-1S",
        "pt1s",
        {"weeks": 1},
        {"hours": "1"},
        {"hours": -1},
        {"hours": True},
        5,
        None,
        [],
        "P99999999999D",
        "P" + "9" * 400 + "D",
        {"days": 10**400},
        {"hours": float("inf")},
        {"hours": float("nan")},
    ],
)
def test_what_is_no_duration_is_refused_with_a_reason(value: object) -> None:
    """Months and years too: their length varies."""
    with pytest.raises(ValueError, match=r"duration|unit|number"):
        duration_seconds(value)


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    """Nothing else can come out."""
    with contextlib.suppress(ValueError):
        assert duration_seconds(text) >= 0.0
