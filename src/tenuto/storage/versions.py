"""Puts version texts in order, as semantic versioning 2.0.0 does."""

from __future__ import annotations

import re
from typing import Any

_SEMVER = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


def precedence(version: str) -> tuple[Any, ...]:
    """Return a sort key; what is no semantic version stands below all that are.

    Versions that differ in build metadata only stand in the order of their texts.

    >>> sorted(["1.10.0", "1.2.0", "1.10.0-rc.2", "1.10.0-rc.10", "draft"], key=precedence)
    ['draft', '1.2.0', '1.10.0-rc.2', '1.10.0-rc.10', '1.10.0']
    """
    match = _SEMVER.fullmatch(version)
    if match is None:
        return (0, version)
    numbers = tuple(_number(part) for part in match.group(1, 2, 3))
    if match[4] is None:
        return (1, numbers, 1, (), version)
    marks = tuple(
        (0, _number(part), "") if part.isdigit() else (1, (0, ""), part) for part in match[4].split(".")
    )
    return (1, numbers, 0, marks, version)


def _number(digits: str) -> tuple[int, str]:
    """Return what sorts as the number does, however many digits it has."""
    plain = digits.lstrip("0")
    return len(plain), plain
