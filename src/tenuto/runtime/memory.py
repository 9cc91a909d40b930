"""Runs in memory: each is loaded once, whoever asks and how often, and put aside while it only waits.

Two copies of one run would both write the next line of its journal, so whoever reads a run from disk
claims it first: all others wait for that one reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias

from tenuto.engine.model import CancelRequested, Json, StartRun, Suspended
from tenuto.engine.ports import (
    ENTRIES_AT_ONCE,
    Append,
    Batch,
    Clock,
    DocumentRow,
    Journal,
    RunChange,
    RunRow,
    Snapshot,
)
from tenuto.engine.stuck import HistoryMismatch, Stuck
from tenuto.errors import CodeMissing, Conflict, NotFound, StorageFailed, TenutoError
from tenuto.runtime.children import NOT_NEEDED, child_of
from tenuto.runtime.hot import Definition, Hot
from tenuto.runtime.recording import entry_of, read_entry, read_lines, written
from tenuto.runtime.snapshots import decode_run, snapshot_of

# How many runs are kept in memory before those that only wait are put aside.
HOT_RUNS: Final = 10_000
RECOVERY_CHUNK: Final = 500
# How many entries of one run are read while as many are folded.
PAGE: Final = 5_000

_Awaited: TypeAlias = dict[str, frozenset[int] | None]
"""What parents on disk wait for, as far as it was read: one of many children is folded for all of them once.

