"""A disk with a database on it, and the store of a process that writes to it: the port `Journal`, simulated.

    commit(batch, done) ─┐                     latency, then the fsync          latency
    commit(batch, done) ─┴ next transaction ──────────────▶ Disk.apply ──────────────▶ done(), done(), ...

As `storage.journal` does it: whatever was handed over while a transaction was under way is the next one, a lone
batch may be written at once, and after a failure nothing is acknowledged any more. What is on the disk
survives the process, all else is lost with it. Faults come at the transactions that a `Fault` names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from tenuto.engine.model import TERMINAL
from tenuto.engine.ports import Batch, DocumentRow, RunChange, RunRow, Snapshot
from tenuto.errors import Conflict, LimitExceeded, StorageFailed
from tenuto.storage.journal import ENTRY_BYTES_MAX
from tenuto.storage.versions import precedence
from tests.reliability.simulation.loop import Loop

T = TypeVar("T")

Fault: TypeAlias = Literal["crash before fsync", "crash after fsync", "fails", "done and reported as failed"]
FAULTS: Final[tuple[Fault, ...]] = (
    "crash before fsync",
    "crash after fsync",
    "fails",
    "done and reported as failed",
)

FAILS_SOON: Final = "will soon fail"
_SOON: Final = 4
_FAILURES: Final[tuple[Fault, ...]] = ("fails", "done and reported as failed")

_Work: TypeAlias = tuple[Batch, Sequence[DocumentRow], Callable[[], None], int]

# How long a reading and the way between two threads take, at most; now and then an fsync takes long.
_STALL_SECONDS: Final = 1.0
_STALL_ONE_IN: Final = 100
_READ_SECONDS: Final = 0.002
_HANDOVER_SECONDS: Final = 0.0005


class Disk:
    """What is durable. `holder` is the life of the process that has it open.

    `twice` hears of what somebody writes although it is there already: no fault of a disk does that.
    """

    def __init__(self, twice: Callable[[str], None]) -> None:
        self._twice = twice
        self.runs: dict[int, RunRow] = {}
        self.numbers: dict[str, int] = {}
        self.entries: dict[int, dict[int, bytes]] = {}
        self.snapshots: dict[int, Snapshot] = {}
        self.documents: dict[str, DocumentRow] = {}
        self.transactions = 0
        self.holder: int | None = None

    def hold(self, life: int) -> None:
        """Take the lock; raises `Conflict` if another process has it."""
        if self.holder is not None:
            raise Conflict("another process holds the database")
        self.holder = life

    def apply(self, works: Sequence[_Work]) -> None:
        """Write a transaction, whole or not at all.

        Raises:
            StorageFailed: Something in it is there already.
        """
        there = self._there(works)
        if there is not None:
            self._twice(there)
            raise StorageFailed(there)
        self.transactions += 1
        for batch, documents, _, _ in works:
            for row in batch.created:
                self.runs[row.number] = row
                self.numbers[row.id] = row.number
            for append in batch.appends:
                self.entries.setdefault(append.number, {})[append.seq] = append.entry
            for change in batch.changes:
                if change.number in self.runs:
                    self.runs[change.number] = _changed(self.runs[change.number], change)
            for snapshot in batch.snapshots:
                self.snapshots[snapshot.number] = snapshot
            for document in documents:
                self.documents.setdefault(document.digest, document)

    def _there(self, works: Sequence[_Work]) -> str | None:
        """Return what of a transaction is there already, if anything."""
        numbers, ids = set(self.runs), set(self.numbers)
        taken: set[tuple[int, int]] = set()
        for batch, _, _, _ in works:
            for row in batch.created:
                if row.number in numbers or row.id in ids:
                    return f"run {row.number} ({row.id}) is there already"
                numbers.add(row.number)
                ids.add(row.id)
            for append in batch.appends:
                place = (append.number, append.seq)
                if place in taken or append.seq in self.entries.get(append.number, ()):
                    return f"entry {append.seq} of run {append.number} is there already"
                taken.add(place)
        return None

    def journal(self, number: int) -> list[tuple[int, bytes]]:
        """Return a run's entries, in order."""
        return sorted(self.entries.get(number, {}).items())


def _changed(row: RunRow, change: RunChange) -> RunRow:
    return msgspec.structs.replace(
        row,
        status=change.status,
        updated=change.updated,
        wake_at=change.wake_at,
        ended=row.ended if change.ended is None else change.ended,
        outcome=row.outcome if change.outcome is None else change.outcome,
    )


