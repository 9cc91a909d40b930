"""Actions of runs: each begins when its limits and the number under way allow it; the gate carries it out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from tenuto.engine.advance import accepts
from tenuto.engine.model import Answered, Event, Failed, Json, Perform, Progressed, Suspended
from tenuto.engine.ports import Clock, Journal
from tenuto.errors import Fault, Faulted, Unfit
from tenuto.runtime.actions import Gate
from tenuto.runtime.hot import Hot, wanted
from tenuto.runtime.jobs import Jobs

Admit: TypeAlias = Callable[[str, dict[str, Json], Callable[[], None]], Callable[[], None] | None]
"""Called with a function's name, its arguments and what begins the action: calls that now or later, and
returns what has to be called at the action's end, or when it is not needed any more."""


class Acting:
    """Lets actions begin and end; see the module's text.

    `spawn` works for a command in a task of its own and calls something at its end, `answer` tells a run
    how a command ended, `tell` anything else.
    """

    def __init__(
        self,
        journal: Journal,
        gate: Gate,
        jobs: Jobs,
        clock: Clock,
        admit: Admit | None,
        *,
        spawn: Callable[
            [Hot, int, Callable[[], Coroutine[Any, Any, None]], Callable[[], None]], asyncio.Task[None]
        ],
        answer: Callable[[Hot, Answered | Failed], None],
        tell: Callable[[Hot, Event], None],
    ) -> None:
        self._journal = journal
        self._gate = gate
        self._jobs = jobs
        self._clock = clock
        self._admit = admit
        self._admitted: dict[tuple[str, int], Callable[[], None]] = {}
        self._spawn = spawn
        self._answer = answer
        self._tell = tell

    def ask(self, hot: Hot, command: Perform) -> None:
        """Begin an action, now or when it may."""

        begin = partial(self._jobs.act, partial(self._begin, hot, command))
        if self._admit is None:
            begin()
            return
        try:
            release = self._admit(command.function, command.arguments, begin)
        except Faulted as error:
            self._answer(hot, Failed(self._clock.now(), command.id, error.fault))
            return
        if release is None:
            return
        if command.id in hot.active:
            self._admitted[hot.row.id, command.id] = release
        else:
            release()

    def release(self, run: str, command: int) -> None:
        """Let an action count for its limits no more."""
        release = self._admitted.pop((run, command), None)
        if release is not None:
            release()

    def _begin(self, hot: Hot, command: Perform) -> None:
        """Begin an action, unless it was dropped or the run suspended while it waited its turn."""
        if hot.run is None or not wanted(hot.run, command):
            hot.active.pop(command.id, None)
            self._ended(hot.row.id, command.id)
            return
        ended = partial(self._ended, hot.row.id, command.id)
        task = self._spawn(hot, command.id, partial(self._perform, hot, command), ended)
        if command.detached:
            self._jobs.detach(hot.row.id, task)

    def _ended(self, run: str, command: int) -> None:
        if self._admitted:
            self.release(run, command)
        self._jobs.acted()

    async def _perform(self, hot: Hot, command: Perform) -> None:
        def report(progress: Json) -> None:
            event = Progressed(self._clock.now(), command.id, progress)
            if accepts(hot.run, event):
                self._tell(hot, event)

        try:
            outcome = await self._gate.perform(hot.row.id, command, hot.definition.folders, report)
        except Unfit as unfit:
            hot.active.pop(command.id, None)
            self._suspend(hot, unfit)
            return
        if self._journal.pressure:
            await self._journal.drained()
        now = self._clock.now()
        if isinstance(outcome, Fault):
            self._answer(hot, Failed(now, command.id, outcome))
        else:
            self._answer(hot, Answered(now, command.id, *outcome))

    def _suspend(self, hot: Hot, unfit: Unfit) -> None:
        """The code of an action has to be mended: the run is kept until somebody resumes it."""
        event = Suspended(self._clock.now(), unfit.told())
        if accepts(hot.run, event):
            self._tell(hot, event)