Of what a parent does later while a child is on disk, the child is told by that turn.
"""


class Memory:
    """The runs in memory by id, and the way there from the disk and back."""

    def __init__(
        self, journal: Journal, build: Callable[[DocumentRow], Definition], clock: Clock, limit: int
    ) -> None:
        self.runs: dict[str, Hot] = {}
        self._journal = journal
        self._build = build
        self._clock = clock
        self._limit = limit
        self._crowded_at = limit
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._definitions: dict[str, Definition] = {}

    @property
    def loading(self) -> bool:
        """Whether some run is on its way from the disk."""
        return bool(self._loading)

    def knows(self, digest: str) -> bool:
        """Whether a document was made ready, so that it is stored too."""
        return digest in self._definitions

    def define(self, row: DocumentRow) -> Definition:
        """Make a document ready to run, once."""
        found = self._definitions.get(row.digest)
        if found is None:
            found = self._definitions[row.digest] = self._build(row)
        return found

    # ── from the disk ─────────────────────────────────────────────────────────────────

    async def load(self, run: str) -> Hot | None:
        """Return a run from memory or disk; None if it is over or not there.

        One from the disk is `idle`: nobody works on what it wants.
        """
        while run not in self.runs:
            reading = self._loading.get(run)
            # One that is done stays there for a moment: to wait for it would take no time, for ever.
            mine = reading is None or reading.done()
            if mine or reading is None:
                reading = self._claim([run], self._load(run))
            # A run may have been put aside again by the time that whoever waited for it goes on.
            await asyncio.shield(reading)
            if mine:
                break
        return self.runs.get(run)

    async def hand_over(self, run: str, take: Callable[[Hot], None]) -> None:
        """Load a run and hand it over, unless it is over, not there, or its code has to be mended first."""
        try:
            hot = await self.load(run)
        except (Conflict, NotFound):
            return
        if hot is not None:
            take(hot)

    async def load_children(self, hot: Hot) -> list[Hot]:
        """Load the runs that a run waits for, so that they can be cancelled with it; return them all."""
        children: list[Hot] = []
        for command in list(hot.run.open.values()) if hot.run else ():
            if isinstance(command, StartRun):
                try:
                    child = await self.load(child_of(hot.row.id, command.id))
                except (Conflict, NotFound):
                    continue  # It is to be mended first, and cancelled then.
                if child is not None:
                    children += [child, *await self.load_children(child)]
        return children

    async def load_open(self, now: float) -> AsyncIterator[list[Hot]]:
        """Load all runs that are not over, some at a time: those first that have something to do by now.

        Yields those that were not in memory before.
        """
        taken: set[int] = set()
        awaited: _Awaited = {}
        for busy in (True, False):
            after = 0
            while rows := await self._journal.open_runs(after, RECOVERY_CHUNK):
                after = rows[-1].number
                cold = [
                    row
                    for row in rows
                    if row.number not in taken
                    and (not busy or _has_work(row, now))
                    and row.id not in self.runs
                    and row.id not in self._loading
                ]
                if cold:
                    taken.update(row.number for row in cold)
                    await asyncio.shield(self._claim([row.id for row in cold], self._load_all(cold, awaited)))
                    yield [self.runs[row.id] for row in cold if row.id in self.runs]

    async def unread(self, run: str) -> None:
        """Return when nobody reads a run from the disk: one that begins just then would be there twice."""
        while run in self._loading:
            await asyncio.wait([self._loading[run]])

    def _claim(self, runs: Sequence[str], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let one task read runs; it goes on even if whoever asked first does not wait for it."""

        def done(task: asyncio.Task[None]) -> None:
            for run in runs:
                if self._loading.get(run) is task:
                    del self._loading[run]
            if not task.cancelled():
                task.exception()

        task = asyncio.create_task(work)
        for run in runs:
            self._loading[run] = task
        task.add_done_callback(done)
        return task

    async def _load(self, run: str) -> None:
        row = await self._journal.run(run)
        if row is not None and row.ended is None:
            await self._revive(row, *await self._journal.load(row.number), {})

    def renew(self, run: str) -> None:
        """Begin to load a run again that is in memory: its state there cannot be used any more."""
        hot = self.runs.pop(run)
        if hot.run is not None:
            hot.definition.program.forget(hot.run.state)
        # Whoever still works for it finds that it accepts nothing: its next copy begins that work again.
        hot.run = None
        self._claim([run], self._load_flushed(run))

    async def _load_flushed(self, run: str) -> None:
        await self._journal.flush()
        await self._load(run)

    async def query(self, run: str, name: str) -> Json:
        """Return what a run's program has set under a name; raises `NotFound`."""
        hot = await self.load(run)
        finished = None
        if hot is None:
            row = await self._journal.run(run)
            if row is None:
                raise NotFound(f"there is no run {run!r}", hint="`tenuto runs` lists them")
            try:
                hot = finished = await self._fold(row, *await self._journal.load(row.number))
            except Stuck as stuck:
                raise Conflict(
                    f"the run {run} cannot be asked any more: {stuck.message}", hint=stuck.hint
                ) from None
        program = hot.definition.program
        try:
            if hot.run is None:
                raise KeyError(name)
            value = program.query(hot.run.state, name)
        except KeyError:
            raise NotFound(
                f"the run {run} answers no query {name!r}", hint="its code sets it with Query(...).set(value)"
            ) from None
        finally:
            if finished is not None and finished.run is not None:
                program.forget(finished.run.state)
        if hot.unwritten:
            # A run is folded ahead of the disk: nobody is shown what a crash could still take back.
            await self._journal.flush()
        return value

    async def _load_all(self, rows: Sequence[RunRow], awaited: _Awaited) -> None:
        stored = await self._journal.load_many([row.number for row in rows])
        for row in rows:
            try:
                await self._revive(row, *stored[row.number], awaited)
            except StorageFailed:
                raise
            except Exception as error:
                # One run that cannot be read must not keep all others from going on.
                told: dict[str, Any] = {"message": f"the run {row.id} cannot be taken up"}
                if isinstance(error, TenutoError):
                    told["message"] += f": {error.message}"
                else:
                    told["exception"] = error
                asyncio.get_running_loop().call_exception_handler(told)

    async def _revive(
        self, row: RunRow, snapshot: Snapshot | None, entries: list[bytes], awaited: _Awaited
    ) -> None:
        try:
            hot = await self._fold(row, snapshot, entries)
        except Stuck as stuck:
            await self._keep(row, stuck)
            raise Conflict(f"the run {row.id} is kept, suspended: {stuck.message}", hint=stuck.hint) from None
        if hot.run is not None and not hot.run.over:
            hot.lie_idle()
            hot.orphaned = await self._is_orphaned(row, awaited) and not await self._is_told(row)
            self.runs[row.id] = hot

    async def _keep(self, row: RunRow, stuck: Stuck) -> None:
        """Suspend a run that cannot be folded, so that everybody sees why it does not go on."""
        if row.status == "suspended":
            return
        seq = 0
        while page := await self._journal.lines(row.number, after=seq, limit=PAGE):
            seq += page.count(b"\n") + 1
        now = self._clock.now()
        event = Suspended(now, str(stuck))
        _, encoded = entry_of(event, written(event)[1], ())
        change = RunChange(row.number, "suspended", now)
        self._journal.commit(Batch([Append(row.number, seq + 1, encoded)], changes=[change]), lambda: None)
        await self._journal.flush()

    async def _fold(self, row: RunRow, snapshot: Snapshot | None, entries: list[bytes]) -> Hot:
        """Fold a run from its snapshot and the rest of its journal."""
        hot = Hot(row, await self._definition(row), idle=True)
        if snapshot is not None:
            hot.run = decode_run(hot.definition.program, snapshot.state)
            if hot.run is not None:
                hot.seq = hot.stored = snapshot.seq
            else:
                entries = (await self._journal.lines(row.number, limit=ENTRIES_AT_ONCE)).splitlines()
        hot.snapshots.passed(len(entries), sum(map(len, entries)))
        page = [read_entry(data) for data in entries]
        more = len(page) == ENTRIES_AT_ONCE
        while page:
            after = hot.seq + len(page)
            # The next entries are read while these are folded.
            reading = (
                asyncio.ensure_future(self._journal.lines(row.number, after=after, limit=PAGE))
                if more
                else None
            )
            try:
                hot.run = hot.definition.program.recall(hot.run, page)
            except BaseException as error:
                if reading is not None:
                    reading.cancel()
                if isinstance(error, HistoryMismatch):
                    raise HistoryMismatch(error.recorded, error.asked, hot.seq + error.seq) from None
                raise
            hot.seq = after
            if reading is None:
                break
            lines = await reading
            page = read_lines(lines)
            hot.snapshots.passed(len(page), len(lines))
            more = len(page) == PAGE
        return hot

    async def _definition(self, row: RunRow) -> Definition:
        found = self._definitions.get(row.definition)
        if found is not None:
            return found
        document = await self._journal.document(row.definition)
        if document is None:
            raise NotFound(f"the document of run {row.id} is not in the database")
        return self.define(document)

    async def _is_orphaned(self, row: RunRow, awaited: _Awaited) -> bool:
        """Whether the run that waited for this one does so no more: a crash came before it was told."""
        if row.parent is None or row.parent_command is None:
            return False
        parent = self.runs.get(row.parent)
        if parent is not None:
            return parent.run is not None and row.parent_command not in parent.run.open
        if row.parent not in awaited:
            awaited[row.parent] = await self._awaited_by(row.parent)
        commands = awaited[row.parent]
        return commands is not None and row.parent_command not in commands

    async def _awaited_by(self, run: str) -> frozenset[int] | None:
        """Return what a run on disk waits for; None if it goes on only once its code is mended."""
        row = await self._journal.run(run)
        if row is None or row.ended is not None:
            return frozenset()
        try:
            hot = await self._fold(row, *await self._journal.load(row.number))
        except (Stuck, CodeMissing):
            return None
        if hot.run is None:
            return None
        hot.definition.program.forget(hot.run.state)
        return frozenset(hot.run.open)

    async def _is_told(self, row: RunRow) -> bool:
        """Whether a run has heard already that it is not needed: told again, its code could not clean up."""
        async for data in self.entries(row.number):
            event = read_entry(data).event
            if isinstance(event, CancelRequested) and event.reason == NOT_NEEDED:
                return True
        return False

    async def entries(self, number: int) -> AsyncIterator[bytes]:
        """Yield all entries of a run, in order."""
        after = 0
        while page := await self._journal.history(number, after=after):
            for seq, entry in page:
                after = seq
                yield entry

    # ── and back ──────────────────────────────────────────────────────────────────────

    def put_aside(self, needed: Callable[[str], bool]) -> None:
        """If memory is crowded, let go of the oldest runs that only wait, until a tenth of it is free.

        Kept are those that are `needed`, and children that are waited for: what ends a wait for
        them has to be in their journals in the same transaction.
        """
        if len(self.runs) <= self._crowded_at:
            return
        tenth = max(1, self._limit // 10)
        surplus = len(self.runs) - self._limit + tenth
        gone: list[Hot] = []
        for run, hot in self.runs.items():
            if len(gone) >= surplus:
                break
            if _only_waits(hot) and not needed(run):
                gone.append(hot)
        for hot in gone:
            del self.runs[hot.row.id]
        # With more at work than the limit, looking at all of them for each new one would take ever longer.
        self._crowded_at = max(self._limit, len(self.runs) + (0 if len(gone) == surplus else tenth))
        snapshots = [
            snapshot_of(hot.row.number, hot.seq, hot.definition.program, hot.run)
            for hot in gone
            if hot.run is not None and hot.stored < hot.seq
        ]
        taken = [snapshot for snapshot in snapshots if snapshot is not None]
        if taken:
            self._journal.commit(Batch(snapshots=taken), lambda: None)
        for hot in gone:
            if hot.run is not None:
                hot.definition.program.forget(hot.run.state)

    def forget_all(self) -> None:
        """Let go of what the runs' states hold, at the end."""
        for hot in self.runs.values():
            if hot.run is not None and hot.run.state is not None:
                hot.definition.program.forget(hot.run.state)


def _has_work(row: RunRow, now: float) -> bool:
    """Whether a run goes on by itself: it does something, or waits for a time that has come."""
    if row.status == "waiting":
        return row.wake_at is not None and row.wake_at <= now
    return row.status != "suspended"


def _only_waits(hot: Hot) -> bool:
    return (
        hot.run is not None
        and hot.run.status == "waiting"
        and not hot.unwritten
        and not hot.idle
        and not hot.held
        and hot.row.parent_command is None
    )
