"""The syntax of cron expressions: five fields, or six with seconds first."""

from __future__ import annotations

import re
from typing import Final

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SECOND: Final[tuple[str, int, int, dict[str, int]]] = ("second", 0, 59, {})
_FIELDS: Final[tuple[tuple[str, int, int, dict[str, int]], ...]] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
_PART: Final = re.compile(r"(?:\*|([0-9A-Za-z]+)(?:-([0-9A-Za-z]+))?)(?:/([0-9]{1,4}))?")
_LONGEST_DAY: Final = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def cron_mistake(expression: str) -> str | None:
    """Return what is wrong with a cron expression, or None.

    Fields hold `*`, numbers, ranges (`1-5`), steps (`*/15`) and lists of those; months and
    days of the week may be named.

    >>> cron_mistake("0 0 * * *"), cron_mistake("0 25 * * *")
    (None, 'the hour is 25; it goes from 0 to 23')
    """
    texts = expression.split()
    if len(texts) not in (5, 6):
        fields_wanted = "five are needed (minute hour day month weekday), or six with seconds first"
        return f"it has {len(texts)} fields; {fields_wanted}"
    fields = _FIELDS if len(texts) == 5 else (_SECOND, *_FIELDS)
    for text, (name, low, high, names) in zip(texts, fields, strict=True):
        for part in text.split(","):
            mistake = _part_mistake(part, name, low, high, names)
            if mistake is not None:
                return mistake
    return _date_mistake(texts[-3], texts[-2], texts[-1])


def _part_mistake(part: str, name: str, low: int, high: int, names: dict[str, int]) -> str | None:
    match = _PART.fullmatch(part)
    if match is None:
        return f"`{part}` is no {name}"
    numbers = []
    for text in match.group(1, 2):
        if text is None:
            continue
        number = int(text) if text.isdecimal() and len(text) < 5 else names.get(text.upper())
        if number is None:
            return f"`{text}` is no {name}"
        if not low <= number <= high:
            return f"the {name} is {number}; it goes from {low} to {high}"
        numbers.append(number)
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        return f"the range `{part}` of the {name} goes backwards"
    if match[3] is not None and int(match[3]) == 0:
        return f"the step of `{part}` is 0"
    return None


def _date_mistake(day: str, month: str, weekday: str) -> str | None:
    """Return a mistake for days that no month has, as in `0 0 30 2 *`."""
    if (
        weekday == "*"
        and day.isdecimal()
        and month.isdecimal()
        and int(day) > _LONGEST_DAY.get(int(month), 31)
    ):
        return f"month {int(month)} has no day {int(day)}"
    return None
