"""Durations as the language writes them: an object of units, or ISO 8601."""

from __future__ import annotations

import re
from typing import Final

from tenuto.engine.model import Json

_UNITS: Final = {"days": 86_400.0, "hours": 3_600.0, "minutes": 60.0, "seconds": 1.0, "milliseconds": 0.001}
_ISO: Final = re.compile(
    r"P(?!$)(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_ISO_UNITS: Final = {"weeks": 604_800.0, "days": 86_400.0, "hours": 3_600.0, "minutes": 60.0, "seconds": 1.0}

# The longest duration, a thousand years: what is longer is a mistake, and no date.
LONGEST_DURATION_DAYS: Final = 365_250
_LONGER: Final = 10.0**18


def duration_seconds(value: Json) -> float:
    """Return a duration in seconds.

    Years and months have no fixed length and are refused.

    >>> duration_seconds({"minutes": 1, "milliseconds": 500}), duration_seconds("PT1H30M")
    (60.5, 5400.0)

    Raises:
        ValueError: It is neither an object of units nor an ISO 8601 duration, or it is too long.
    """
    if isinstance(value, dict):
        total = 0.0
        for unit, amount in value.items():
            if unit not in _UNITS:
                raise ValueError(f"unknown unit {unit!r}; a duration has {', '.join(_UNITS)}")
            if isinstance(amount, bool) or not isinstance(amount, int | float) or amount < 0:
                raise ValueError(f"{unit} must be a number that is not negative, not {amount!r}")
            # A whole number may be larger than any float.
            total += min(amount, _LONGER) * _UNITS[unit]
        return _bounded(total)
    if isinstance(value, str):
        match = _ISO.fullmatch(value)
        if match and any(match.groups()):
            parts = match.groupdict().items()
            return _bounded(sum(float(part) * _ISO_UNITS[unit] for unit, part in parts if part))
        raise ValueError(f"{value!r} is not an ISO 8601 duration such as PT30S or P1DT2H")
    raise ValueError(f"a duration is an object of units or an ISO 8601 text, not {value!r}")


def _bounded(seconds: float) -> float:
    if not seconds <= LONGEST_DURATION_DAYS * 86_400:
        raise ValueError(f"a duration is at most LONGEST_DURATION_DAYS, {LONGEST_DURATION_DAYS} days")
    return seconds
