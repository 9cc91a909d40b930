"""Expected and found, compared as JSON, and their difference as lines for people."""

from __future__ import annotations

from difflib import unified_diff

import msgspec

from tenuto.engine.model import Json


def same(expected: Json, found: Json) -> bool:
    """Tell whether two values are the same JSON: 1 is 1.0, but not true.

    >>> same({"a": 1}, {"a": 1.0}), same(1, True)
    (True, False)
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(expected[name], found[name]) for name in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    return bool(expected == found)


def part_of(expected: Json, found: Json) -> Json:
    """Return what was found as far as something is expected of it: objects without their other members.

    >>> part_of({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}, "d": 4})
    {'a': {'b': 2}}
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        return {name: part_of(expected[name], found[name]) for name in expected if name in found}
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [part_of(one, other) for one, other in zip(expected, found, strict=True)]
    return found


def matches(expected: Json, found: Json) -> bool:
    """Tell whether everything that is expected is there; objects may have further members.

    >>> matches({"a": 1}, {"a": 1, "b": 2}), matches({"a": 1}, {"b": 2})
    (True, False)
    """
    return same(expected, part_of(expected, found))


def difference(expected: Json, found: Json) -> str:
    """Return the difference as lines: `-` is what was expected, `+` what was found."""
    before, after = (
        msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2).decode().splitlines()
        for value in (expected, found)
    )
    lines = unified_diff(before, after, "expected", "found", n=2, lineterm="")
    return "\n".join(line.rstrip() for line in lines)
