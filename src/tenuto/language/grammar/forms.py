"""Text of a certain form, durations and cron expressions: the leaves of the grammar."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from tenuto.engine.model import Json
from tenuto.language.cron import cron_mistake
from tenuto.language.duration import duration_seconds
from tenuto.language.grammar.shapes import (
    Enumeration,
    Fields,
    Form,
    Formula,
    Free,
    Kind,
    Map,
    Text,
    Whole,
    Word,
)
from tenuto.language.grammar.walk import At, Walk, label, shown

_SEMVER: Final = (
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
VERSION: Final = Form(
    "a semantic version such as `1.0.0`", re.compile(_SEMVER), "bad-version", "Write all three numbers."
)
NAME: Final = Form(
    "a name of 1 to 63 letters, digits and hyphens, which neither begins nor ends with a hyphen",
    re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"),
    "bad-name",
    "Replace spaces, dots and underscores by hyphens.",
)
HOST: Final = Form(
    "a host name",
    re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-.]{0,61}[a-zA-Z0-9])?"),
    "bad-name",
    "Leave the port out.",
)
VARIABLE: Final = Form(
    "a variable name: letters, digits and underscores, not beginning with a digit",
    re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*"),
    "bad-name",
    "Leave the `$` out: `item` is read as `$item`.",
)
NOT_EMPTY: Final = Form("a name", re.compile(r".+", re.DOTALL), "empty-value")
URI: Final = Form(
    "a URI, a URI template or an expression",
    re.compile(r"(?!\s*\$\{)(?=\S)(([^:/?#]+):)?(//([^/?#\s]*))?([^?#\s]*)(\?([^#\s]*))?(#(\S*))?"),
    "bad-uri",
    "A URI has no spaces.",
)
TIME: Final = Form(
    "a time such as `2026-01-31T12:00:00Z`, or an expression",
    re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII),
    "bad-time",
    "Give date, time and offset.",
)
POINTER: Final = Form(
    "a JSON pointer such as `/do/0/task`, or an expression",
    re.compile(r"(/([^~/]|~[01])*)*", re.DOTALL),
    "bad-pointer",
    "Begin it with `/`.",
)
ISO_DURATION: Final = Form(
    "a duration (`PT30S`, `seconds: 30` or an expression)",
    re.compile(
        r"P(?!$)(\d+(?:\.\d+)?Y)?(\d+(?:\.\d+)?M)?(\d+(?:\.\d+)?W)?(\d+(?:\.\d+)?D)?"
        r"(T(?=\d)(\d+(?:\.\d+)?H)?(\d+(?:\.\d+)?M)?(\d+(?:\.\d+)?S)?)?",
        re.ASCII,
    ),
    "bad-duration",
    "ISO 8601 writes 30 seconds as `PT30S`, two hours as `PT2H`, a day as `P1D`.",
)
CALLED: Final = Word(note="call")
TEXT: Final = Text()
WORD: Final = Word()
FREE: Final = Free()
LITERAL: Final = Map(Free(literal=True))
FORMULA: Final = Formula()
DATA: Final = Kind(expected="an expression or a mapping", text=Formula(data=True), mapping=FREE)
DIRECTIVE: Final = Word(note="then")
READ: Final = Enumeration(("data", "envelope", "raw"))


_UNITS: Final = ("days", "hours", "minutes", "seconds", "milliseconds")
_DURATION: Final = Kind(
    expected="a duration (`PT30S`, `seconds: 30` or an expression)",
    text=Text(ISO_DURATION),
    mapping=Fields(
        title="a duration",
        anchor="duration",
        shapes=dict.fromkeys(_UNITS, Whole()),
        at_least=1,
        synonyms={
            "ms": "milliseconds",
            "s": "seconds",
            "sec": "seconds",
            "min": "minutes",
            "h": "hours",
            "d": "days",
        },
    ),
)


class Duration(msgspec.Struct, frozen=True):
    """A duration; `zero` says what no time at all is here: `fine`, a `warning` or an `error`."""

    zero: str = "fine"

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check how it is written, then how long it is."""
        before = walk.count()
        _DURATION.check(value, at, walk)
        if walk.count() > before or (isinstance(value, str) and "${" in value):
            return
        try:
            seconds = duration_seconds(value)
        except (ValueError, OverflowError):
            if isinstance(value, dict):
                walk.error("negative-duration", at, f"{label(at)} is negative.", "Give a length of time.")
            else:
                message = f"{label(at)} counts years or months, which have no fixed length."
                walk.error("calendar-duration", at, message, "Give it in weeks or days: `P30D`.")
            return
        if seconds == 0 and self.zero == "error":
            walk.error(
                "zero-duration",
                at,
                f"{label(at)} is no time at all.",
                "Give an interval, such as `minutes: 5`.",
            )
        elif seconds == 0 and self.zero == "warning":
            walk.warn(
                "zero-duration", at, f"{label(at)} is no time at all.", "Give a length of time, or remove it."
            )


class Cron(msgspec.Struct, frozen=True):
    """A cron expression."""

    def check(self, value: Json, at: At, walk: Walk) -> None:
        """Check its fields."""
        if not isinstance(value, str):
            walk.wrong_type(at, "a cron expression", value, "Quote it: '0 0 * * *'.")
        elif (mistake := cron_mistake(value)) is not None:
            message = f"{shown(value).capitalize()} is not a cron expression: {mistake}."
            walk.error("bad-cron", at, message, "'0 6 * * 1-5' is at six on working days.")
