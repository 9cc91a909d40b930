"""`+ - * / %` on all kinds of values, as jq has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from tenuto.language.expressions.failures import SIZE_LIMIT, over
from tenuto.language.expressions.numbers import EXACT, Computed, Spelled, double, settle
from tenuto.language.expressions.values import NUMBERS, Json, Meter, equal, less, wrong, wrong_pair

Operation = Callable[[Json, Json, Meter], Json]

_WIDEST: Final = 2**63


def settled(value: float, meter: Meter) -> int | float:
    """Return a computed number in the kind that it needs, noted on the meter if that is a special one."""
    number = settle(value)
    if type(number) is Computed:
        meter.special = True
    return number


def add(left: Json, right: Json, meter: Meter) -> Json:
    """Return `left + right`: sums, joined strings and arrays, merged objects; null adds nothing."""
    one, other = type(left), type(right)
    if one is int and other is int:
        total = left + right
        if -EXACT <= total <= EXACT and -EXACT <= left <= EXACT and -EXACT <= right <= EXACT:
            return total
    if one is str and other is str:
        meter.spend(1 + (len(left) + len(right) >> 8))
        return left + right
    if left is None:
        return right
    if right is None:
        return left
    if one in NUMBERS and other in NUMBERS:
        return settled(double(left) + double(right), meter)
    if one is other and (one is list or one is dict):
        meter.spend(1 + (len(left) + len(right) >> 8))
        return left + right if one is list else {**left, **right}
    raise wrong_pair(left, right, "cannot be added")


def subtract(left: Json, right: Json, meter: Meter) -> Json:
    """Return `left - right`: a difference, or an array without the items of the other."""
    one, other = type(left), type(right)
    if one in NUMBERS and other in NUMBERS:
        if one is int and other is int:
            total = left - right
            if -EXACT <= total <= EXACT and -EXACT <= left <= EXACT and -EXACT <= right <= EXACT:
                return total
        return settled(double(left) - double(right), meter)
    if one is list and other is list:
        kept = []
        for item in left:
            meter.spend(1 + len(right))
            if not any(equal(item, unwanted, meter) for unwanted in right):
                kept.append(item)
        return kept
    raise wrong_pair(left, right, "cannot be subtracted")


def multiply(left: Json, right: Json, meter: Meter) -> Json:
    """Return `left * right`: a product, a repeated string, or objects merged all the way down."""
    one, other = type(left), type(right)
    if one in NUMBERS and other in NUMBERS:
        if one is int and other is int:
            product = left * right
            if (
                product
                and -EXACT <= product <= EXACT
                and -EXACT <= left <= EXACT
                and -EXACT <= right <= EXACT
            ):
                return product
        return settled(double(left) * double(right), meter)
    if one is str and other in NUMBERS:
        return _repeat(left, double(right), meter)
    if other is str and one in NUMBERS:
        return _repeat(right, double(left), meter)
    if one is dict and other is dict:
        return _merge(left, right, meter)
    raise wrong_pair(left, right, "cannot be multiplied")


def _repeat(text: str, times: float, meter: Meter) -> str | None:
    """Return the string repeated; null for a negative count."""
    if times < 0 or math.isnan(times):
        return None
    count = int(min(times, 2**31))
    if len(text) * count > SIZE_LIMIT:
        raise over("expression-size", f"a string of more than {SIZE_LIMIT} characters")
    meter.spend(1 + (len(text) * count >> 8))
    return text * count


def _merge(left: dict[str, Json], right: dict[str, Json], meter: Meter) -> dict[str, Json]:
    """Return two objects merged; members that are objects on both sides are merged as well."""
    meter.spend(1 + len(right) + (len(left) >> 8))
    merged = dict(left)
    for key, value in right.items():
        old: Json = merged.get(key)
        both = type(old) is dict and type(value) is dict
        merged[key] = _merge(old, value, meter) if both else value
    return merged


def divide(left: Json, right: Json, meter: Meter) -> Json:
    """Return `left / right`: a quotient, or a string split at another."""
    one, other = type(left), type(right)
    if one in NUMBERS and other in NUMBERS:
        divisor = double(right)
        if divisor == 0:
            raise wrong_pair(left, right, "cannot be divided because the divisor is zero")
        dividend = double(left)
        try:
            return settled(dividend / divisor, meter)
        except OverflowError:
            return settled(math.copysign(math.inf, dividend) * math.copysign(1, divisor), meter)
    if one is str and other is str:
        return split(left, right, meter)
    raise wrong_pair(left, right, "cannot be divided")


def split(text: str, separator: str, meter: Meter) -> list[str]:
    """Return the parts of a string between the separators; the empty string has no parts."""
    if not separator:
        meter.spend(1 + len(text))
        return list(text)
    meter.spend(1 + text.count(separator) + (len(text) >> 8))
    return text.split(separator) if text else []


def remainder(left: Json, right: Json, meter: Meter) -> Json:
    """Return `left % right` on whole parts; the sign is that of the left side."""
    if type(left) not in NUMBERS or type(right) not in NUMBERS:
        raise wrong_pair(left, right, "cannot be divided (remainder)")
    dividend, divisor = double(left), double(right)
    if math.isnan(dividend) or math.isnan(divisor):
        return settled(math.nan, meter)
    whole = _whole(divisor)
    if whole == 0:
        raise wrong_pair(left, right, "cannot be divided (remainder) because the divisor is zero")
    rest = abs(_whole(dividend)) % abs(whole)
    return settled(float(-rest if dividend < 0 else rest) + 0.0, meter)


def _whole(value: float) -> int:
    """Return a double cut to a 64-bit whole number."""
    if value < -_WIDEST:
        return -_WIDEST
    return _WIDEST - 1 if value >= _WIDEST else int(value)


def negate(value: Json, meter: Meter) -> Json:
    """Return `-value`; zero has no sign of its own."""
    if type(value) is int:
        return -value
    if type(value) not in NUMBERS:
        raise wrong(value, "cannot be negated")
    if value == 0:
        return value
    return negated(value, meter)


def negated(value: float, meter: Meter) -> Json:
    """Return a number other than zero negated, untouched if it was untouched."""
    if isinstance(value, Computed):
        return settled(-value, meter)
    if type(value) is not Spelled:
        return -value
    spelling = value.spelling
    return Spelled(-float(value), spelling[1:] if spelling[0] == "-" else f"-{spelling}")


def _both_nan(left: Json, right: Json) -> bool:
    """Tell whether both are NaN, which jq holds to be less than itself."""
    return type(left) is Computed and type(right) is Computed and math.isnan(left) and math.isnan(right)


_COMPARISONS: Final[dict[str, Operation]] = {
    "==": equal,
    "!=": lambda left, right, meter: not equal(left, right, meter),
    "<": less,
    ">": lambda left, right, meter: less(right, left, meter) and not _both_nan(left, right),
    "<=": lambda left, right, meter: not less(right, left, meter) or _both_nan(left, right),
    ">=": lambda left, right, meter: not less(left, right, meter),
}

OPERATIONS: Final[dict[str, Operation]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
    **_COMPARISONS,
}
"""The operators that work on two finished values."""
