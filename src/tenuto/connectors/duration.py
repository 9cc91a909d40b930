"""Durations as the workflow language writes them, in seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tenuto.plugin import configuration_fault

_UNITS: Final = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0, "milliseconds": 0.001}
_LONGEST_SECONDS: Final = 365_250 * 86400.0
"""The longest duration, a thousand years, as in the language itself."""
_ISO: Final = re.compile(
    r"P(?=.)(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def seconds_of(duration: Any, where: str) -> float:
    """Return an object such as `{minutes: 5}` or an ISO 8601 text such as `PT5M` in seconds.

    Raises a `configuration` fault that names `where`. Months and years, whose length varies, are refused.

    >>> seconds_of({"minutes": 1, "seconds": 30}, "after"), seconds_of("PT1M30S", "after")
    (90.0, 90.0)
    """
    if isinstance(duration, Mapping) and duration and duration.keys() <= _UNITS.keys():
        values = list(duration.values())
        if all(
            isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 for value in values
        ):
            # A whole number may be larger than any float.
            total = sum(_UNITS[unit] * min(value, 1e18) for unit, value in duration.items())
            return _bounded(total, where)
    if isinstance(duration, str) and (parts := _ISO.fullmatch(duration.strip())):
        units = {"weeks": 604800.0, **_UNITS}
        total = sum(units[unit] * float(value) for unit, value in parts.groupdict().items() if value)
        return _bounded(total, where)
    raise configuration_fault(
        f"`{where}` must be a duration such as `{{minutes: 5}}` or `PT5M`, not {duration!r}"
    )


def _bounded(seconds: float, where: str) -> float:
    if not seconds <= _LONGEST_SECONDS:
        raise configuration_fault(f"`{where}` must be a duration of at most a thousand years")
    return seconds
