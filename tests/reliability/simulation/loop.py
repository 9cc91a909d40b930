"""An event loop whose time is a number and whose chances come from a seed.

What asyncio promises holds here too: what was made ready first runs first. What it does not promise is up to the
seed: how long everything takes, and which of two timers that are due together comes first. There are no
threads and no input or output; when nothing is ready, time jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from random import Random
from typing import Any, Final

# How long one callback takes: most are quick, now and then something holds the loop up.
CALLBACK_SECONDS: Final = 40e-6
HICCUP_SECONDS: Final = 0.05
HICCUP_ONE_IN: Final = 400


class Crash(BaseException):
    """The process is killed, as with `kill -9`: nothing of it runs any more."""


class Idle(Exception):
    """Nothing is ready and nothing will be."""


class Loop(asyncio.AbstractEventLoop):
    """See the module's text. `complaints` are what would stand in the log of the process."""

    def __init__(self, chance: Random, time: float) -> None:
        self.steps = 0
        self.crash_at: float = float("inf")
        """The process is killed before this callback."""
        self.complaints: list[dict[str, Any]] = []
        self._chance = chance
        self._time = time
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, float, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._dead = False

    # ── driving it ────────────────────────────────────────────────────────────────────

    def run(self, until: Callable[[], bool]) -> None:
        """Run until a condition holds, looked at after each callback. Raises `Crash` and `Idle`."""
        asyncio._set_running_loop(self)
        try:
            while not until():
                self._step()
        finally:
            asyncio._set_running_loop(None)

    def _step(self) -> None:
        if self.steps >= self.crash_at:
            raise Crash
        self.steps += 1
        ready, timers = self._ready, self._timers
        if not ready and timers:
            self._time = max(self._time, timers[0][0])
        while timers and timers[0][0] <= self._time:
            ready.append(heapq.heappop(timers)[3])
        if not ready:
            raise Idle
        handle = ready.popleft()
        if handle.cancelled():
            return
        handle._run()
        chance = self._chance.random()
        self._time += CALLBACK_SECONDS * chance
        if chance * HICCUP_ONE_IN < 1:
            self._time += HICCUP_SECONDS * self._chance.random()

    def crash(self) -> None:
        """Kill the process before the next callback."""
        self.crash_at = 0

    def kill(self) -> None:
        """Let go of everything; what coroutines do on their way out reaches nobody."""
        self._dead = True
        self._ready.clear()
        self._timers.clear()
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant to be
                with suppress(BaseException):
                    task.get_coro().close()
        self._tasks.clear()

    # ── what asyncio asks for ─────────────────────────────────────────────────────────

    def time(self) -> float:
        """Return the present time; it only goes forward."""
        return self._time

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call this after what is ready already."""
        handle = asyncio.Handle(callback, args, self, context)
        if not self._dead:
            self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call this after some seconds."""
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call this at a time of `time()`."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self._dead:
            self._numbers += 1
            heapq.heappush(self._timers, (when, self._chance.random(), self._numbers, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: it is passed over when it is due."""

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new future."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        """Start a task."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) >= 512:
            self._tasks = [each for each in self._tasks if not each.done()]
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Take down what the process would complain of."""
        if not self._dead:
            self.complaints.append(context)

    def get_debug(self) -> bool:
        """Return False."""
        return False

    def is_running(self) -> bool:
        """Return whether it has not been killed."""
        return not self._dead

    def is_closed(self) -> bool:
        """Return whether it was killed."""
        return self._dead
