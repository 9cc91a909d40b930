"""What the engine needs from outside: few verbs each, implemented by doers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from tenuto.engine.model import Entry, Event, Json

ENTRIES_AT_ONCE: Final = 1_000
"""How many entries of a run `History.load` returns at most."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run without reading its journal. Times in seconds since the epoch.

    `number` is the store's short name for the run, given by the single writer, from 1.
    `definition` is the digest of the document it runs. `wake_at` is its earliest timer.
    `outcome` is `{"output": ...}` or `{"error": ...}` once the run is over.
    `origin` names the run whose history this one took over (`retry --from`), with the
    number of shared entries.
    """

    number: int
    id: str
    definition: str
    namespace: str
    name: str
    version: str
    status: str
    started: float
    updated: float
    ended: float | None = None
    wake_at: float | None = None
    parent: str | None = None
    parent_command: int | None = None
    origin: str | None = None
    origin_entries: int | None = None
    outcome: dict[str, Json] | None = None


class RunChange(msgspec.Struct, frozen=True, gc=False):
    """New values of a run's row; a None leaves `ended` and `outcome` as they are."""

    number: int
    status: str
    updated: float
    wake_at: float | None = None
    ended: float | None = None
    outcome: dict[str, Json] | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """One encoded entry at position `seq` (from 1, without gaps) of run `number`'s journal."""

    number: int
    seq: int
    entry: bytes


class Snapshot(msgspec.Struct, frozen=True):
    """A run's folded state after entry `seq`; a cache that may be thrown away."""

    number: int
    seq: int
    state: bytes


class Batch(msgspec.Struct, frozen=True, gc=False):
    """What has to become durable together, or not at all."""

    appends: Sequence[Append] = ()
    created: Sequence[RunRow] = ()
    changes: Sequence[RunChange] = ()
    snapshots: Sequence[Snapshot] = ()


class DocumentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow document as it was given: immutable, known by its digest.

    `origin` is the file it was read from, if any (an absolute path). `kind` is `document`, or
    `python` for a workflow in Python, whose `source` is its code, and `origin` its module or file.
    """

    digest: str
    namespace: str
    name: str
    version: str
    source: str
    origin: str | None = None
    kind: str = "document"


class History(Protocol):
    """The reading half of `Journal`; a database that another process holds can be read too."""

    async def last_number(self) -> int:
        """Return the highest run number, 0 if there is none."""

    async def run(self, run: str) -> RunRow | None:
        """Return a run's row by id."""

    async def runs(
        self,
        *,
        statuses: Sequence[str] = (),
        parent: str | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[RunRow]:
        """Return rows, newest first; `before` is the number to page on from."""

    async def open_runs(self, after: int = 0, limit: int = 1000) -> list[RunRow]:
        """Return rows of runs that are not over, in order of number, past `after`."""

    async def load(self, number: int) -> tuple[Snapshot | None, list[bytes]]:
        """Return the newest snapshot and the entries after it (or the first entries), in order.

        At most `ENTRIES_AT_ONCE` of these; `lines` gives the rest.
        """

    async def load_many(self, numbers: Sequence[int]) -> dict[int, tuple[Snapshot | None, list[bytes]]]:
        """Return what `load` gives, for many runs in few round trips."""

    async def lines(self, number: int, *, after: int = 0, limit: int = 1000) -> bytes:
        """Return entries past `after`, in order, as they are stored: JSON, one in each line."""

    async def history(self, number: int, *, after: int = 0, limit: int = 1000) -> list[tuple[int, bytes]]:
        """Return (seq, entry) pairs past `after`, in order."""

    async def document(self, digest: str) -> DocumentRow | None:
        """Return a document by digest."""

    async def find_document(self, namespace: str, name: str, version: str) -> DocumentRow | None:
        """Return the newest stored document of that name; version `latest` means the highest."""

    async def close(self) -> None:
        """Let go of the database."""


class Journal(History, Protocol):
    """The durable store of runs, their journals and their documents.

    `commit` returns at once; the store gathers what has been handed to it since the last
    transaction, writes it in one transaction with fsync, and then calls every `done` of that
    batch on the event loop's thread, in the order in which they came. If the store fails it
    calls `failed` once (given when it was opened) and never calls a `done` again.
    """

    def commit(self, batch: Batch, done: Callable[[], None]) -> None:
        """Hand over a batch. `done` is called only after the fsync of its transaction."""

    @property
    def pressure(self) -> bool:
        """True while more is handed over and not yet durable than the store wants to hold."""

    async def drained(self) -> None:
        """Return when there is no pressure; raise `StorageFailed` if there will be no relief."""

    async def flush(self) -> None:
        """Return when everything handed over before is durable."""

    async def put_documents(self, documents: Sequence[DocumentRow]) -> None:
        """Store documents durably; one that is there stays as it is."""

    async def close(self) -> None:
        """Make everything handed over durable, then let go of the database."""


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""


class Chance(Protocol):
    """Where ids and nonces come from."""

    def token(self) -> str:
        """Return 128 random bits as 32 hexadecimal digits."""


class Runner(Protocol):
    """Drives runs: what the doors' operations ask of the worker."""

    async def start(self, definition: DocumentRow, data: Json, *, run: str | None = None) -> str:
        """Start a run and return its id once the start is durable.

        Starting an id again with the same definition and input returns the run that is there;
        with others it raises `Conflict`.
        """

    async def tell(self, run: str, event: Event) -> None:
        """Give a run an event from outside; returns when it is durable."""

    async def publish(self, event: dict[str, Json]) -> None:
        """Tell every run that listens of a CloudEvent; returns when that is durable."""

    async def resume(self, run: str) -> None:
        """Take up a run where its journal ends; nothing happens if it is over or under way here."""

    async def recover(self) -> int:
        """Take up every run that is not over; return how many."""

    async def query(self, run: str, name: str) -> Json:
        """Return what a run says of itself under a name, also after its end; raises `NotFound`."""

    async def ended(self, run: str) -> RunRow:
        """Return when a run is over.

        Raises `Conflict` if its code cannot go on; a run that waits, or that somebody paused, is waited for.
        """

    async def retry(self, run: str, task: str, *, replace: bool = False, data: Json = None) -> str:
        """Start a new run that shares the history of `run` up to `task`; return its id."""

    async def settle(self, run: str) -> RunRow:
        """Return when a run is over, suspended, or waits for what nothing here will give."""

    def watch(self, watcher: Callable[[str, int, Entry], None]) -> Callable[[], None]:
        """Call `watcher(run, seq, entry)` for each entry that became durable; returns the end of it."""
