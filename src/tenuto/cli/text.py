"""Text in a terminal: how wide it is, and that it does nothing but show."""

from __future__ import annotations

import unicodedata


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Mn"}
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def printable(text: str) -> str:
    """Return text from outside with control characters made visible, so it cannot steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cut(text: str, width: int) -> str:
    """Return a text that takes at most `width` columns, an ellipsis where something is missing."""
    text = printable(text)
    if cells(text) <= width:
        return text
    kept = ""
    for character in text:
        if cells(kept) + cells(character) > width - 1:
            break
        kept += character
    return kept + "…" if width > 0 else ""
