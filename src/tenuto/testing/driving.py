"""The worker as tests drive it: the real one, whose timers wait for the test's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tenuto.engine.model import Answered, Event, Failed, Perform
from tenuto.runtime.hot import Hot
from tenuto.runtime.timers import Timers
from tenuto.runtime.worker import Worker


class StandingTimers(Timers):
    """Timers that never sleep: they fire when the clock was moved."""

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        due = self.next()
        if due is not None and due <= self._clock.now():
            self._handle = asyncio.get_running_loop().call_later(0.0, self.check)


class DrivenWorker(Worker):
    """A worker that says whether it rests."""

    def __init__(self, *args: Any, rests: Callable[[], None], **options: Any) -> None:
        """Take what a worker takes; `rests` is called whenever it may have come to rest."""
        super().__init__(*args, **options)
        self._rests = rests
        self._answering: dict[tuple[str, int], Perform] = {}
        self._timers = StandingTimers(self._clock, self._fire)
        self.watch(lambda run, seq, entry: rests())

    def under_way(self) -> int:
        """Return how many things are being done just now, for all runs together."""
        loading = self._emitting.reviving + self._memory.loading
        return len(self._jobs) + self._feeding.uncommitted + loading

    def next_timer(self) -> float | None:
        """Return when the next timer is due."""
        return self._timers.next()

    def fire_due(self) -> None:
        """Fire the timers that are due."""
        self._timers.check()

    def waits_for(self, run: str) -> tuple[str, list[Any]]:
        """Return a run's status and the commands that are open."""
        hot = self._hot.get(run)
        if hot is None or hot.run is None:
            return "unknown", []
        return hot.run.status, list(hot.run.open.values())

    async def _load(self, run: str) -> Hot | None:
        try:
            return await super()._load(run)
        finally:
            self._rests()

    async def recover(self) -> int:
        """Take up every run that is not over."""
        try:
            return await super().recover()
        finally:
            self._rests()

    def action_of(self, run: str, event: Event) -> Perform | None:
        """Return the action that an event answers, if it answers one."""
        if isinstance(event, Answered | Failed):
            return self._answering.get((run, event.id))
        return None

    def _answer(self, hot: Hot, event: Answered | Failed) -> None:
        command = hot.run.open.get(event.id) if hot.run is not None else None
        if isinstance(command, Perform):
            self._answering[hot.row.id, event.id] = command
        super()._answer(hot, event)

    def _look_if_idle(self) -> None:
        super()._look_if_idle()
        self._rests()
