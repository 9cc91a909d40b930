"""Functions of jq on whole arrays and objects: sort, group, unique, entries, flatten, join."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from tenuto.language.expressions.access import index, members
from tenuto.language.expressions.arithmetic import add, subtract
from tenuto.language.expressions.failures import DEPTH_LIMIT, over
from tenuto.language.expressions.numbers import Spelled
from tenuto.language.expressions.scalar import no_key
from tenuto.language.expressions.values import (
    NUMBERS,
    Json,
    Meter,
    Raised,
    kind,
    order_key,
    ordered,
    to_text,
    truthy,
    wrong,
    wrong_pair,
)

Keyed: TypeAlias = Callable[[Json, list[Json], Meter], Json]
"""Given the input and one key for each of its items, the result."""

_UNSORTED: Final = "cannot be sorted, as they are not both arrays"
_UNITERATED: Final = "cannot be iterated over"


def sort(value: Json, meter: Meter) -> Json:
    """`sort`"""
    if type(value) is not list:
        raise wrong(value, "cannot be sorted, as it is not an array")
    return ordered(value, meter)


def _pairs(value: Json, keys: list[Json], meter: Meter) -> list[tuple[tuple[object, ...], Json]]:
    """Return the items with their keys, sorted by key."""
    if type(value) is not list:
        raise wrong_pair(value, keys, _UNSORTED)
    meter.spend(len(value) + (len(value) * len(value).bit_length() >> 3))
    found = [(order_key(key, meter), item) for key, item in zip(keys, value, strict=True)]
    return sorted(found, key=lambda pair: pair[0])


def sort_by(value: Json, keys: list[Json], meter: Meter) -> Json:
    """`sort_by(f)`"""
    return [item for _, item in _pairs(value, keys, meter)]


def group_by(value: Json, keys: list[Json], meter: Meter) -> Json:
    """`group_by(f)`"""
    groups: list[list[Json]] = []
    last: object = None
    for key, item in _pairs(value, keys, meter):
        if groups and key == last:
            groups[-1].append(item)
        else:
            groups.append([item])
        last = key
    return groups


def unique_by(value: Json, keys: list[Json], meter: Meter) -> Json:
    """`unique_by(f)`"""
    return [group[0] for group in group_by(value, keys, meter)]


def unique(value: Json, meter: Meter) -> Json:
    """`unique`"""
    if type(value) is not list:
        raise wrong(value, "cannot be sorted, as it is not an array")
    return unique_by(value, value, meter)


def least(value: Json, keys: list[Json], meter: Meter) -> Json:
    """`min_by(f)`: the first of the least."""
    if type(value) is not list:
        raise wrong_pair(value, keys, _UNITERATED)
    if not value:
        return None
    known = [order_key(key, meter) for key in keys]
    return value[min(range(len(value)), key=known.__getitem__)]


def greatest(value: Json, keys: list[Json], meter: Meter) -> Json:
    """`max_by(f)`: the last of the greatest."""
    if type(value) is not list:
        raise wrong_pair(value, keys, _UNITERATED)
    if not value:
        return None
    known = [order_key(key, meter) for key in keys]
    return value[max(range(len(value)), key=lambda at: (known[at], at))]


def itself(keyed: Keyed) -> Callable[[Json, Meter], Json]:
    """Return `min` from `min_by` and `max` from `max_by`: every item is its own key."""
    return lambda value, meter: keyed(value, value, meter)


def to_entries(value: Json, meter: Meter) -> Json:
    """`to_entries`"""
    return [{"key": key, "value": index(value, key, meter)} for key in keys_unsorted(value, meter)]


def from_entries(value: Json, meter: Meter) -> Json:
    """`from_entries`"""
    made: dict[str, Json] = {}
    for entry in members(value, meter):
        for name in ("key", "Key", "name", "Name"):
            key = index(entry, name, meter)
            if truthy(key):
                break
        else:
            key = index(entry, "Name", meter)
        content = index(entry, "value" if _has_value(entry) else "Value", meter)
        if type(key) is not str:
            raise no_key(key)
        made[key] = content
    return made


def _has_value(entry: Json) -> bool:
    """Tell whether an entry has the member `value`."""
    if entry is None:
        return False
    if type(entry) is not dict:
        raise Raised(f"Cannot check whether {kind(entry)} has a string key")
    return "value" in entry


def keys(value: Json, meter: Meter) -> Json:
    """`keys`"""
    found = keys_unsorted(value, meter)
    return sorted(found) if type(value) is dict else found


def keys_unsorted(value: Json, meter: Meter) -> list[Json]:
    """`keys_unsorted`"""
    if type(value) is dict:
        meter.spend(1 + len(value))
        return list(value)
    if type(value) is list:
        meter.spend(1 + len(value))
        return list(range(len(value)))
    raise wrong(value, "has no keys")


def flatten(value: Json, meter: Meter, levels: int = -1) -> Json:
    """`flatten`, `flatten(levels)`"""
    flat: list[Json] = []
    _flatten(members(value, meter), levels, flat, meter, 0)
    return flat


def _flatten(items: Iterable[Json], levels: int, flat: list[Json], meter: Meter, depth: int) -> None:
    """Append the items to `flat`, arrays among them taken apart."""
    if depth > DEPTH_LIMIT:
        raise over("expression-depth", f"a value nests deeper than {DEPTH_LIMIT} levels")
    for item in items:
        if type(item) is list and levels != 0:
            meter.spend(1 + len(item))
            _flatten(item, levels - 1, flat, meter, depth + 1)
        else:
            flat.append(item)


def join(value: Json, separator: Json, meter: Meter) -> Json:
    """`join(separator)`"""
    items = members(value, meter)
    if type(separator) is str and all(item is None or type(item) in _JOINED for item in items):
        joined = separator.join("" if item is None else to_text(item, meter) for item in items)
        meter.spend(1 + (len(joined) >> 8))
        return joined
    text: Json = None
    for item in items:
        start = "" if text is None else add(text, separator, meter)
        plain = type(item) is bool or type(item) in NUMBERS
        text = add(start, to_text(item, meter) if plain else (item if truthy(item) else ""), meter)
    return text if truthy(text) else ""


_JOINED: Final = (str, bool, *NUMBERS)


def transpose(value: Json, meter: Meter) -> Json:
    """`transpose`: rows become columns, gaps are null."""
    rows = list(members(value, meter))
    lengths = [length(row, meter) for row in rows]
    widest = greatest(lengths, lengths, meter) if lengths else 0
    if type(widest) is not int:
        widest = 0 if widest is None else -int(-widest // 1)
    columns = []
    for at in range(widest):
        meter.spend(1 + len(rows))
        columns.append([index(row, at, meter) for row in rows])
    return columns


def length(value: Json, _meter: Meter) -> Json:
    """`length`"""
    sort_ = type(value)
    if sort_ is str or sort_ is list or sort_ is dict:
        return len(value)
    if value is None:
        return 0
    if sort_ is bool:
        raise wrong(value, "has no length")
    return absolute(value)


def absolute(value: float) -> Json:
    """Return a number without its sign, untouched if it was untouched."""
    if type(value) is int:
        return abs(value)
    if type(value) is Spelled:
        return Spelled(abs(float(value)), value.spelling.lstrip("-"))
    return type(value)(abs(float(value)))


def reverse(value: Json, meter: Meter) -> Json:
    """`reverse`"""
    if type(value) is list:
        meter.spend(1 + (len(value) >> 8))
        return value[::-1]
    size = length(value, meter)
    return index(value, subtract(size, 1, meter), meter) if size > 0 else []
