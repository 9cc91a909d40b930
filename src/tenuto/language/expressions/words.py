"""Functions of jq on strings and single values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from tenuto.language.expressions.access import index as index_of
from tenuto.language.expressions.access import positions, slice_of
from tenuto.language.expressions.arithmetic import negate, settled, split
from tenuto.language.expressions.numbers import Computed, double, read
from tenuto.language.expressions.values import NUMBERS, Json, Meter, Raised, less, wrong, wrong_pair
from tenuto.language.expressions.values import contains as holds

_SPACE: Final = "".join(
    map(
        chr,
        (
            *range(9, 14),
            32,
            0x85,
            0xA0,
            0x1680,
            *range(0x2000, 0x200B),
            0x2028,
            0x2029,
            0x202F,
            0x205F,
            0x3000,
        ),
    )
)
_UPPER: Final = {code: code + 32 for code in range(65, 91)}
_LOWER: Final = {code: code - 32 for code in range(97, 123)}


def starts(value: Json, prefix: Json) -> bool:
    """`startswith(prefix)`"""
    if type(value) is not str or type(prefix) is not str:
        raise Raised("startswith() requires string inputs")
    return value.startswith(prefix)


def ends(value: Json, suffix: Json) -> bool:
    """`endswith(suffix)`"""
    if type(value) is not str or type(suffix) is not str:
        raise Raised("endswith() requires string inputs")
    return value.endswith(suffix)


def without_prefix(value: Json, prefix: Json) -> Json:
    """`ltrimstr(prefix)`"""
    return value[len(prefix) :] if starts(value, prefix) else value


def without_suffix(value: Json, suffix: Json) -> Json:
    """`rtrimstr(suffix)`"""
    return value[: len(value) - len(suffix)] if ends(value, suffix) else value


def trimmer(left: bool, right: bool) -> Callable[[Json, Meter], Json]:
    """Return `trim`, `ltrim` or `rtrim`."""

    def trim(value: Json, meter: Meter) -> Json:
        if type(value) is not str:
            raise Raised("trim input must be a string")
        meter.spend(1 + (len(value) >> 8))
        if left:
            value = value.lstrip(_SPACE)
        return value.rstrip(_SPACE) if right else value

    return trim


def split_at(value: Json, separator: Json, meter: Meter) -> Json:
    """`split(separator)`"""
    if type(value) is not str or type(separator) is not str:
        raise Raised("split input and separator must be strings")
    return split(value, separator, meter)


def explode(value: Json, meter: Meter) -> Json:
    """`explode`"""
    if type(value) is not str:
        raise Raised("explode input must be a string")
    meter.spend(1 + len(value))
    return list(map(ord, value))


def implode(value: Json, meter: Meter) -> Json:
    """`implode`"""
    if type(value) is not list:
        raise Raised("implode input must be an array")
    meter.spend(1 + len(value))
    characters = []
    for item in value:
        if type(item) not in NUMBERS or math.isnan(item):
            raise wrong(item, "can't be imploded, unicode codepoint needs to be numeric")
        code = int(min(max(item, -1), 0x110000))
        inside = 0 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF and item > -1
        characters.append(chr(code) if inside else "�")
    return "".join(characters)


def change_case(table: dict[int, int]) -> Callable[[Json, Meter], Json]:
    """Return `ascii_downcase` or `ascii_upcase`."""

    def change(value: Json, meter: Meter) -> Json:
        if type(value) is not str:
            raise Raised("explode input must be a string")
        meter.spend(1 + (len(value) >> 4))
        return value.translate(table)

    return change


down = change_case(_UPPER)
up = change_case(_LOWER)


def byte_length(value: Json, meter: Meter) -> Json:
    """`utf8bytelength`"""
    if type(value) is not str:
        raise wrong(value, "only strings have UTF-8 byte length")
    meter.spend(1 + (len(value) >> 8))
    return len(value.encode())


def indices(value: Json, wanted: Json, meter: Meter) -> Json:
    """`indices(wanted)`"""
    if type(value) is list:
        return positions(value, wanted if type(wanted) is list else [wanted], meter)
    if type(value) is not str or type(wanted) is not str:
        return index_of(value, wanted, meter)
    found: list[int] = []
    at = value.find(wanted) if wanted else -1
    while at >= 0:
        meter.spend(1)
        found.append(at)
        at = value.find(wanted, at + 1)
    meter.spend(1 + (len(value) >> 8))
    return found


def first_index(value: Json, wanted: Json, meter: Meter) -> Json:
    """`index(wanted)`"""
    return index_of(indices(value, wanted, meter), 0, meter)


def last_index(value: Json, wanted: Json, meter: Meter) -> Json:
    """`rindex(wanted)`"""
    return index_of(slice_of(indices(value, wanted, meter), -1, None, meter), 0, meter)


def contained(value: Json, inner: Json, meter: Meter) -> bool:
    """`contains(inner)`"""
    same = type(value) is type(inner) or (type(value) in NUMBERS and type(inner) in NUMBERS)
    if not same or (type(value) is bool and value is not inner):
        raise wrong_pair(value, inner, "cannot have their containment checked")
    return holds(value, inner, meter)


# ── single values ────────────────────────────────────────────────────────────────────────


def to_number(value: Json, meter: Meter) -> Json:
    """`tonumber`"""
    if type(value) in NUMBERS:
        return value
    number = read(value) if type(value) is str and len(value) <= 1024 else None
    if number is None:
        raise wrong(value, "cannot be parsed as a number")
    meter.special = True
    return number


def to_boolean(value: Json, _meter: Meter) -> Json:
    """`toboolean`"""
    if type(value) is bool:
        return value
    if type(value) is str and value in ("true", "false"):
        return value == "true"
    raise wrong(value, "cannot be parsed as a boolean")


def absolute(value: Json, meter: Meter) -> Json:
    """`abs`"""
    return negate(value, meter) if less(value, 0, meter) else value


def mathematical(function: Callable[[float], float]) -> Callable[[Json, Meter], Json]:
    """Return a function of the C library on one number."""

    def apply(value: Json, meter: Meter) -> Json:
        if type(value) not in NUMBERS:
            raise wrong(value, "number required")
        return settled(function(double(value)), meter)

    return apply


def floor(value: float) -> float:
    """Return the number rounded down; infinity and NaN stay."""
    return math.copysign(float(math.floor(value)), value) if math.isfinite(value) else value


def ceil(value: float) -> float:
    """Return the number rounded up; -0.5 becomes -0."""
    return math.copysign(float(math.ceil(value)), value) if math.isfinite(value) else value


def truncate(value: float) -> float:
    """Return the number rounded towards zero."""
    return math.copysign(float(math.trunc(value)), value) if math.isfinite(value) else value


def half_up(value: float) -> float:
    """Return the number rounded, halves away from zero."""
    if not math.isfinite(value) or abs(value) >= 2**52:
        return value
    down = math.floor(abs(value))
    return math.copysign(float(down + (abs(value) - down >= 0.5)), value)


def square_root(value: float) -> float:
    """Return the square root; NaN below zero."""
    return math.sqrt(value) if value >= 0 else math.nan


def power(base: Json, exponent: Json, meter: Meter) -> Json:
    """`pow(base; exponent)`"""
    for value in (base, exponent):
        if type(value) not in NUMBERS:
            raise wrong(value, "number required")
    one, other = double(base), double(exponent)
    try:
        result = math.pow(one, other)
    except OverflowError:
        result = -math.inf if one < 0 and other % 2 == 1 else math.inf
    except ValueError:
        odd_zero = one == 0 and other % 2 == 1 and math.copysign(1.0, one) < 0
        result = (-math.inf if odd_zero else math.inf) if one == 0 else math.nan
    return settled(result, meter)


def normal(value: Json) -> bool:
    """`isnormal`"""
    return type(value) in NUMBERS and math.isfinite(value) and abs(value) >= 2.2250738585072014e-308


def infinite(value: Json) -> bool:
    """`isinfinite`"""
    return type(value) in NUMBERS and math.isinf(double(value))


def not_a_number(value: Json) -> bool:
    """`isnan`"""
    return type(value) is Computed and math.isnan(value)


# ── time ─────────────────────────────────────────────────────────────────────────────────

_FIELDS: Final = 6
_EARLIEST: Final = -67768040609740800  # years that fit in 32 bits, as the C library counts them
_LATEST: Final = 67768036191676799


def to_date(value: Json, _meter: Meter) -> Json:
    """`todate`: seconds since the epoch, or the parts of a time, as ISO 8601 in UTC."""
    if type(value) in NUMBERS:
        seconds = double(value)
        if not _EARLIEST <= seconds <= _LATEST:
            raise Raised("error converting number of seconds since epoch to datetime")
        return _iso(int(seconds))
    if type(value) is not list:
        raise Raised("strftime/1 requires parsed datetime inputs")
    if any(type(item) not in NUMBERS or math.isnan(item) for item in value[:8]):
        raise Raised("strftime/1 requires parsed datetime inputs")
    year, month, day, hour, minute, second = (
        [int(min(max(item, -(2.0**31)), 2.0**31 - 1)) for item in value[:_FIELDS]] + [0] * _FIELDS
    )[:_FIELDS]
    if not value:
        year = 1900
    days = _days(year + month // 12, month % 12 + 1) + day - 1
    return _iso(((days * 24 + hour) * 60 + minute) * 60 + second)


def _days(year: int, month: int) -> int:
    """Return the days from 1970-01-01 to the first of a month, in the Gregorian calendar."""
    shifted = year - (month <= 2)
    era, of_era = divmod(shifted, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def _iso(seconds: int) -> str:
    """Return a time in ISO 8601."""
    days, rest = divmod(seconds, 86400)
    era, of_era = divmod(days + 719468, 146097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = era * 400 + year_of_era + (month <= 2)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{year}-{month:02d}-{day:02d}T{clock}Z"
