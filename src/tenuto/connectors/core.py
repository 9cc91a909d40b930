"""What needs no outside system: a line in the log, and a step that does nothing."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from tenuto.plugin import Call, function

VERSION = "1.0.0"

DEFAULT_FORMAT: Final = "{TIMESTAMP} [{LEVEL}] ({CONTEXT}): {MESSAGE}"
LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "information": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}

Level = Literal["trace", "debug", "information", "warning", "error", "critical"]


_PLACES: Final = re.compile(r"\{(TIMESTAMP|LEVEL|CONTEXT|MESSAGE)\}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LOG: Final = logging.getLogger("tenuto")


@function(effect="write")
async def log(
    call: Call,
    *,
    message: Any,
    level: Level = "information",
    timestamp: bool = True,
    format: str = DEFAULT_FORMAT,  # the public catalog's name for it
) -> str:
    """Write a line to the log `tenuto` and return it.

    In the log, secrets are masked and control characters are written as `\\n` and the like.

    Args:
        message: What to write; anything but a string is written as JSON.
        level: How important it is.
        timestamp: Whether the line has the time; without it `{TIMESTAMP}` is empty.
        format: The line, with the places {TIMESTAMP}, {LEVEL}, {CONTEXT} and {MESSAGE}.
    """
    places = {
        "TIMESTAMP": datetime.now(UTC).isoformat(timespec="milliseconds") if timestamp else "",
        "LEVEL": level,
        "CONTEXT": f"{call.run}{call.task}",
        "MESSAGE": message if isinstance(message, str) else msgspec.json.encode(message).decode(),
    }
    line = _PLACES.sub(lambda place: places[place[1]], format).strip()
    # Data from outside must neither forge a second line of the log nor steer the reader's terminal.
    _LOG.log(LEVELS[level], "%s", _CONTROL.sub(_escaped, call.mask(line)))
    return line


def _escaped(control: re.Match[str]) -> str:
    return control[0].encode("unicode_escape").decode()


@function(effect="read")
async def noop(call: Call, *, value: Any = None) -> Any:  # noqa: ARG001  # every function takes its call
    """Return the value, and do nothing else.

    Args:
        value: What to return.
    """
    return value