class Reader:
    """The reading half: one thread of its own, one reading after the other, each at one moment."""

    def __init__(self, disk: Disk, loop: Loop, chance: Random, *, entries_at_once: int) -> None:
        self.disk = disk
        self.loop = loop
        self.chance = chance
        self._entries_at_once = entries_at_once
        self._busy_until = 0.0

    async def _read(self, function: Callable[[], T]) -> T:
        answer: asyncio.Future[T] = self.loop.create_future()

        def read() -> None:
            value = function()
            self.loop.call_later(self.chance.random() * _HANDOVER_SECONDS, _give, answer, value)

        begins = max(self.loop.time(), self._busy_until)
        self._busy_until = begins + self.chance.random() * _READ_SECONDS
        self.loop.call_at(self._busy_until, read)
        return await answer

    async def last_number(self) -> int:
        """Return the highest run number, 0 if there is none."""
        return await self._read(lambda: max(self.disk.runs, default=0))

    async def run(self, run: str) -> RunRow | None:
        """Return a run's row by id."""
        return await self._read(lambda: self.disk.runs.get(self.disk.numbers.get(run, 0)))

    async def runs(
        self,
        *,
        statuses: Sequence[str] = (),
        parent: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[RunRow]:
        """Return rows, newest first."""
        rows = await self._read(lambda: sorted(self.disk.runs.items(), reverse=True))
        return [
            row
            for number, row in rows
            if (before is None or number < before)
            and (not statuses or row.status in statuses)
            and (parent is None or row.parent == parent)
        ][:limit]

    async def open_runs(self, after: int = 0, limit: int = 1000) -> list[RunRow]:
        """Return rows of runs that are not over, in order of number, past `after`."""
        rows = await self._read(lambda: sorted(self.disk.runs.items()))
        return [row for number, row in rows if number > after and row.status not in TERMINAL][:limit]

    async def load(self, number: int) -> tuple[Snapshot | None, list[bytes]]:
        """Return the newest snapshot and the entries after it."""
        return (await self.load_many([number]))[number]

    async def load_many(self, numbers: Sequence[int]) -> dict[int, tuple[Snapshot | None, list[bytes]]]:
        """Return what `load` gives, for many runs."""
        return await self._read(lambda: {number: self._load(number) for number in numbers})

    def _load(self, number: int) -> tuple[Snapshot | None, list[bytes]]:
        snapshot = self.disk.snapshots.get(number)
        after = snapshot.seq if snapshot else 0
        return snapshot, [entry for seq, entry in self.disk.journal(number) if seq > after][
            : self._entries_at_once
        ]

    async def lines(self, number: int, *, after: int = 0, limit: int = 1000) -> bytes:
        """Return entries past `after`, in order, one in each line."""
        return b"\n".join(entry for _, entry in await self.history(number, after=after, limit=limit))

    async def history(self, number: int, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """Return (seq, entry) pairs past `after`, in order."""
        entries = await self._read(lambda: self.disk.journal(number))
        return [(seq, entry) for seq, entry in entries if seq > after][:limit]

    async def document(self, digest: str) -> DocumentRow | None:
        """Return a document by digest."""
        return await self._read(lambda: self.disk.documents.get(digest))

    async def find_document(self, namespace: str, name: str, version: str) -> DocumentRow | None:
        """Return the newest stored document of that name; version `latest` means the highest."""
        documents = await self._read(lambda: list(self.disk.documents.values()))
        found = [each for each in documents if (each.namespace, each.name) == (namespace, name)]
        if version == "latest":
            version = max((each.version for each in found), key=precedence, default=version)
        return next((each for each in reversed(found) if each.version == version), None)


class Store(Reader):
    """The store of one process; see the module's text."""

    def __init__(
        self,
        disk: Disk,
        loop: Loop,
        chance: Random,
        *,
        failed: Callable[[BaseException], None],
        faults: dict[int, Fault],
        queue_bytes_max: int,
        entries_at_once: int,
        fsync_seconds: float,
        told: Callable[[str], None],
    ) -> None:
        """Write to a disk; `faults` come at the transactions of these numbers, `told` hears what happens."""
        super().__init__(disk, loop, chance, entries_at_once=entries_at_once)
        self._failed = failed
        self._faults = faults
        self._queue_bytes_max = queue_bytes_max
        self._fsync_seconds = fsync_seconds
        self._told = told
        self._turn: list[_Work] = []
        self._queue: list[_Work] = []
        self._writing: list[_Work] = []
        self._at_writer = 0
        self._queued_bytes = 0
        self._transactions = 0
        self._refusal: StorageFailed | None = None
        self._broken = False  # the writer has ended; the loop may not have heard of it yet
        self.failed_on_purpose = False
        """Whether a fault of the plan has come that says so: nothing else may fail it."""
        self._waiters: dict[asyncio.Future[None], None] = {}

    # ── what is asked ─────────────────────────────────────────────────────────────────

    def commit(self, batch: Batch, done: Callable[[], None]) -> None:
        """Hand over a batch; `done` is called after the fsync of its transaction."""
        parts = [append.entry for append in batch.appends] + [shot.state for shot in batch.snapshots]
        if any(len(part) > ENTRY_BYTES_MAX for part in parts):
            raise LimitExceeded(f"an entry is longer than ENTRY_BYTES_MAX, {ENTRY_BYTES_MAX} bytes")
        self._hand_over((batch, (), done, sum(map(len, parts))))

    @property
    def pressure(self) -> bool:
        """Whether more is handed over and not yet durable than the store wants to hold."""
        return self._queued_bytes > self._queue_bytes_max

    async def drained(self) -> None:
        """Return when there is no pressure."""
        while self.pressure:
            await self.flush()

    async def flush(self) -> None:
        """Return when everything handed over before is durable."""
        await self._durable(())

    async def put_documents(self, documents: Sequence[DocumentRow]) -> None:
        """Store documents durably."""
        await self._durable(documents)

    async def close(self) -> None:
        """Make everything handed over durable, then let go of the disk."""
        if self._refusal is None:
            await self.flush()
            self._refusal = StorageFailed("the journal is closed")
        self.disk.holder = None

    async def _durable(self, documents: Sequence[DocumentRow]) -> None:
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._hand_over((Batch(), documents, lambda: _give(waiter, None), 0))
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            del self._waiters[waiter]

    # ── the writer ────────────────────────────────────────────────────────────────────

    def _hand_over(self, work: _Work) -> None:
        if self._refusal is not None:
            raise StorageFailed(self._refusal.message)
        self._queued_bytes += work[3]
        self._turn.append(work)
        if len(self._turn) == 1:
            self.loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        works, self._turn = self._turn, []
        if len(works) == 1 and not self._at_writer and self.chance.random() < 0.5:
            self._write_here(works)
        elif works:
            self._at_writer += len(works)
            self._queue += works
            if not self._writing:
                self._soon(self._begin)

    def _write_here(self, works: list[_Work]) -> None:
        """Write a lone batch at once, on the loop's own thread."""
        try:
            alive = self._write(works)
        except StorageFailed as error:
            self._broken = True
            self._take_failure(error)
        else:
            if alive:
                self._take_durable(works)

    def _begin(self) -> None:
        """Begin a transaction with all that was handed over."""
        if self._writing or not self._queue or self._broken:
            return
        self._writing, self._queue = self._queue, []
        self._warn()
        seconds = self.chance.random() * self._fsync_seconds
        if self.chance.random() * _STALL_ONE_IN < 1:
            seconds = self.chance.random() * _STALL_SECONDS
        self.loop.call_later(seconds, self._sync)

    def _sync(self) -> None:
        """End a transaction; the loop hears of it later, while the next may have begun."""
        works = self._writing
        try:
            self._write(works)
        except StorageFailed as error:
            self._broken = True
            self._soon(self._take_failure, error)
            return
        self._soon(self._take_written, works)  # who is killed just now does not come to that
        self._writing = []
        self._begin()

    def _soon(self, function: Callable[..., None], *arguments: Any) -> None:
        self.loop.call_later(self.chance.random() * _HANDOVER_SECONDS, function, *arguments)

    def _write(self, works: list[_Work]) -> bool:
        """Write a transaction; a fault may come just now. Return whether the process outlives it.

        Raises:
            StorageFailed: It could not be written, or so it is said.
        """
        self._transactions += 1
        fault = self._faults.get(self._transactions)
        if fault is not None:
            self._told(fault)
        if fault == "crash before fsync":
            self._broken = True
            self.loop.crash()
            return False
        self.failed_on_purpose |= fault in _FAILURES
        if fault == "fails":
            raise StorageFailed("the disk is full")
        self.disk.apply(works)
        self._told(f"durable {len(works)}")
        self._warn()
        if fault == "crash after fsync":
            self.loop.crash()
            return False
        if fault == "done and reported as failed":
            raise StorageFailed("disk I/O error")
        return True

    def _warn(self) -> None:
        """Tell if one of the next transactions fails."""
        soon = range(self._transactions + 1, self._transactions + _SOON)
        if any(self._faults.get(number) in _FAILURES for number in soon):
            self._told(FAILS_SOON)

    def torn(self) -> bool:
        """The process was killed: a transaction that was under way is on the disk, or it is not."""
        if not self._writing or self._broken or self.chance.random() < 0.5:
            return False
        try:
            self.disk.apply(self._writing)
        except StorageFailed:
            return False
        return True

    # ── back on the loop ──────────────────────────────────────────────────────────────

    def _take_written(self, works: list[_Work]) -> None:
        self._at_writer -= len(works)
        self._take_durable(works)

    def _take_durable(self, works: list[_Work]) -> None:
        for _, _, _, size in works:
            self._queued_bytes -= size
        for _, _, done, _ in works:
            try:
                done()
            except Exception as error:
                self.loop.call_exception_handler({"message": "a journal callback failed", "exception": error})

    def _take_failure(self, error: StorageFailed) -> None:
        self._refusal = error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(StorageFailed(error.message))
        self._failed(error)


def _give(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)
