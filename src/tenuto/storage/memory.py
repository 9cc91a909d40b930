"""A journal that lives in memory: for trying things out and for simulation; nothing is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from tenuto.engine.model import TERMINAL
from tenuto.engine.ports import ENTRIES_AT_ONCE, Append, Batch, DocumentRow, RunRow, Snapshot
from tenuto.errors import LimitExceeded, StorageFailed
from tenuto.storage.journal import ENTRY_BYTES_MAX
from tenuto.storage.versions import precedence


class MemoryJournal:
    """The port `Journal` over dictionaries; `done` is called on the loop's next turn."""

    def __init__(self, *, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._refusal: StorageFailed | None = None
        self._runs: dict[int, RunRow] = {}
        self._numbers: dict[str, int] = {}
        self._entries: dict[int, dict[int, bytes]] = {}
        self._snapshots: dict[int, Snapshot] = {}
        self._documents: dict[str, DocumentRow] = {}

    @property
    def pressure(self) -> bool:
        """False: what is handed over is taken at once."""
        return False

    async def drained(self) -> None:
        """Return at once: there is never pressure."""

    def commit(self, batch: Batch, done: Callable[[], None]) -> None:
        """Take a batch over, or fail for good if something in it is taken already."""
        self._check_open()
        parts = [append.entry for append in batch.appends] + [shot.state for shot in batch.snapshots]
        if any(len(part) > ENTRY_BYTES_MAX for part in parts):
            raise LimitExceeded(f"an entry is longer than ENTRY_BYTES_MAX, {ENTRY_BYTES_MAX} bytes")
        loop = asyncio.get_running_loop()
        clash = self._clash(batch)
        if clash:
            self._refusal = StorageFailed(clash)
            loop.call_soon(self._failed, self._refusal)
            return
        for row in batch.created:
            self._runs[row.number] = row
            self._numbers[row.id] = row.number
        for append in batch.appends:
            self._entries.setdefault(append.number, {})[append.seq] = append.entry
        for change in batch.changes:
            if change.number in self._runs:
                given = {"status": change.status, "updated": change.updated, "wake_at": change.wake_at}
                kept = {"ended": change.ended, "outcome": change.outcome}
                given.update({name: value for name, value in kept.items() if value is not None})
                self._runs[change.number] = msgspec.structs.replace(self._runs[change.number], **given)
        for snapshot in batch.snapshots:
            self._snapshots[snapshot.number] = snapshot
        loop.call_soon(done)

    def _check_open(self) -> None:
        if self._refusal is not None:
            raise StorageFailed(self._refusal.message)

    def _clash(self, batch: Batch) -> str | None:
        """Return what in a batch is there already, in the store or twice in the batch."""
        numbers: set[int] = set()
        ids: set[str] = set()
        for row in batch.created:
            if row.number in self._runs or row.number in numbers:
                return f"run number {row.number} is taken"
            if row.id in self._numbers or row.id in ids:
                return f"run id {row.id} is taken"
            numbers.add(row.number)
            ids.add(row.id)
        taken: set[tuple[int, int]] = set()
        for append in batch.appends:
            place = (append.number, append.seq)
            if place in taken or self._has(append):
                return f"entry {append.seq} of run {append.number} is there already"
            taken.add(place)
        return None

    def _has(self, append: Append) -> bool:
        return append.seq in self._entries.get(append.number, ())

    async def flush(self) -> None:
        """Return when every `done` so far was called."""
        self._check_open()
        called = asyncio.Event()
        asyncio.get_running_loop().call_soon(called.set)
        await called.wait()

    async def last_number(self) -> int:
        """Return the highest run number, 0 if there is none."""
        return max(self._runs, default=0)

    async def run(self, run: str) -> RunRow | None:
        """Return a run's row by id."""
        number = self._numbers.get(run)
        return None if number is None else self._runs[number]

    async def runs(
        self,
        *,
        statuses: Sequence[str] = (),
        parent: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[RunRow]:
        """Return rows, newest first; `before` is the number to page on from."""
        rows = [
            row
            for number, row in sorted(self._runs.items(), reverse=True)
            if (before is None or number < before)
            and (not statuses or row.status in statuses)
            and (parent is None or row.parent == parent)
        ]
        return rows[:limit]

    async def open_runs(self, after: int = 0, limit: int = 1000) -> list[RunRow]:
        """Return rows of runs that are not over, in order of number, past `after`."""
        numbers = [n for n, row in sorted(self._runs.items()) if n > after and row.status not in TERMINAL]
        return [self._runs[number] for number in numbers[:limit]]

    async def load(self, number: int) -> tuple[Snapshot | None, list[bytes]]:
        """Return the newest snapshot and the entries after it, `ENTRIES_AT_ONCE` at most, in order."""
        snapshot = self._snapshots.get(number)
        after = snapshot.seq if snapshot else 0
        entries = sorted(self._entries.get(number, {}).items())
        return snapshot, [entry for seq, entry in entries if seq > after][:ENTRIES_AT_ONCE]

    async def load_many(self, numbers: Sequence[int]) -> dict[int, tuple[Snapshot | None, list[bytes]]]:
        """Return what `load` gives, for many runs."""
        return {number: await self.load(number) for number in numbers}

    async def lines(self, number: int, *, after: int = 0, limit: int = 1000) -> bytes:
        """Return entries past `after`, in order, one in each line."""
        return b"\n".join(entry for _, entry in await self.history(number, after=after, limit=limit))

    async def history(self, number: int, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """Return (seq, entry) pairs past `after`, in order."""
        entries = sorted(self._entries.get(number, {}).items())
        return [(seq, entry) for seq, entry in entries if seq > after][:limit]

    async def put_documents(self, documents: Sequence[DocumentRow]) -> None:
        """Store documents; one that is there stays as it is."""
        self._check_open()
        for document in documents:
            self._documents.setdefault(document.digest, document)

    async def document(self, digest: str) -> DocumentRow | None:
        """Return a document by digest."""
        return self._documents.get(digest)

    async def find_document(self, namespace: str, name: str, version: str) -> DocumentRow | None:
        """Return the newest stored document of that name; version `latest` means the highest."""
        found = [d for d in self._documents.values() if (d.namespace, d.name) == (namespace, name)]
        if version == "latest":
            version = max((document.version for document in found), key=precedence, default=version)
        return next((document for document in reversed(found) if document.version == version), None)

    async def close(self) -> None:
        """Refuse everything from now on, when every `done` was called."""
        if self._refusal is None:
            await self.flush()
            self._refusal = StorageFailed("the journal is closed")
