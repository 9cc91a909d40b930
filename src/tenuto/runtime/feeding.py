"""Telling runs what happened: fold it, find out who else has to know, hand it to the store as one batch.

What follows for other runs (a child's end, a listener's event) is in the journal in the same
transaction as its cause. If anything of it cannot be recorded, nothing of it has happened.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from tenuto.engine.advance import accepts
from tenuto.engine.model import (
    Answered,
    Arrived,
    Drop,
    Entry,
    Event,
    Failed,
    Finish,
    Note,
    Open,
    StartRun,
)
from tenuto.engine.ports import Clock, Journal, RunRow
from tenuto.engine.table import Table
from tenuto.events.lifecycle import lifecycle_events
from tenuto.runtime.children import child_of, no_longer_needed, told_parent
from tenuto.runtime.hot import Hot, Step
from tenuto.runtime.jobs import Jobs
from tenuto.runtime.listeners import Listeners
from tenuto.runtime.memory import Memory
from tenuto.runtime.turn import Turn

# How many runs hear of lifecycle events in the transaction that brings these; more of them hear in the next.
HEARD_PER_TURN: Final = 1_000


class Feeding:
    """Feeds runs; `uncommitted` counts the batches that the store has not made durable yet.

    `durable` is called with a batch's steps once it is; `renew` folds a run from its journal again
    whose state cannot be used any more. With `stopped` set runs hear no more of each other, with
    `failed` nothing happens at all.
    """

    def __init__(
        self,
        journal: Journal,
        memory: Memory,
        listeners: Listeners,
        jobs: Jobs,
        clock: Clock,
        *,
        durable: Callable[[list[Step]], None],
        renew: Callable[[Hot], None],
        take_up: Callable[[Hot], None],
    ) -> None:
        self.uncommitted = 0
        self.stopped = False
        self.failed = False
        self._journal = journal
        self._memory = memory
        self._hot = memory.runs
        self._listeners = listeners
        self._jobs = jobs
        self._clock = clock
        self._durable = durable
        self._renew = renew
        self._take_up = take_up

    def feed(
        self,
        told: Sequence[tuple[Hot, Event]],
        *,
        created: RunRow | None = None,
        history: Sequence[Sequence[Note]] = (),
    ) -> None:
        """Tell runs what happened, all in one transaction.

        `history` are the notes of events that are taken over from another run: the first of those told.
        Everybody else was told of these then.
        """
        if self.failed:
            return
        turn = Turn()
        work = deque(told)
        heard: deque[tuple[Hot, Event]] = deque()
        try:
            while work or (heard and len(turn.steps) < len(told) + HEARD_PER_TURN):
                hot, event = work.popleft() if work else heard.popleft()
                recorded = None
                if history and len(turn.steps) < len(history):
                    recorded = history[len(turn.steps)]
                if accepts(hot.run, event):
                    self._take(turn, hot, event, work, heard, recorded)
            self._journal.commit(turn.batch(created), partial(self._end, turn.steps))
        except BaseException:
            # Nothing of it has happened: no run may be ahead of what will be on disk.
            stale = turn.undo()
            if created is not None:
                self._hot.pop(created.id, None)
            for hot in stale:
                if hot.row.id in self._hot:
                    self._renew(hot)
            raise
        turn.hand_over()
        self.uncommitted += 1
        for run in turn.cold:
            # One whose code has to be mended first finds that it is an orphan when it is taken up.
            self._jobs.start(self._memory.hand_over(run, self._cancel_cold))
        if heard:
            # Runs that hear of each other without end must not keep everybody else from going on.
            asyncio.get_running_loop().call_soon(self._hear, heard)

    def _end(self, steps: list[Step]) -> None:
        self.uncommitted -= 1
        self._durable(steps)

    def _hear(self, heard: Sequence[tuple[Hot, Event]]) -> None:
        if not self.stopped:
            self.feed(heard)

    def _take(
        self,
        turn: Turn,
        hot: Hot,
        event: Event,
        work: deque[tuple[Hot, Event]],
        heard: deque[tuple[Hot, Event]],
        recorded: Sequence[Note] | None,
    ) -> None:
        """Fold one event, and find out who else has to be told of what follows from it.

        One that was recorded before, with these notes, has been told to everybody then.
        """
        opened = hot.run.open if hot.run else None
        step, finish = turn.take(hot, event, recorded)
        if recorded is not None:
            step.commands = ()
            return
        if opened:
            self._tell_children(turn, hot, opened, step, finish, work)
        if finish is not None:
            self._tell_parent(hot, finish, event.time, work)
        if self._listeners.lifecycle_subscriptions:
            self._tell_lifecycle(hot, step.entry, finish, heard)

    def _tell_parent(self, hot: Hot, finish: Finish, time: float, work: deque[tuple[Hot, Event]]) -> None:
        """A child's end is in the parent's journal in the same transaction as in its own."""
        told = told_parent(hot.row, finish, time)
        parent = self._hot.get(hot.row.parent or "")
        if told is not None and parent is not None:
            work.append((parent, told))

    def _tell_children(
        self,
        turn: Turn,
        hot: Hot,
        opened: Table[Open],
        step: Step,
        finish: Finish | None,
        work: deque[tuple[Hot, Event]],
    ) -> None:
        """Children that are not needed any more are told in the transaction that says so.

        Those that are not in memory are told once there is such a transaction: it may yet be undone.
        """
        event = step.entry.event
        ids = [command.id for command in step.commands if type(command) is Drop]
        if finish is not None:
            # A run whose code cannot be asked any more does not say itself what it had begun.
            ended = event.id if isinstance(event, Answered | Failed) else 0
            ids = [id for id in opened if id != ended]
        for id in ids:
            if type(opened.get(id)) is StartRun:
                run = child_of(hot.row.id, id)
                if run in self._hot:
                    work.append((self._hot[run], no_longer_needed(event.time)))
                else:
                    turn.cold.append(run)

    def _cancel_cold(self, child: Hot) -> None:
        if child.orphaned and not child.idle:
            return  # It was found to be an orphan, and told so by whoever took it up first.
        child.orphaned = False  # it is told so here
        self.feed([(child, no_longer_needed(self._clock.now()))])
        self._take_up(child)

    def _tell_lifecycle(
        self, hot: Hot, entry: Entry, finish: Finish | None, work: deque[tuple[Hot, Event]]
    ) -> None:
        """Give lifecycle events to the runs that listen for them by name, never to the run itself."""
        for event in lifecycle_events(hot.row, hot.seq, entry, finish):
            for listener in self._listeners.named(event["type"]):
                other = self._hot.get(listener)
                if other is not None and other is not hot:
                    work.append((other, Arrived(entry.event.time, event)))
