"""How time passes in a test: it stands still while something is under way, and jumps when nothing is.

    something is under way                          time stands
    everything waits, the test awaits a result      it jumps to the next timer
    everything waits, the test does something else  time stands
    `pass_time` was called                          it goes on, timer by timer, as far as was asked

If the test awaits a result and nothing can ever bring it, the test is told what the run waits for.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

from tenuto.testing.clock import VirtualClock

STALLED_SECONDS: Final = 1.0
"""How long a test awaits a result while nothing moves, in real seconds, before it is told so."""

# Whatever ends says so; should something ever end in silence, this keeps the test from hanging.
_LOOK_AGAIN_SECONDS: Final = 0.25
_FOREVER: Final = float("inf")


class Driven(Protocol):
    """The worker, as time sees it."""

    def under_way(self) -> int:
        """Return how many things are being done just now."""

    def next_timer(self) -> float | None:
        """Return when the next timer is due."""

    def fire_due(self) -> None:
        """Fire the timers that are due."""


class Acting:
    """One action under way; `asleep` while all that it does is to wait for virtual time."""

    __slots__ = ("sleeping",)

    def __init__(self) -> None:
        self.sleeping = 0


class Passing:
    """Moves the clock; see the module's text."""

    def __init__(
        self,
        clock: VirtualClock,
        describe: Callable[[str], str],
        *,
        auto_advance: bool = True,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        """Begin with time standing still; `describe` says what a run waits for."""
        self.clock = clock
        self.auto_advance = auto_advance
        self._describe = describe
        self._stalled_seconds = stalled_seconds
        self._driven: Driven | None = None
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._targets: list[tuple[float, int, asyncio.Future[None]]] = []
        self._resting: list[asyncio.Future[None]] = []
        self._awaited: dict[asyncio.Future[None], str] = {}
        self._test_sleeps = 0
        self._asleep = 0
        self._acting: ContextVar[Acting | None] = ContextVar("tenuto_acting", default=None)
        self._looking = False
        self._alarm: asyncio.TimerHandle | None = None

    def drive(self, driven: Driven | None) -> None:
        """Move the timers of this worker, until there is another or none."""
        self._driven = driven
        if driven is None and self._alarm is not None:
            self._alarm.cancel()

    # ── what tests ask for ────────────────────────────────────────────────────────────

    async def pass_seconds(self, seconds: float) -> None:
        """Let so much time pass; return when everything that came due is done."""
        await self.rest()
        future = self._future()
        heapq.heappush(self._targets, (self.clock.time + seconds, next(self._numbers), future))
        self.look()
        await future

    async def rest(self) -> None:
        """Return when nothing is under way: everything is over, or waits."""
        future = self._future()
        self._resting.append(future)
        self.look()
        await future

    async def sleep(self, seconds: float | None) -> None:
        """Return when so much time has passed; never if it is None."""
        at = _FOREVER if seconds is None else self.clock.time + seconds
        sleeper = (at, next(self._numbers), self._future())
        heapq.heappush(self._sleepers, sleeper)
        acting = self._acting.get()
        self._fall_asleep(acting, 1)
        try:
            await sleeper[2]
        finally:
            self._fall_asleep(acting, -1)
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    def _fall_asleep(self, acting: Acting | None, change: int) -> None:
        if acting is None:
            self._test_sleeps += change
        else:
            self._asleep -= acting.sleeping > 0
            acting.sleeping += change
            self._asleep += acting.sleeping > 0
        self.look()

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Do an action: what sleeps in it does not keep time from passing."""
        token = self._acting.set(Acting())
        task = asyncio.current_task()
        if task is not None:
            task.add_done_callback(lambda _: self.look())
        try:
            yield
        finally:
            self._acting.reset(token)

    @contextmanager
    def awaiting(self, run: str) -> Iterator[asyncio.Future[None]]:
        """Let time pass while a run is awaited; the future fails if that is in vain."""
        future = self._future()
        self._awaited[future] = run
        self.look()
        try:
            yield future
        finally:
            del self._awaited[future]
            future.cancel()

    def fail(self, error: BaseException) -> bool:
        """Tell everybody who awaits a run; return whether there was somebody."""
        waiting = [future for future in self._awaited if not future.done()]
        for future in waiting:
            future.set_exception(error)
        return bool(waiting)

    # ── moving ────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """Something has changed: look whether time can pass, once everybody has been told of it."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._looking and self._driven is not None:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        driven = self._driven
        if driven is None:
            return
        if driven.under_way() > self._asleep:
            self._alarm = asyncio.get_running_loop().call_later(_LOOK_AGAIN_SECONDS, self.look)
            return
        resting, self._resting = self._resting, []
        for future in resting:
            _wake(future)
        due = min(_FOREVER if (at := driven.next_timer()) is None else at, self._next_sleeper())
        if self._targets:
            target, _, future = self._targets[0]
            if due > target:
                heapq.heappop(self._targets)
                self.clock.time = max(self.clock.time, target)
                _wake(future)
                self.look()
            else:
                self._move(due)
        elif due <= self.clock.time or (self.auto_advance and due < _FOREVER and self._is_awaited()):
            self._move(due)
        elif self._awaited:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(self._stalled_seconds, self._stall)

    def _is_awaited(self) -> bool:
        return bool(self._awaited or self._test_sleeps)

    def _next_sleeper(self) -> float:
        return self._sleepers[0][0] if self._sleepers else _FOREVER

    def _move(self, to: float) -> None:
        """Go to a time, and wake what waits for it."""
        assert self._driven is not None
        self.clock.time = max(self.clock.time, to)
        self._driven.fire_due()
        while self._next_sleeper() <= self.clock.time:
            _wake(heapq.heappop(self._sleepers)[2])
        self.look()

    def _stall(self) -> None:
        for future, run in self._awaited.items():
            if not future.done():
                future.set_exception(Stalled(self._describe(run)))

    def _future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()


class Stalled(AssertionError):
    """A test awaits a run that nothing can move: the message says what the run waits for."""


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
