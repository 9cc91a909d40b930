"""Durable timers of this process: never early, on time again after the clock was set."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from tenuto.engine.ports import Clock

# The longest sleep: after the clock was set forward, a timer is at most this late.
LONGEST_SLEEP_SECONDS: Final = 30.0
# How many timers that were taken back are kept beside as many as live.
DEAD_TIMERS_KEPT: Final = 1_000


class Timers:
    """Calls `fire(run, command, now)` when the clock has reached a command's time; `now` is what it said."""

    def __init__(self, clock: Clock, fire: Callable[[str, int, float], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._heap: list[tuple[float, str, int]] = []
        self._live: set[tuple[str, int]] = set()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, run: str, command: int, at: float) -> None:
        """Fire for a command at a time, in seconds since the epoch."""
        if (run, command) in self._live:
            return
        self._live.add((run, command))
        heapq.heappush(self._heap, (at, run, command))
        if self._heap[0][1:] == (run, command):
            self._arm()

    def remove(self, run: str, command: int) -> None:
        """Never fire for a command, if it has not fired yet."""
        self._live.discard((run, command))
        if len(self._heap) > 2 * len(self._live) + DEAD_TIMERS_KEPT:
            # Timeouts are mostly long and mostly not needed: they must not pile up until they are due.
            self._heap = [timer for timer in self._heap if timer[1:] in self._live]
            heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._live)

    def next(self) -> float | None:
        """Return when the next command is due; None if none waits for a time."""
        while self._heap and self._heap[0][1:] not in self._live:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def stop(self) -> None:
        """Fire no more."""
        self._live.clear()
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()

    def check(self) -> None:
        """Fire all that is due, and sleep until the next."""
        now = self._clock.now()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][1:] not in self._live):
            _, run, command = heapq.heappop(self._heap)
            if (run, command) in self._live:
                self._live.discard((run, command))
                self._fire(run, command, now)
        self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            delay = min(max(self._heap[0][0] - self._clock.now(), 0.0), LONGEST_SLEEP_SECONDS)
            self._handle = asyncio.get_running_loop().call_later(delay, self.check)
