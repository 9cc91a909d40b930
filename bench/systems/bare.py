"""The bare limit: a loop that only appends what Tenuto would append, and commits for all callers at once. No engine.

    python -m bench.systems.bare --work in-flight --size 500 --mode sqlite --folder DIR [--seconds 60]

One workflow of ten steps is run in Tenuto first; the entries that it has written are then the bytes of every run here. As many
callers as runs are in flight: each hands over its next entry and goes on when that entry is on the disk. A turn of the loop
takes the entries of all callers that are ready, writes them, syncs once, and lets all of them go on.

`sqlite`: the table and the index of Tenuto's journal, in WAL with `synchronous=FULL`, many rows a statement; each caller is a
coroutine that waits for its own commit. `file`: the same callers; the entries one after the other at the end of a file,
and `fdatasync`: no database could do with less. `sqlite-rounds`, `file-rounds`: callers are plain generators, asked in
turn: not even an event loop.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from argparse import Namespace
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from bench.fitting import batch, fill, fill_wide, one_by_one, play
from bench.measuring import PAYLOAD_RUNS, Answer, asked, options, sqlite_durability
from bench.ours.flows import ten, ten_texts
from tenuto import App, __version__

MODES: Final = ("sqlite", "file", "sqlite-rounds", "file-rounds")
ROWS_AT_ONCE: Final = (512, 64, 8, 1)

Entry = tuple[int, int, bytes]
"""Number of the run, place in its journal, bytes."""


class Log(Protocol):
    """What entries are appended to."""

    def write(self, entries: Sequence[Entry]) -> None:
        """Append entries; return when they are on the disk."""

    def durability(self) -> str:
        """Say what it does to get them there."""


class Database:
    """SQLite, with the table and the settings of Tenuto's journal."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "bare.db", isolation_level=None, cached_statements=256)
        execute = self._connection.execute
        execute("PRAGMA journal_mode = wal").fetchone()
        execute("PRAGMA synchronous = FULL")
        execute("CREATE TABLE journal (id INTEGER PRIMARY KEY, run INTEGER, seq INTEGER, entry BLOB) STRICT")
        execute("CREATE UNIQUE INDEX journal_by_run ON journal (run, seq)")
        self._statements = [
            (rows, "INSERT INTO journal (run, seq, entry) VALUES " + ", ".join(["(?, ?, ?)"] * rows))
            for rows in ROWS_AT_ONCE
        ]

    def write(self, entries: Sequence[Entry]) -> None:
        """Append entries in one transaction."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        done = 0
        for rows, statement in self._statements:
            while len(entries) - done >= rows:
                execute(statement, [value for entry in entries[done : done + rows] for value in entry])
                done += rows
        execute("COMMIT")

    def durability(self) -> str:
        """Say what the connection answers, and refuse what would not sync each commit."""
        return sqlite_durability([asked(self._connection)])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class File:
    """A file that entries are written to one after the other."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / "bare.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write(self, entries: Sequence[Entry]) -> None:
        """Append entries, then sync."""
        rest = b"".join([entry for _, _, entry in entries])
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fdatasync(self._descriptor)

    def durability(self) -> str:
        """Say how it is synced."""
        return "fdatasync after every write"

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def entries_of(workflow: Any, given: Any) -> list[bytes]:
    """Run a workflow in Tenuto; answer the entries of its journal."""

    async def run(folder: Path) -> None:
        async with App(workflows=[workflow], database=folder / "tenuto.db") as app:
            await (await app.start(workflow, given)).result()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))
        with closing(sqlite3.connect(Path(folder) / "tenuto.db")) as connection:
            return [entry for (entry,) in connection.execute("SELECT entry FROM journal ORDER BY run, seq")]


class Runs:
    """Runs that append the same entries, as many at once as are asked for."""

    def __init__(self, log: Log, entries: Sequence[bytes], loop: asyncio.Runner | None) -> None:
        """Without a loop, callers are generators."""
        self._log = log
        self._entries = entries
        self._loop = loop
        self._last = 0
        self._turn: list[tuple[Entry, asyncio.Future[None]]] = []

    def together(self, runs: int) -> None:
        """Let so many runs append all their entries, each entry when the one before is on the disk."""
        numbers = range(self._last + 1, self._last + runs + 1)
        self._last += runs
        if self._loop is None:
            self._rounds(numbers)
        else:
            self._loop.run(self._coroutines(numbers))

    async def _coroutines(self, numbers: Sequence[int]) -> None:
        await asyncio.gather(*map(self._caller, numbers))

    async def _caller(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        for seq, entry in enumerate(self._entries, 1):
            committed = loop.create_future()
            if not self._turn:
                loop.call_soon(self._commit)  # when all that are ready have handed over theirs
            self._turn.append(((number, seq, entry), committed))
            await committed

    def _commit(self) -> None:
        turn, self._turn = self._turn, []
        self._log.write([entry for entry, _ in turn])
        for _, committed in turn:
            committed.set_result(None)

    def _rounds(self, numbers: Sequence[int]) -> None:
        callers = [self._generator(number) for number in numbers]
        while callers:
            waiting, entries = [], []
            for caller in callers:
                entry = next(caller, None)
                if entry is not None:
                    waiting.append(caller)
                    entries.append(entry)
            if entries:
                self._log.write(entries)
            callers = waiting

    def _generator(self, number: int) -> Generator[Entry, None, None]:
        for seq, entry in enumerate(self._entries, 1):
            yield number, seq, entry


@contextmanager
def opened(given: Namespace, answer: Answer, entries: Sequence[bytes]) -> Iterator[Runs]:
    """Keep the log and the loop of the mode open; note what durability rests on."""
    log = Database(given.folder) if given.mode.startswith("sqlite") else File(given.folder)
    answer.durability = log.durability()
    with closing(log), asyncio.Runner() as loop:
        yield Runs(log, entries, None if given.mode.endswith("rounds") else loop)


def latency(given: Namespace, answer: Answer) -> None:
    """One run at a time: as many syncs as it has entries."""
    with opened(given, answer, entries_of(ten, 0)) as runs:
        one_by_one(lambda _: runs.together(1), answer, given.size, given)


def in_flight(given: Namespace, answer: Answer) -> None:
    """So many runs at once."""
    with opened(given, answer, entries_of(ten, 0)) as runs:
        fill(answer, batch(runs.together, given.size, given.seconds), given.size)


def payload(given: Namespace, answer: Answer) -> None:
    """Runs whose entries carry a text."""
    with opened(given, answer, entries_of(ten_texts, "x" * given.size)) as runs:
        fill(answer, batch(runs.together, PAYLOAD_RUNS, given.seconds), PAYLOAD_RUNS)


def fan_out(given: Namespace, answer: Answer) -> None:
    """As many callers as items, one entry for each: that of a step."""
    entries = entries_of(ten, 0)
    with opened(given, answer, [entries[len(entries) // 2]]) as runs:
        fill_wide(answer, batch(runs.together, given.size, given.seconds), given.size)


WORKS: Final = {"latency": latency, "in-flight": in_flight, "fan-out": fan_out, "payload": payload}

if __name__ == "__main__":
    below = f"entries of tenuto {__version__}, SQLite {sqlite3.sqlite_version}"
    play("bare", below, WORKS, options(__doc__, MODES, tuple(WORKS)))
