"""Reach into values and change places in them: index, slice, iterate, set and delete by path."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

from tenuto.language.expressions.failures import DEPTH_LIMIT, SIZE_LIMIT, over
from tenuto.language.expressions.numbers import double
from tenuto.language.expressions.values import (
    NUMBERS,
    Json,
    Meter,
    Raised,
    equal,
    kind,
    order_key,
    show,
)

Path: TypeAlias = tuple[Json, ...]


def index(base: Json, key: Json, meter: Meter) -> Json:
    """Return `base[key]`; null for what is not there."""
    sort, by = type(base), type(key)
    if by is str and sort is dict:
        return base.get(key)
    if by in NUMBERS and sort is list:
        if key != key:  # noqa: PLR0124 - NaN is no place
            return None
        at = _clipped(double(key))
        if at < 0:
            at += len(base)
        return base[at] if 0 <= at < len(base) else None
    if base is None and (by is str or by in NUMBERS or by is dict):
        return None
    if by is dict and (sort is list or sort is str):
        return slice_of(base, *ends_of(key), meter)
    if by is list and sort is list:
        return positions(base, key, meter)
    raise Raised(f"Cannot index {kind(base)} with {kind(key)} ({show(key)})")


def field_error(base: Json, name: str) -> Raised:
    """Return the error of `.name` on a value that has no members."""
    return Raised(f"Cannot index {kind(base)} with string ({show(name)})")


def _clipped(value: float) -> int:
    """Return a double cut to a 32-bit whole number, as jq's array indexes are."""
    return int(min(max(value, -(2.0**31)), 2.0**31 - 1))


def ends_of(key: dict[str, Json]) -> tuple[Json, Json]:
    """Return the ends of a slice that is given as an object."""
    if "start" not in key or "end" not in key:
        raise Raised("Array/string slice indices must be integers")
    return key["start"], key["end"]


def bounds(length: int, low: Json, high: Json) -> tuple[int, int]:
    """Return the bounds of a slice in a value of this length; the start rounds down, the end up."""
    for bound in (low, high):
        if bound is not None and type(bound) not in NUMBERS:
            raise Raised("Array/string slice indices must be integers")
    start = 0.0 if low is None else double(low)
    start = 0.0 if math.isnan(start) else start
    start = min(max(start + length if start < 0 else start, 0.0), float(length))
    first = int(start)
    end = float(length) if high is None else double(high)
    end = float(length) if math.isnan(end) else end
    end = end + length if end < 0 else end
    end = float(first) if end < 0 else end
    last = length if end > length else math.ceil(end)
    return first, max(min(last, length), first)


def slice_of(base: Json, low: Json, high: Json, meter: Meter) -> Json:
    """Return `base[low:high]` of an array or a string; null has only null slices."""
    if type(base) is not list and type(base) is not str:
        if base is None:
            return None
        key = {"start": low, "end": high}
        raise Raised(f"Cannot index {kind(base)} with object ({show(key)})")
    first, last = bounds(len(base), low, high)
    meter.spend(1 + (last - first >> 8))
    return base[first:last]


def positions(items: list[Json], wanted: list[Json], meter: Meter) -> list[int]:
    """Return where the items of `wanted` stand one after the other in `items`."""
    if not wanted:
        return []
    found = []
    for at in range(len(items) - len(wanted) + 1):
        meter.spend(1)
        if all(equal(items[at + offset], item, meter) for offset, item in enumerate(wanted)):
            found.append(at)
    return found


def members(value: Json, meter: Meter) -> Iterable[Json]:
    """Return the items of an array or the values of an object."""
    if type(value) is list:
        meter.spend(1 + len(value))
        return value
    if type(value) is dict:
        meter.spend(1 + len(value))
        return value.values()
    raise Raised(f"Cannot iterate over {kind(value)} ({show(value)})")


def places(value: Json, meter: Meter) -> Iterable[tuple[Json, Json]]:
    """Return the keys and values of an array or an object."""
    items = members(value, meter)
    return value.items() if type(value) is dict else enumerate(items)


def has(value: Json, key: Json) -> bool:
    """Tell whether an object has the member, or an array the place."""
    if value is None:
        return False
    if type(value) is dict and type(key) is str:
        return key in value
    if type(value) is list and type(key) in NUMBERS:
        return not math.isnan(key) and 0 <= _clipped(double(key)) < len(value) and key > -1
    raise Raised(f"Cannot check whether {kind(value)} has a {kind(key)} key")


def get_path(value: Json, path: Json, meter: Meter) -> Json:
    """Return what stands at a path, an array of keys."""
    if type(path) is not list:
        raise Raised("Path must be specified as an array")
    meter.spend(1 + len(path))
    for key in path:
        value = index(value, key, meter)
    return value


# ── changing ─────────────────────────────────────────────────────────────────────────────


