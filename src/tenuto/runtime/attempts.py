"""One attempt of a step while it is under way: its time limits, its signs of life, its progress.

    begin ──▶ beat, beat, ...                  ──▶ end
              │   └▶ report: at once, then at most once every PROGRESS_EVERY_SECONDS, the latest
              └▶ after `heartbeat_seconds` without one, or `timeout_seconds` in all: it has failed

The function may beat in any thread; everything else happens on the thread of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final, Protocol

from tenuto.authoring.declare import Step
from tenuto.authoring.step_context import StepContext
from tenuto.engine.model import Json
from tenuto.errors import Faulted, timeout_fault
from tenuto.plugin import Call
from tenuto.runtime.calling import lost

PROGRESS_EVERY_SECONDS: Final = 1.0
"""The progress of an action is recorded at most once in this time; what was told last counts."""

_NOTHING: Final = object()


class Alarm(Protocol):
    """Something that will be called, unless it is cancelled before."""

    def cancel(self) -> None:
        """Do not call it."""


class Ticker(Protocol):
    """Time that only goes forward, as an event loop has it; tests turn their own."""

    def time(self) -> float:
        """Return the present time in seconds, from any start."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Alarm:
        """Call this after some seconds."""


class Attempt:
    """One attempt of a step."""

    # What most attempts never set stands here: one is made for each call of a step.
    heard = 0.0
    begun = False
    """Whether the function has been called."""
    gone = False
    """Whether nobody waits for it any more."""
    silent = False
    """Whether it failed because it gave no sign of life."""
    limit: asyncio.Timeout | None = None
    """What ends it when its time is over; None if it has no end."""
    _latest: Json = _NOTHING
    _scheduled = False
    _reported: float | None = None
    _due: Alarm | None = None
    _silence: Alarm | None = None

    def __init__(self, step: Step[..., Any], call: Call, ticker: Ticker | None = None) -> None:
        self._step = step
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._ticker: Ticker = self._loop if ticker is None else ticker
        self._thread = get_ident()
        if step.timeout_seconds is not None or step.heartbeat_seconds is not None:
            self.limit = asyncio.timeout(None)

    def context(self) -> StepContext:
        """Return what the function sees of it."""
        call = self._call
        return StepContext(
            call.run,
            call.task,
            call.attempt,
            call.idempotency_key,
            call.progress,
            self.beat,
            lambda: self.gone,
        )

    # ── signs of life, from any thread ────────────────────────────────────────────────

    def begin(self) -> None:
        """The function is about to be called: its time runs from now on, not while it waits for a thread."""
        self.begun = True
        if self.limit is not None:
            self.heard = self._ticker.time()
            self._on_loop(self._start_clock)

    def beat(self, progress: Json) -> None:
        """The function is alive; `progress` is to be recorded unless it is None."""
        self.heard = self._ticker.time()
        if progress is None or self.gone:
            return
        self._latest = progress
        # `_flush` takes `_scheduled` back before it takes the latest: nothing is lost in between.
        if not self._scheduled:
            self._scheduled = True
            self._on_loop(self._flush)

    def _on_loop(self, callback: Callable[[], None]) -> None:
        if get_ident() == self._thread:
            callback()
            return
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop is closed: this thread was left behind by an App that is gone.
            self.gone = True

    # ── on the loop's thread ──────────────────────────────────────────────────────────

    def _flush(self) -> None:
        """Report the latest progress, now or when it is time for the next."""
        self._due = None
        if self.gone:
            return
        now = self._ticker.time()
        if self._reported is not None and now < self._reported + PROGRESS_EVERY_SECONDS:
            delay = self._reported + PROGRESS_EVERY_SECONDS - now
            self._due = self._ticker.call_later(delay, self._flush)
            return
        self._reported = now
        self._report()

    def _report(self) -> None:
        self._scheduled = False
        latest, self._latest = self._latest, _NOTHING
        if latest is not _NOTHING:
            self._call.report(latest)

    def _start_clock(self) -> None:
        if self.gone or self.limit is None:
            return
        step = self._step
        if step.timeout_seconds is not None:
            self.limit.reschedule(self._loop.time() + step.timeout_seconds)
        if step.heartbeat_seconds is not None:
            self._silence = self._ticker.call_later(step.heartbeat_seconds, self._look)

    def _look(self) -> None:
        """End the attempt if it was silent for too long; else look again when it could have been."""
        self._silence = None
        seconds = self._step.heartbeat_seconds
        if self.gone or seconds is None or self.limit is None:
            return
        left = self.heard + seconds - self._ticker.time()
        if left > 0:
            self._silence = self._ticker.call_later(left, self._look)
        elif not self.limit.expired():
            self.silent = True
            self.limit.reschedule(self._loop.time())

    def end(self, *, failed: bool) -> None:
        """Nobody waits for it any more; what it told last is for the next attempt, if it failed."""
        if self.gone:
            return
        for alarm in (self._due, self._silence):
            if alarm is not None:
                alarm.cancel()
        if failed:
            self._report()
        self.gone = True

    def late(self) -> Faulted:
        """Return the fault of an attempt whose time is over."""
        step = self._step
        if self.silent:
            text = f"gave no sign of life for {step.heartbeat_seconds:g} s (heartbeat_seconds)"
        else:
            text = f"took longer than {step.timeout_seconds:g} s (timeout_seconds)"
        detail = f"attempt {self._call.attempt} of step `{step.name}` {text}"
        return lost(step, TimeoutError(detail), timeout_fault(detail))
