"""Numbers in texts from outside: only ASCII digits, and never so many that reading them takes long."""

from __future__ import annotations

from typing import Final

PORT_MAX: Final = 65_535
_DIGITS_MAX: Final = 18


def whole_number(text: str, most: int) -> int | None:
    """Return the number that a text spells in decimal digits; None if it is no number from 0 to `most`.

    >>> whole_number("42", 99), whole_number("100", 99), whole_number("-1", 99), whole_number("²", 99)
    (42, None, None, None)
    """
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS_MAX:
        return None
    number = int(text)
    return number if number <= most else None


def port_number(text: str) -> int | None:
    """Return the TCP port that a text spells; None if it is none: of 65536 the resolver would make 0."""
    return whole_number(text, PORT_MAX) or None
