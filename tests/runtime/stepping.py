"""Calling steps in tests: through the gate, as the worker does, and time that only tests move."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

from tenuto.authoring.declare import Step
from tenuto.engine.model import Json, Perform
from tenuto.errors import Fault
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.network import SystemNetwork
from tenuto.runtime.steps import Functions, Steps


def perform(
    steps: Steps,
    step: Step[..., Any] | str,
    /,
    report: Callable[[Json], None] = lambda progress: None,
    progress: Json = None,
    secrets: dict[str, Json] | None = None,
    **arguments: Json,
) -> asyncio.Task[Any]:
    """Begin one action; its task ends with the result, or with the fault."""
    if isinstance(step, str):
        name = step
    else:
        steps.know(step)
        name = step.called
    gate = Gate(Functions(steps, Catalog({})), SystemNetwork(), secrets or {})
    command = Perform(1, "/task", name, arguments, "key", 2, nonce="n", progress=progress)

    async def work() -> Any:
        outcome = await gate.perform("run", command, (), report)
        return outcome if isinstance(outcome, Fault) else outcome[0]

    return asyncio.get_running_loop().create_task(work())


class Time:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 100.0
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._numbers = 0

    def time(self) -> float:
        """Return the time."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> Alarm:
        """Call this when time was turned so far."""
        alarm = Alarm(callback)
        self._numbers += 1
        heapq.heappush(self._alarms, (self.now + delay, self._numbers, alarm))
        return alarm

    def turn(self, seconds: float) -> None:
        """Let time go by, and ring what is due."""
        until = self.now + seconds
        while self._alarms and self._alarms[0][0] <= until:
            at, _, alarm = heapq.heappop(self._alarms)
            self.now = max(self.now, at)
            if not alarm.cancelled:
                alarm.callback()
        self.now = until

    def waiting(self) -> int:
        """Count what would ring."""
        return sum(not alarm.cancelled for _, _, alarm in self._alarms)


class Alarm:
    """What will be called."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call it."""
        self.cancelled = True
