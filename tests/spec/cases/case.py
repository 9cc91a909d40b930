"""The words in which the tables say how an example is played and what must come of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tenuto.errors import ERROR_BASE

NOT_GIVEN: Final = object()


class Text:
    """Equal to every text that a pattern matches as a whole."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self.pattern, other, re.DOTALL) is not None

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"Text({self.pattern!r})"


@dataclass(frozen=True)
class Asked:
    """A request that a host got; `headers` are some of its headers, `body` is not looked at unless given."""

    method: str
    url: str
    body: Any = NOT_GIVEN
    headers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Happens:
    """An event is emitted by another run, when this one waits."""

    type: str
    data: Any = None
    source: str = "https://test.example"
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sleeps:
    """The run waits for exactly this time; then the time passes."""

    seconds: float


@dataclass(frozen=True)
class Passes:
    """Time passes while the run waits, more than it asked for."""

    seconds: float


@dataclass(frozen=True)
class Waits:
    """The run waits, and has not been given what it wants; so nothing more comes of it."""


@dataclass(frozen=True)
class Cancelled:
    """The run is cancelled while it waits."""


Step = Happens | Sleeps | Passes | Waits | Cancelled


@dataclass(frozen=True)
class Case:
    """One way to play an example.

    `programs` are put on a PATH that has nothing else but the system's basic commands, or nothing
    at all if it is empty; `told` is what they were called with, one list of words for each call.
    `emitted` are members of the events that the run emits.
    """

    input: Any = None
    secrets: Mapping[str, Any] = field(default_factory=dict)
    known: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    replies: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    programs: Mapping[str, str] | None = None
    needs: str | None = None
    steps: Sequence[Step] = ()

    status: str = "completed"
    output: Any = NOT_GIVEN
    fault: Mapping[str, Any] | None = None
    asked: Sequence[Asked] | None = None
    in_any_order: bool = False
    emitted: Sequence[Mapping[str, Any]] | None = None
    told: Sequence[Any] | None = None


def fault(kind: str, status: int, title: Any, detail: Any, instance: Any, **more: Any) -> dict[str, Any]:
    """Return one of the standard's errors as JSON."""
    where = {"type": ERROR_BASE + kind, "status": status, "title": title}
    return {**where, "detail": detail, "instance": instance, **more}


def event(type: str, source: str, data: Any) -> dict[str, Any]:
    """Return a CloudEvent as a run makes it, whatever its id and time."""
    return {
        "specversion": "1.0",
        "id": Text("[0-9a-f]+"),
        "source": source,
        "type": type,
        "time": Text(r"2023-11-14T22:13:20(\.\d+)?Z"),
        "data": data,
    }
