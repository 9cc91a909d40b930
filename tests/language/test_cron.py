"""Cron expressions: which are well-formed, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.language.cron import cron_mistake


@pytest.mark.parametrize(
    "expression",
    [
        "* * * * *",
        "0 0 * * *",
        "*/15 9-17 * * 1-5",
        "0,30 8 1,15 * *",
        "0 6 * JAN-MAR Mon",
        "0 0 * * 7",
        "30 0 0 * * *",
        "0-30/5 * * * *",
        "0 0 29 2 *",
        "0 0 31 2 1",
        "  0  0  *  *  * ",
    ],
)
def test_expressions_that_are_well_formed(expression: str) -> None:
    """Five fields, or six; numbers, names, ranges, steps, lists."""
    assert cron_mistake(expression) is None


@pytest.mark.parametrize(
    ("expression", "mistake"),
    [
        ("", "it has 0 fields"),
        ("0 0 * *", "it has 4 fields"),
        ("0 0 * * * * *", "it has 7 fields"),
        ("60 * * * *", "the minute is 60; it goes from 0 to 59"),
        ("0 24 * * *", "the hour is 24; it goes from 0 to 23"),
        ("0 0 0 * *", "the day of the month is 0; it goes from 1 to 31"),
        ("0 0 * 13 *", "the month is 13; it goes from 1 to 12"),
        ("0 0 * * 8", "the day of the week is 8; it goes from 0 to 7"),
        ("60 0 0 * * *", "the second is 60; it goes from 0 to 59"),
        ("0 0 * JAM *", "`JAM` is no month"),
        ("x * * * *", "`x` is no minute"),
        ("0 9-17-20 * * *", "`9-17-20` is no hour"),
        ("0 17-9 * * *", "the range `17-9` of the hour goes backwards"),
        ("*/0 * * * *", "the step of `*/0` is 0"),
        ("1,,2 * * * *", "`` is no minute"),
        ("0 0 30 2 *", "month 2 has no day 30"),
        ("0 0 31 4 *", "month 4 has no day 31"),
        ("@daily", "it has 1 fields"),
    ],
)
def test_expressions_that_are_not(expression: str, mistake: str) -> None:
    """The field is named, and what it may hold."""
    assert mistake in (cron_mistake(expression) or "")


@given(st.text(st.sampled_from("0123456789*/-, ANJ?#L@x"), max_size=30) | st.text(max_size=30))
def test_any_text_gets_an_answer(text: str) -> None:
    """Nothing makes it fail."""
    mistake = cron_mistake(text)

    assert mistake is None or mistake
