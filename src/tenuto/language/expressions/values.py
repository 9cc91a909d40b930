"""What jq does with values: kinds, order, equality, text; every walk is counted and bounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any, Final, TypeAlias

from tenuto.language.expressions.failures import DEPTH_LIMIT, RESULT_LIMIT, STEP_LIMIT, over
from tenuto.language.expressions.numbers import Computed, Spelled, double, plain, spell

Json: TypeAlias = Any
NUMBERS: Final = (int, float, Computed, Spelled)
_KINDS: Final[dict[type, str]] = {
    type(None): "null", bool: "boolean", int: "number", float: "number", Computed: "number",
    Spelled: "number", str: "string", list: "array", dict: "object",
}  # fmt: skip
_RANKS: Final[dict[type, int]] = {
    type(None): 0, bool: 1, int: 3, float: 3, Computed: 3, Spelled: 3, str: 4, list: 5, dict: 6,
}  # fmt: skip
_SHOWN: Final = 29
VALUE_SIZE: Final = 8
"""How many characters each value counts for in `expression-result`, besides its text."""


class Raised(Exception):
    """An error of jq on its way to the nearest `try`; `value` is what `catch` sees."""

    def __init__(self, value: Json) -> None:
        super().__init__(value)
        self.value = value


class Meter:
    """How much work one evaluation has left.

    `special` is set once a number exists that must not leave the evaluation as it is.
    """

    __slots__ = ("special", "steps")

    def __init__(self) -> None:
        self.steps = STEP_LIMIT
        self.special = False

    def spend(self, steps: int) -> None:
        """Count work; past the limit the evaluation fails."""
        self.steps -= steps
        if self.steps < 0:
            raise over("expression-steps", f"more than {STEP_LIMIT} steps")


class Frame:
    """What a part of an expression has at hand: the variables in its scope, the time, the meter."""

    __slots__ = ("meter", "now", "variables")

    def __init__(self, variables: Mapping[str, Json], now: float, meter: Meter) -> None:
        self.variables = variables
        self.now = now
        self.meter = meter

    def bind(self, names: Mapping[str, Json]) -> Frame:
        """Return the frame of a part in which more variables are known."""
        return Frame({**self.variables, **names}, self.now, self.meter)


def kind(value: Json) -> str:
    """Return the jq type of a value.

    >>> kind(None), kind(1.5), kind([])
    ('null', 'number', 'array')
    """
    return _KINDS[type(value)]


def truthy(value: Json) -> bool:
    """Tell whether a condition holds: everything but null and false does."""
    return value is not None and value is not False


# ── errors ───────────────────────────────────────────────────────────────────────────────


def show(value: Json) -> str:
    """Return a value's JSON for an error message, cut as jq cuts it.

    >>> show("a" * 40)
    '"aaaaaaaaaaaaaaaaaaaaaaaa..."'
    """
    pieces: list[str] = []
    length = 0
    for piece in _pieces(value, 0):
        pieces.append(piece[:64])
        length += len(piece)
        if length > _SHOWN:
            break
    text = "".join(pieces).encode()
    if len(text) <= _SHOWN:
        return text.decode()
    closing = {34: '"', 91: "]", 123: "}"}.get(text[0], "")
    return text[: _SHOWN - 3 - len(closing)].decode(errors="ignore") + "..." + closing


def wrong(value: Json, what: str) -> Raised:
    """Return jq's error about one value."""
    return Raised(f"{kind(value)} ({show(value)}) {what}")


def wrong_pair(left: Json, right: Json, what: str) -> Raised:
    """Return jq's error about two values."""
    return Raised(f"{kind(left)} ({show(left)}) and {kind(right)} ({show(right)}) {what}")


# ── text ─────────────────────────────────────────────────────────────────────────────────


def _pieces(value: Json, depth: int) -> Iterable[str]:
    """Yield the JSON text of a value piece by piece."""
    if depth > DEPTH_LIMIT:
        raise over("expression-depth", f"a value nests deeper than {DEPTH_LIMIT} levels")
    if isinstance(value, str):
        yield quote(value)
    elif value is None:
        yield "null"
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, list):
        separator = "["
        for item in value:
            yield separator
            yield from _pieces(item, depth + 1)
            separator = ","
        yield "]" if value else "[]"
    elif isinstance(value, dict):
        separator = "{"
        for key, item in value.items():
            yield f"{separator}{quote(key)}:"
            yield from _pieces(item, depth + 1)
            separator = ","
        yield "}" if value else "{}"
    else:
        yield spell(value)


def quote(text: str) -> str:
    """Return a string as JSON, as jq writes it: everything but controls as it is."""
    quoted: str = encode_basestring(text)
    return quoted.replace("\x7f", "\\u007f") if "\x7f" in quoted else quoted


def dump(value: Json, meter: Meter) -> str:
    """Return a value as compact JSON (`tojson`)."""
    if type(value) is str:
        meter.spend(1 + (len(value) >> 8))
        return quote(value)
    if type(value) not in (list, dict):
        return "".join(_pieces(value, 0))
    pieces: list[str] = []
    size = 0
    for piece in _pieces(value, 0):
        size += len(piece)
        meter.spend(1 + (len(piece) >> 8))
        pieces.append(piece)
    if size > RESULT_LIMIT:
        raise over("expression-result", f"a text of more than {RESULT_LIMIT} characters")
    return "".join(pieces)


