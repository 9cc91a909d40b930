"""Time and ids for tests: a clock that stands still until it is moved, ids that are the same every time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from tenuto.errors import InvalidInput

START_TIME: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""When every test begins, unless it says otherwise: a Wednesday, midnight UTC."""


class VirtualClock:
    """A clock that only moves when it is told to; implements `engine.ports.Clock`."""

    def __init__(self, start: datetime = START_TIME) -> None:
        if start.tzinfo is None:
            raise InvalidInput(
                f"the start time {start} has no time zone", hint="write datetime(..., tzinfo=UTC)"
            )
        self.time = start.timestamp()

    def now(self) -> float:
        """Return the present time in seconds since the epoch."""
        return self.time


class CountingChance:
    """Ids that count: the first run of a test always has the same; implements `engine.ports.Chance`."""

    def __init__(self) -> None:
        self._count = 0

    def token(self) -> str:
        """Return the next id, as 32 hexadecimal digits."""
        self._count += 1
        return f"{self._count:032x}"
