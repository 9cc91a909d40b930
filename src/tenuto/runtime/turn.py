"""One turn of the worker: what several runs are told in one transaction.

Runs are folded as the turn goes on. Until it is handed over it can be undone: states are values, so
that a run only has to be given back the one it had.
"""

from __future__ import annotations

from collections.abc import Sequence

from tenuto.engine.advance import Run, advance
from tenuto.engine.model import CONTINUED, Event, Finish, Note
from tenuto.engine.ports import Append, Batch, RunChange, RunRow, Snapshot
from tenuto.runtime.hot import Hot, Step, changed
from tenuto.runtime.recording import entry_of, written
from tenuto.runtime.snapshots import SNAPSHOT_BYTES_MAX, snapshot_of


class Turn:
    """A transaction in the making; see the module's text.

    `cold` are the runs that have to be told of it once it is handed over, and are not in memory.
    """

    __slots__ = ("_appends", "_before", "_changes", "_snapshots", "cold", "steps")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.cold: list[str] = []
        self._before: dict[Hot, tuple[Run | None, int, RunRow, int]] = {}
        self._appends: list[Append] = []
        self._changes: list[RunChange] = []
        self._snapshots: list[Snapshot] = []

    def take(
        self, hot: Hot, event: Event, recorded: Sequence[Note] | None = None
    ) -> tuple[Step, Finish | None]:
        """Fold an event as a replay will see it; return the step, and the run's end if this was it.

        `recorded` are the notes that the event had in the history that it is taken from, if it is.

        Raises:
            Invalid: JSON cannot carry the event, or it passes a limit.
        """
        event, data = written(event)
        self._before.setdefault(hot, (hot.run, hot.seq, hot.row, hot.stored))
        former = hot.run.status if hot.run else None
        run, commands = advance(hot.definition.program, hot.run, event, recorded)
        hot.run = run
        hot.seq += 1
        entry, encoded = entry_of(event, data, commands)
        self._appends.append(Append(hot.row.number, hot.seq, encoded))
        if run.status != former:
            hot.row, change = changed(hot.row, run, event.time)
            self._changes.append(change)
        due = hot.snapshots.due(len(encoded)) or _begins_anew(entry.notes)
        if due and run.state is not None and not run.over:
            self._snap(hot, run)
        step = Step(hot, hot.seq, entry, commands)
        self.steps.append(step)
        return step, run.finish

    def _snap(self, hot: Hot, run: Run) -> None:
        snapshot = snapshot_of(hot.row.number, hot.seq, hot.definition.program, run)
        hot.snapshots.taken(len(snapshot.state) if snapshot else SNAPSHOT_BYTES_MAX)
        if snapshot is not None:
            self._snapshots.append(snapshot)
            hot.stored = hot.seq

    def batch(self, created: RunRow | None) -> Batch:
        """Return what has to become durable together."""
        return Batch(self._appends, (created,) if created else (), self._changes, self._snapshots)

    def hand_over(self) -> None:
        """The store has taken it: its runs are ahead of the disk until it is durable."""
        for step in self.steps:
            step.hot.unwritten += 1

    def undo(self) -> list[Hot]:
        """Give every run back what it was before; return those whose former state is stale by now."""
        stale = []
        for hot, (run, seq, row, stored) in self._before.items():
            if run is None and hot.run is not None and hot.run.state is not None:
                hot.definition.program.forget(hot.run.state)  # it was never there
            hot.run, hot.seq, hot.row, hot.stored = run, seq, row, stored
            if run is not None and run.state is not None and hot.definition.program.stale(run.state):
                stale.append(hot)
        return stale


def _begins_anew(notes: Sequence[Note]) -> bool:
    for note in notes:  # noqa: SIM110  # a generator would cost more than all the rest, for each event
        if note.what == CONTINUED:
            return True
    return False
