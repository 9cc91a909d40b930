"""The journal over a database: many callers, one writer thread, one fsync for all who wait.

    event loop                        writer thread
    commit(batch, done) ─┐
    commit(batch, done) ─┴ queue ──>  take everything queued
    (one put for a turn of the loop)  one transaction, COMMIT with fsync
    done(), done(), ... <── one call_soon_threadsafe

While the writer waits for the disk, the next batches gather. A batch that is alone, with the
writer idle and the disk quick, is written by the loop itself: the way to the writer and back would
take longer than the loop has to wait. An error ends the writing: the transaction is rolled back,
`failed` is called, and no `done` ever again.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeAlias

import msgspec

from tenuto.engine.ports import ENTRIES_AT_ONCE, Batch, DocumentRow, RunChange, RunRow, Snapshot
from tenuto.errors import LimitExceeded, StorageFailed
from tenuto.storage.database import Reading, Row, Step, Writing
from tenuto.storage.queries import Query, read_queries
from tenuto.storage.versions import precedence

ENTRY_BYTES_MAX = 256 * 1024 * 1024
"""The longest entry or snapshot that is accepted."""

INLINE_BYTES_MAX = 4 * 1024 * 1024
"""Longer entries and snapshots are stored by their digest, beside the journal."""

LINES_BYTES_MAX = 16 * 1024 * 1024
"""Entries of a run are asked for in parts of so many bytes: above 1 GB SQLite makes no value at all."""

QUEUE_BYTES_MAX = 64 * 1024 * 1024
"""Above this many bytes handed over and not yet durable, `pressure` is true."""

BATCH_OVERHEAD_BYTES = 512
"""What a batch counts in the queue beside its bytes, so that the bound also bounds their number."""

QUICK_SECONDS = 0.0003
"""A batch that is alone is written by the event loop itself where that has lately taken less."""

OPEN_STATUSES = ("pending", "running", "waiting", "suspended")

_NEWEST = 1 << 62
_Done: TypeAlias = Callable[[], None]
_Work: TypeAlias = tuple[Batch, Sequence[DocumentRow], _Done, int]
_Loaded: TypeAlias = tuple[Snapshot | None, list[bytes]]


class DatabaseReader:
    """The reading verbs of the port `Journal`; they run in a thread of their own."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._queries = read_queries("journal")
        self._document_queries = read_queries("documents")
        self._executor = ThreadPoolExecutor(1, "tenuto-reader")

    async def _do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, function, *arguments)
        except Exception as error:
            raise self._reading.explain(error) from error

    async def _fetch(self, query: Query, **values: Any) -> list[Row]:
        rows: list[Row] = await self._do(self._reading.fetch, query, values)
        return rows

    async def last_number(self) -> int:
        """Return the highest run number, 0 if there is none."""
        ((number,),) = await self._fetch(self._queries["last_number"])
        return int(number)

    async def run(self, run: str) -> RunRow | None:
        """Return a run's row by id."""
        rows = await self._fetch(self._queries["run"], id=run)
        return _run_row(rows[0]) if rows else None

    async def runs(
        self,
        *,
        statuses: Sequence[str] = (),
        parent: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[RunRow]:
        """Return rows, newest first; `before` is the number to page on from."""
        values: dict[str, Any] = {"before": _NEWEST if before is None else before, "limit": limit}
        if statuses or parent is not None:
            values["statuses"] = _json_text(sorted(set(statuses)))
        if parent is not None:
            rows = await self._fetch(self._queries["runs_of_parent"], parent=parent, **values)
        else:
            rows = await self._fetch(self._queries["runs_with_status" if statuses else "runs"], **values)
        return [_run_row(row) for row in rows]

    async def open_runs(self, after: int = 0, limit: int = 1000) -> list[RunRow]:
        """Return rows of runs that are not over, in order of number, past `after`."""
        statuses = _json_text(OPEN_STATUSES)
        rows = await self._fetch(self._queries["open_runs"], statuses=statuses, after=after, limit=limit)
        return [_run_row(row) for row in rows]

    async def load(self, number: int) -> _Loaded:
        """Return the newest snapshot and the entries after it, `ENTRIES_AT_ONCE` at most, in order."""
        return (await self.load_many([number]))[number]

    async def load_many(self, numbers: Sequence[int]) -> dict[int, _Loaded]:
        """Return what `load` gives, for many runs in two queries."""
        loaded: dict[int, _Loaded] = await self._do(self._load_many, numbers)
        return loaded

    def _load_many(self, numbers: Sequence[int]) -> dict[int, _Loaded]:
        fetch = self._reading.fetch
        loaded: dict[int, _Loaded] = {number: (None, []) for number in numbers}
        rows = fetch(self._queries["snapshots_of"], {"runs": _json_text(list(loaded))})
        for number, seq, state in _unpacked(rows):
            loaded[number] = (Snapshot(number, seq, state), [])
        # The entries are asked for after the very snapshots that were read: one that is replaced
        # between the two queries changes nothing.
        after = {number: snapshot.seq if snapshot else 0 for number, (snapshot, _) in loaded.items()}
        rows = fetch(self._queries["entries_of"], {"after": _json_text(after), "most": ENTRIES_AT_ONCE})
        for number, _, entry in sorted(_unpacked(rows), key=_place):
            loaded[number][1].append(entry)
        return loaded

    async def lines(self, number: int, *, after: int = 0, limit: int = 1000) -> bytes:
        """Return entries past `after`, in order, one in each line."""
        parts: list[bytes] = await self._do(self._lines, number, after, limit)
        return b"\n".join(parts)

    def _lines(self, number: int, after: int, limit: int) -> list[bytes]:
        values = {"run": number, "after": after, "limit": limit}
        ((count, size),) = self._reading.fetch(self._queries["size"], values)
        if size > LINES_BYTES_MAX and count > 1:
            half = count // 2
            return self._lines(number, after, half) + self._lines(number, after + half, count - half)
        ((lines,),) = self._reading.fetch(self._queries["lines"], values)
        return [lines] if count else []

    async def history(self, number: int, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """Return (seq, entry) pairs past `after`, in order."""
        entries: list[tuple[int, bytes]] = await self._do(self._history, number, after, limit)
        return entries

    def _history(self, number: int, after: int, limit: int) -> list[tuple[int, bytes]]:
        values = {"run": number, "after": after, "limit": limit}
        rows = self._reading.fetch(self._queries["history"], values)
        return [(seq, entry) for _, seq, entry in sorted(_unpacked(rows), key=_place)]

    async def document(self, digest: str) -> DocumentRow | None:
        """Return a document by digest."""
        rows = await self._fetch(self._document_queries["document"], digest=digest)
        return _document_row(rows[0]) if rows else None

    async def find_document(self, namespace: str, name: str, version: str) -> DocumentRow | None:
        """Return the newest stored document of that name; version `latest` means the highest."""
        named = {"namespace": namespace, "name": name}
        if version == "latest":
            versions = await self._fetch(self._document_queries["versions"], **named)
            if not versions:
                return None
            version = max((text for (text,) in versions), key=precedence)
        rows = await self._fetch(self._document_queries["find"], **named, version=version)
        return _document_row(rows[0]) if rows else None

    async def close(self) -> None:
        """Let go of the database."""
        await self._do(self._reading.close)
        self._executor.shutdown()


class DatabaseJournal(DatabaseReader):
    """The port `Journal` over any database that has a reading and a writing half."""

    def __init__(
        self,
        reading: Reading,
        writing: Writing,
        *,
        failed: Callable[[BaseException], None],
        release: Callable[[], None],
    ) -> None:
        """Start the writer. `release` is called last, when the journal is closed."""
        super().__init__(reading)
        self._writing = writing
        self._failed = failed
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._turn: list[_Work] = []  # handed over in this turn of the loop
        self._queue: SimpleQueue[list[_Work] | None] = SimpleQueue()
        self._at_writer = 0  # how many works the writer has whose end the loop has not heard of
        self._lone_seconds = QUICK_SECONDS  # how long a lone batch takes, the latest counting a fifth
        self._queued_bytes = 0
        self._refusal: StorageFailed | None = None
        self._has_failed = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._closing: asyncio.Future[None] | None = None
        self._writer = threading.Thread(target=self._write_all, name="tenuto-writer", daemon=True)
        self._writer.start()

    async def _do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await super()._do(function, *arguments)
        except StorageFailed as error:
            # What cannot be read must not become the outcome of whatever asked for it.
            if self._refusal is None:
                self._take_failure(error)
            raise

    def commit(self, batch: Batch, done: Callable[[], None]) -> None:
        """Hand over a batch. `done` is called only after the fsync of its transaction."""
        size = BATCH_OVERHEAD_BYTES
        for append in batch.appends:
            size += _measured(append.entry)
        for snapshot in batch.snapshots:
            size += _measured(snapshot.state)
        self._hand_over((batch, (), done, size))

    def _hand_over(self, work: _Work) -> None:
        if self._refusal is not None:
            raise StorageFailed(self._refusal.message, hint=self._refusal.hint)
        self._queued_bytes += work[3]
        self._turn.append(work)
        if len(self._turn) == 1:
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Write what this turn of the loop has handed over, or give it to the writer."""
        works, self._turn = self._turn, []
        if len(works) == 1 and not self._at_writer and self._lone_seconds < QUICK_SECONDS:
            self._write_here(works)
        elif works:
            self._at_writer += len(works)
            self._queue.put(works)

    def _write_here(self, works: list[_Work]) -> None:
        try:
            self._write(works)
        except BaseException as error:
            self._take_failure(self._writing.explain(error))
        else:
            self._take_durable([work[2] for work in works], works[0][3])

    @property
    def pressure(self) -> bool:
        """True while more than `QUEUE_BYTES_MAX` wait to be written: hand over no more."""
        return self._queued_bytes > QUEUE_BYTES_MAX

    async def drained(self) -> None:
        """Return when there is no pressure; raise `StorageFailed` if there will be no relief."""
        while self.pressure:
            await self.flush()

    async def flush(self) -> None:
        """Return when everything handed over before is durable; raise `StorageFailed` if it cannot be."""
        await self._durable(())

    async def put_documents(self, documents: Sequence[DocumentRow]) -> None:
        """Store documents durably; one that is there stays as it is."""
        await self._durable(documents)

    async def _durable(self, documents: Sequence[DocumentRow]) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._hand_over((Batch(), documents, lambda: _resolve(waiter), 0))
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def close(self) -> None:
        """Make everything handed over durable, then let go of the database.

        Raises nothing for a store that failed: `failed` was told.
        """
        if self._closing is None:
            if self._refusal is None:
                self._refusal = StorageFailed("the journal is closed")
            self._end_turn()
            self._queue.put(None)
            self._closing = self._loop.run_in_executor(self._executor, self._shut)
        await asyncio.shield(self._closing)
        self._executor.shutdown()

    def _shut(self) -> None:
        self._writer.join()
        try:
            self._reading.close()
            self._writing.close()
        finally:
            self._release()

    # ── the writer's thread ──────────────────────────────────────────────────────────────

    def _write_all(self) -> None:
        queue = self._queue
        try:
            while (works := queue.get()) is not None:
                last = False
                for _ in range(queue.qsize()):
                    more = queue.get()
                    if more is None:
                        last = True
                    else:
                        works += more
                self._write(works)
                self._call(self._take_written, [work[2] for work in works], sum(work[3] for work in works))
                if last:
                    return
        except BaseException as error:
            self._call(self._take_failure, self._writing.explain(error))

    def _write(self, works: list[_Work]) -> None:
        """Make works durable, on either thread; only one of them writes at a time."""
        began = time.perf_counter()
        steps = self._steps(works)
        if steps:
            self._writing.write(steps)
        if len(works) == 1:
            self._lone_seconds += (time.perf_counter() - began - self._lone_seconds) / 5

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop was closed before the journal; nobody is left who could be told.
            self._queue.put(None)

    def _steps(self, works: Sequence[_Work]) -> list[Step]:
        """Return all that the works ask for, one step for each kind of row, in an order that fits."""
        created: list[Any] = []
        appends: list[Any] = []
        large: list[Any] = []
        blobs: list[Any] = []
        changes: dict[int, RunChange] = {}
        snapshots: dict[int, Snapshot] = {}
        documents: list[Any] = []
        for batch, batch_documents, _, _ in works:
            for append in batch.appends:
                if len(append.entry) <= INLINE_BYTES_MAX:
                    appends += (append.number, append.seq, append.entry)
                else:
                    large += (append.number, append.seq, _put_blob(append.entry, blobs))
            for row in batch.created:
                created += _run_values(row)
            for change in batch.changes:
                former = changes.get(change.number)
                changes[change.number] = change if former is None else merged(former, change)
            for snapshot in batch.snapshots:
                snapshots[snapshot.number] = snapshot
            for document in batch_documents:
                documents += msgspec.structs.astuple(document)
        changed = [value for change in changes.values() for value in _change_values(change)]
        folded = [value for snapshot in snapshots.values() for value in _snapshot_values(snapshot, blobs)]
        queries = self._queries
        steps = [
            (queries["create"], created),
            (queries["append"], appends),
            (queries["store_blob"], blobs),
            (queries["append_large"], large),
            (queries["change"], changed),
            (queries["snapshot"], folded),
            (self._document_queries["put"], documents),
        ]
        return [step for step in steps if step[1]]

    # ── back on the event loop's thread ──────────────────────────────────────────────────

    def _take_written(self, dones: Sequence[_Done], size: int) -> None:
        self._at_writer -= len(dones)
        self._take_durable(dones, size)

    def _take_durable(self, dones: Sequence[_Done], size: int) -> None:
        self._queued_bytes -= size
        if self._has_failed:
            return  # Written after a read has failed: it is there, and nobody is told any more.
        for done in dones:
            try:
                done()
            except Exception as error:
                # One caller's mistake must not keep the others from hearing of their commit.
                self._loop.call_exception_handler(
                    {"message": "a journal callback failed", "exception": error}
                )

    def _take_failure(self, error: StorageFailed) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        self._refusal = error
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(StorageFailed(error.message, hint=error.hint))
        self._failed(error)


def merged(former: RunChange, later: RunChange) -> RunChange:
    """Return the one change that does what two changes of a run do in this order."""
    ended = former.ended if later.ended is None else later.ended
    outcome = former.outcome if later.outcome is None else later.outcome
    return RunChange(later.number, later.status, later.updated, later.wake_at, ended, outcome)


def _measured(data: bytes) -> int:
    size = len(data)
    if size > ENTRY_BYTES_MAX:
        raise LimitExceeded(
            f"an entry of {size} bytes is longer than ENTRY_BYTES_MAX, {ENTRY_BYTES_MAX} bytes",
            hint="Pass a reference to large data instead of the data.",
        )
    return size


def _put_blob(data: bytes, blobs: list[Any]) -> bytes:
    digest = hashlib.sha256(data).digest()
    blobs += (digest, data)
    return digest


def _json_text(value: Sequence[object] | Mapping[int, int]) -> str:
    return msgspec.json.encode(value).decode()


def _unpacked(rows: Iterable[Row]) -> Iterator[tuple[int, int, bytes]]:
    """Yield (run, seq, bytes) of rows that `journal.sql` packed."""
    for (packed,) in rows:
        for item in packed.split(","):
            run, seq, data = item.split(" ")
            yield int(run), int(seq), bytes.fromhex(data)


def _place(entry: tuple[int, int, bytes]) -> tuple[int, int]:
    return entry[:2]


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _encoded(outcome: dict[str, Any] | None) -> bytes | None:
    return None if outcome is None else msgspec.json.encode(outcome)


def _run_values(row: RunRow) -> tuple[Any, ...]:
    return (*msgspec.structs.astuple(row)[:-1], _encoded(row.outcome))


def _run_row(row: Row) -> RunRow:
    *plain, outcome = row
    decoded = None if outcome is None else msgspec.json.decode(outcome)
    return RunRow(**dict(zip(RunRow.__struct_fields__, plain, strict=False)), outcome=decoded)


def _change_values(change: RunChange) -> tuple[Any, ...]:
    ended, outcome = change.ended, _encoded(change.outcome)
    return (change.number, change.status, change.updated, change.wake_at, ended, outcome)


def _snapshot_values(snapshot: Snapshot, blobs: list[Any]) -> tuple[Any, ...]:
    if len(snapshot.state) <= INLINE_BYTES_MAX:
        return (snapshot.number, snapshot.seq, snapshot.state, None)
    return (snapshot.number, snapshot.seq, None, _put_blob(snapshot.state, blobs))


def _document_row(row: Row) -> DocumentRow:
    return DocumentRow(**dict(zip(DocumentRow.__struct_fields__, row, strict=True)))