def to_text(value: Json, meter: Meter) -> str:
    """Return a string as it is and anything else as JSON (`tostring`)."""
    return value if type(value) is str else dump(value, meter)


# ── order ────────────────────────────────────────────────────────────────────────────────


def order_key(value: Json, meter: Meter, depth: int = 0) -> tuple[Any, ...]:
    """Return a key that sorts values as jq does: null, false, true, numbers, strings, arrays, objects."""
    meter.spend(1)
    rank = _RANKS[type(value)]
    if rank == 3:
        if value != value:  # noqa: PLR0124 - NaN sorts below every number
            return (3, 0)
        return (3, 1, float(value) if type(value) is Computed else value)
    if rank == 4:
        return (4, value)
    if rank < 2:
        return (2, 0) if value is True else (rank, 0)
    if depth > DEPTH_LIMIT:
        raise over("expression-depth", f"a value nests deeper than {DEPTH_LIMIT} levels")
    if rank == 5:
        return (5, tuple(order_key(item, meter, depth + 1) for item in value))
    keys = sorted(value)
    return (6, tuple(keys), tuple(order_key(value[key], meter, depth + 1) for key in keys))


def equal(left: Json, right: Json, meter: Meter, depth: int = 0) -> bool:
    """Tell whether two values are equal, 1 and 1.0 included."""
    one, other = type(left), type(right)
    if one is other:
        if one is str or one is int or one is bool or left is None:
            return bool(left == right)
        if one is list:
            if len(left) != len(right):
                return False
            _deeper(meter, depth, len(left))
            return left is right or all(
                equal(item, right[at], meter, depth + 1) for at, item in enumerate(left)
            )
        if one is dict:
            if len(left) != len(right):
                return False
            _deeper(meter, depth, len(left))
            return left is right or all(
                key in right and equal(item, right[key], meter, depth + 1) for key, item in left.items()
            )
    if _RANKS[one] != 3 or _RANKS[other] != 3:
        return False
    if one is Computed or other is Computed:
        return double(left) == double(right)
    return bool(left == right)


def _deeper(meter: Meter, depth: int, items: int) -> None:
    """Count a step down into a value."""
    meter.spend(1 + items)
    if depth > DEPTH_LIMIT:
        raise over("expression-depth", f"a value nests deeper than {DEPTH_LIMIT} levels")


def less(left: Json, right: Json, meter: Meter) -> bool:
    """Tell whether the left value sorts before the right one."""
    one, other = type(left), type(right)
    if one is other and (one is str or one is int):
        return bool(left < right)
    if one in NUMBERS and other in NUMBERS:
        if left != left:  # noqa: PLR0124 - NaN is less than every number, itself included
            return True
        if one is Computed or other is Computed:
            return double(left) < double(right)
        return bool(left < right)
    return order_key(left, meter) < order_key(right, meter)


def ordered(values: list[Json], meter: Meter) -> list[Json]:
    """Return the values sorted."""
    meter.spend(len(values) + (len(values) * len(values).bit_length() >> 3))
    kinds = set(map(type, values))
    if kinds <= {str} or kinds <= {int, float}:
        return sorted(values)
    return sorted(values, key=lambda value: order_key(value, meter))


def contains(outer: Json, inner: Json, meter: Meter, depth: int = 0) -> bool:
    """Tell whether `inner` is contained in `outer`, as jq's `contains` has it."""
    if _RANKS[type(outer)] != _RANKS[type(inner)] or (type(outer) is bool and outer is not inner):
        return False
    if type(outer) is dict:
        _deeper(meter, depth, len(inner))
        return all(
            key in outer and contains(outer[key], item, meter, depth + 1) for key, item in inner.items()
        )
    if type(outer) is list:
        _deeper(meter, depth, len(inner))
        for item in inner:
            meter.spend(1 + len(outer))
            if not any(contains(candidate, item, meter, depth + 1) for candidate in outer):
                return False
        return True
    if type(outer) is str:
        meter.spend(1 + (len(outer) >> 8))
        return inner in outer
    return equal(outer, inner, meter)


# ── leaving ──────────────────────────────────────────────────────────────────────────────


def leave(value: Json, special: bool) -> Json:
    """Return a built value as plain JSON values, after checking its depth and its size.

    Parts that need no change are shared with the value given.
    """
    left = [RESULT_LIMIT]
    return _leave(value, special, left, 0)


def _leave(value: Json, special: bool, left: list[int], depth: int) -> Json:
    """Walk the value; `left` holds how many characters it may still have."""
    sort = type(value)
    left[0] -= VALUE_SIZE
    if sort is str:
        left[0] -= len(value)
    elif sort is list or sort is dict:
        if depth > DEPTH_LIMIT:
            raise over("expression-depth", f"the result nests deeper than {DEPTH_LIMIT} levels")
        if left[0] < 0:
            raise over("expression-result", f"a result of more than {RESULT_LIMIT} characters")
        if sort is list:
            items = [_leave(item, special, left, depth + 1) for item in value]
            return items if special else value
        members = {}
        for key, item in value.items():
            left[0] -= len(key) + 4
            members[key] = _leave(item, special, left, depth + 1)
        return members if special else value
    elif sort is Computed or sort is Spelled:
        return plain(value)
    if left[0] < 0:
        raise over("expression-result", f"a result of more than {RESULT_LIMIT} characters")
    return value
