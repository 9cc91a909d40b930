"""Numbers as jq has them: exact while untouched, IEEE doubles once computed.

Three kinds travel through an evaluation. An `int` or a plain `float` is what JSON gave, or a small
computed number whose text is beyond doubt. `Computed` is a computed double that jq writes differently
from an untouched number of the same value (1e-05 and 0.00001), `Spelled` an untouched number whose text
was unusual (1.10). Both leave an evaluation as plain numbers.
"""

from __future__ import annotations

import math
import re
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Final

from tenuto.language.expressions.failures import ExpressionSyntax

EXACT: Final = 2**53
LARGEST: Final = 1.7976931348623157e308
_SMALL: Final = 1e-4
# Numbers come from outside, too: none of them may raise what nobody expects.
_DOUBLE: Final = Context(prec=17, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
# As jq has them: exponents have nine digits, and what is larger is infinite.
_UNTOUCHED: Final = Context(prec=MAX_PREC, Emax=999_999_999, Emin=-999_999_999, traps=[])
_DIGITS: Final = 400
_NUMBER: Final = re.compile(r"([+-]?)((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)", re.ASCII)
_INFINITE: Final = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_NAN: Final = re.compile(r"[+-]?s?nan0*", re.IGNORECASE)


class Computed(float):
    """A computed double outside the range in which its text is that of an untouched number."""


class Spelled(float):
    """An untouched number with its text, as jq would write it."""

    spelling: str

    def __new__(cls, value: float, spelling: str) -> Spelled:
        """Return the number with its text."""
        made = super().__new__(cls, value)
        made.spelling = spelling
        return made


def number(text: str, offset: int) -> int | float:
    """Return the number that an expression spells at `offset`.

    >>> number("12", 0), number("0.5", 0)
    (12, 0.5)
    """
    value = read(text)
    if value is None or len(text) > _DIGITS or not abs(value) <= LARGEST:
        raise ExpressionSyntax("the number is out of the range of a double", offset)
    return value


def read(text: str) -> int | float | None:
    """Return an untouched number from its text, or None if that is no number of jq.

    >>> read("+12"), read("1e2"), read("twelve")
    (12, 100.0, None)
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        if _INFINITE.fullmatch(text):
            return Computed(-math.inf if text[0] == "-" else math.inf)
        return Computed(math.nan) if _NAN.fullmatch(text) else None
    sign, digits = match.groups()
    if digits.isdigit() and len(digits) <= _DIGITS:
        whole = int(digits)
        if sign == "-" and whole == 0:
            return Spelled(-0.0, "-0")
        return -whole if sign == "-" else whole
    exact = _UNTOUCHED.create_decimal(("-" if sign == "-" else "") + digits)
    if exact.is_infinite():
        return Computed(exact)
    spelling = str(exact)
    value = float(_DOUBLE.create_decimal(exact))
    plain = repr(value)
    if plain == spelling or ("e" in plain and str(Decimal(plain)) == spelling):
        return value
    return Spelled(value, spelling)


def double(value: int | float) -> float:
    """Return a number as the double that jq computes with.

    >>> double(2**53 + 1)
    9007199254740992.0
    """
    if type(value) is not int or -EXACT <= value <= EXACT:
        return float(value)
    if abs(value) >= 10**_DIGITS:
        return math.copysign(math.inf, value)
    return float(_DOUBLE.create_decimal(value))


def settle(value: float) -> int | float:
    """Return a computed double in the kind that it needs: a small whole number becomes an `int`.

    >>> settle(3.0), settle(0.5)
    (3, 0.5)
    """
    if -EXACT <= value <= EXACT:
        whole = int(value)
        if whole == value:
            if whole == 0 and math.copysign(1.0, value) < 0:
                return Computed(value)
            return whole
        if value >= _SMALL or value <= -_SMALL:
            return value
    return Computed(value)


def plain(value: int | float) -> int | float | None:
    """Return a number as it leaves an evaluation: NaN is null, infinity the largest double.

    >>> plain(Computed(2.0**60)), plain(Computed(1e17)), plain(Computed(float("nan")))
    (1152921504606847000, 1e+17, None)
    """
    if type(value) is int:
        return value
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        return None
    if not -LARGEST <= value <= LARGEST:
        return LARGEST if value > 0 else -LARGEST
    if type(value) is Computed or type(value) is Spelled:
        text = spell(value)
        return int(text) if text.lstrip("-").isdigit() else float(value)
    return value


def spell(value: int | float) -> str:
    """Return the text of a number, as `tojson` writes it.

    >>> spell(3), spell(0.00001), spell(Computed(0.00001))
    ('3', '0.00001', '1e-05')
    """
    if type(value) is int:
        return str(value) if -EXACT <= value <= EXACT else str(Decimal(value))
    if type(value) is Spelled:
        return value.spelling
    if type(value) is Computed:
        return _spell_double(value)
    text = repr(value)
    return str(Decimal(text)) if "e" in text else text


def _spell_double(value: float) -> str:
    """Return the text of a computed double: the shortest digits, exponents only far out."""
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        return "null"
    bare = min(max(float(value), -LARGEST), LARGEST)
    sign, digits, exponent = Decimal(repr(bare)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + exponent if text != "0" else 1
    minus = "-" if sign else ""
    if point <= -4 or point > len(text) + 15:
        mantissa = text[0] + ("." + text[1:] if len(text) > 1 else "")
        return f"{minus}{mantissa}e{point - 1:+03d}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    if len(text) <= point:
        return minus + text + "0" * (point - len(text))
    return f"{minus}{text[:point]}.{text[point:]}"