class Editor:
    """Changes places in a value; each container is copied at most once, the first time it changes."""

    def __init__(self, value: Json, meter: Meter) -> None:
        self.value = value
        self.meter = meter
        self._own: dict[int, Any] = {}

    def release(self, value: Json, path: Path) -> None:
        """Forget that containers at and below `path` are ours, as a value there was given away."""
        if id(value) not in self._own:
            return
        kept: dict[int, Any] = {}
        walked = self.value
        for key in path:
            if id(walked) in self._own:
                kept[id(walked)] = walked
            walked = index(walked, key, self.meter)
        self._own = kept

    def set(self, path: Path, value: Json) -> None:
        """Put a value at a path; missing containers on the way are made."""
        if len(path) > DEPTH_LIMIT:
            raise over("expression-depth", f"a path of more than {DEPTH_LIMIT} steps")
        self.value = self._set(self.value, path, 0, value)

    def _set(self, base: Json, path: Path, at: int, value: Json) -> Json:
        """Return the container with the value put at the rest of the path."""
        if at == len(path):
            return value
        key = path[at]
        found = index(base, key, self.meter)
        if at + 1 < len(path) and type(key) is not dict:
            base = self._put(base, key, None)  # as jq does, whose error comes from here
        return self._put(base, key, self._set(found, path, at + 1, value))

    def _put(self, base: Json, key: Json, value: Json) -> Json:
        """Return the container with one place changed."""
        sort, by = type(base), type(key)
        if by is str and (sort is dict or base is None):
            mine = self._mine({} if base is None else base)
            mine[key] = value
            return mine
        if by in NUMBERS and (sort is list or base is None):
            return self._put_item([] if base is None else base, key, value)
        if by is dict and (sort is list or base is None):
            start = [] if base is None else base
            first, last = bounds(len(start), *ends_of(key))
            if type(value) is not list:
                raise Raised("A slice of an array can only be assigned another array")
            mine = self._mine(start)
            self.meter.spend(1 + len(mine) + len(value))
            mine[first:last] = value
            return mine
        if by is dict and sort is str:
            raise Raised("Cannot update string slices")
        raise Raised(f"Cannot update field at {kind(key)} index of {kind(base)}")

    def _put_item(self, base: list[Json], key: float, value: Json) -> list[Json]:
        """Return the array with one item changed; the gap before it is filled with null."""
        if key != key:  # noqa: PLR0124 - NaN is no place
            raise Raised("Cannot set array element at NaN index")
        at = _clipped(double(key))
        if at < 0:
            at += len(base)
            if at < 0:
                raise Raised("Out of bounds negative array index")
        if at >= SIZE_LIMIT and at >= len(base):
            raise over("expression-size", f"an array of more than {SIZE_LIMIT} items")
        mine: list[Json] = self._mine(base)
        if at >= len(mine):
            self.meter.spend(1 + at - len(mine))
            mine.extend([None] * (at + 1 - len(mine)))
        mine[at] = value
        return mine

    def _mine(self, container: Json) -> Json:
        """Return the container if it is ours already, else a copy that is."""
        if id(container) in self._own:
            return container
        self.meter.spend(1 + (len(container) >> 6))
        copy = container.copy()
        self._own[id(copy)] = copy
        return copy


def delete_paths(value: Json, paths: Json, meter: Meter) -> Json:
    """Return the value without what stands at the paths."""
    if type(paths) is not list:
        raise Raised("Paths must be specified as an array")
    for path in paths:
        if type(path) is not list:
            raise Raised(f"Path must be specified as array, not {kind(path)}")
        if len(path) > DEPTH_LIMIT:
            raise over("expression-depth", f"a path of more than {DEPTH_LIMIT} steps")
    if not paths:
        return value
    meter.spend(len(paths))
    in_order = sorted(paths, key=lambda path: order_key(path, meter))
    return None if not in_order[0] else _delete_sorted(value, in_order, 0, meter)


def _delete_sorted(value: Json, paths: list[list[Json]], depth: int, meter: Meter) -> Json:
    """Delete paths that are sorted and equal up to `depth`."""
    doomed: list[Json] = []
    at = 0
    while at < len(paths):
        meter.spend(1)
        key = paths[at][depth]
        end = at + 1
        while end < len(paths) and equal(key, paths[end][depth], meter):
            end += 1
        if len(paths[at]) == depth + 1:
            doomed.append(key)
        else:
            inner = index(value, key, meter)
            if inner is not None:
                editor = Editor(value, meter)
                editor.set((key,), _delete_sorted(inner, paths[at:end], depth + 1, meter))
                value = editor.value
        at = end
    return _delete_keys(value, doomed, meter)


def _delete_keys(value: Json, keys: list[Json], meter: Meter) -> Json:
    """Return an array or an object without some of its places."""
    if value is None or not keys:
        return value
    meter.spend(1 + len(value) if type(value) in (list, dict) else 1)
    if type(value) is dict:
        for key in keys:
            if type(key) is not str:
                raise Raised(f"Cannot delete {kind(key)} field of object")
        unwanted = set(keys)
        return {key: item for key, item in value.items() if key not in unwanted}
    if type(value) is not list:
        raise Raised(f"Cannot delete fields from {kind(value)}")
    doomed: set[int] = set()
    for key in keys:
        if type(key) is dict:
            doomed.update(range(*bounds(len(value), *ends_of(key))))
        elif type(key) not in NUMBERS:
            raise Raised(f"Cannot delete {kind(key)} element of array")
        elif not math.isnan(key):
            at = _clipped(double(key))
            doomed.add(at + len(value) if key < 0 else at)
    return [item for at, item in enumerate(value) if at not in doomed]
