"""All crash states of a process: from what strace wrote down of it, the disks that a power failure may leave behind.

Each of them is opened by the real store, and has to hold one of the states that were committed, whole: none
in between, and none older than what the process had acknowledged by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tenuto.errors import TenutoError
from tenuto.storage.sqlite import open_journal
from tests.reliability.disk.forgetful import Disk
from tests.reliability.disk.tracing import Act, Made, Removed, Resized, Said, Synced, Wrote

DATABASE: Final = "t.db"
_IGNORED: Final = ("-shm", ".lock", ".sock")
KEPT: Final = (0.0, 0.0, 0.1, 0.5, 0.9, 0.98)
"""How probable it is that a sector which was not synced has reached the disk; one of these for each state."""

_TABLES: Final = (
    "SELECT * FROM runs ORDER BY number",
    "SELECT id, run, seq, entry, blob FROM journal ORDER BY id",
    "SELECT * FROM snapshots ORDER BY run",
    "SELECT digest, data FROM blobs ORDER BY digest",
    "SELECT * FROM documents ORDER BY id",
    "SELECT number, name FROM migrations ORDER BY number",
)


@dataclass(frozen=True, slots=True)
class Content:
    """What a database holds: a digest of all of it, and which entries (run's id, seq) there are."""

    digest: bytes
    entries: frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Found:
    """A crash state that must not be: after which act, drawn how, and what is wrong with it."""

    act: int
    kept: float
    seen: str


def apply(act: Act, disk: Disk) -> None:
    """Let an act happen to a disk. Shared memory (made anew after a crash) and the lock play no part."""
    match act:
        case Said():
            pass
        case Synced(name, worked) if not name.endswith(_IGNORED):
            disk.sync(name, worked=worked)
        case Made(name, True):
            disk.make_folder(name)
        case Made(name) if not name.endswith(_IGNORED):
            disk.create(name)
        case Removed(name):
            disk.remove(name)
        case Wrote(name, offset, data) if not name.endswith(_IGNORED):
            disk.write(name, offset, data)
        case Resized(name, size) if not name.endswith(_IGNORED):
            disk.resize(name, size)


def left(
    acts: Iterable[Act],
    chance: Random | None = None,
    kept: float = 1.0,
    files: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """Return the files that acts leave behind: as they are read after a kill, or, drawn, after a power failure."""
    disk = Disk(files)
    for act in acts:
        apply(act, disk)
    return disk.draw(chance or Random(0), kept)


async def content(files: Mapping[str, bytes], folder: Path, name: str = DATABASE) -> Content:
    """Let the real store open what a disk holds, and say what is there.

    Raises:
        TenutoError: It does not open.
        ValueError: It opens and is not sound.
    """
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for file, data in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    journal = await open_journal(folder / name, failed=lambda error: None)
    await journal.close()
    with closing(sqlite3.connect(folder / name)) as database:
        (sound,) = database.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok":
            raise ValueError(f"integrity_check: {sound}")
        digest = hashlib.sha256()
        for query in _TABLES:
            for row in database.execute(query):
                digest.update(repr(row).encode())
        entries = database.execute("SELECT runs.id, seq FROM journal JOIN runs ON number = run")
        return Content(digest.digest(), frozenset(entries))


class Crashes:
    """The crash states of what processes did, one after the other, to a folder that was empty or held `files`."""

    def __init__(
        self,
        acts: Sequence[Act],
        folder: Path,
        *,
        name: str = DATABASE,
        files: Mapping[str, bytes] | None = None,
        after: int = 0,
    ) -> None:
        """Take what was done, where to open the states (memory is quicker), and the database's path.

        Only states that come after so many acts are drawn.
        """
        self._acts = acts
        self._folder = folder
        self._name = name
        self._files = files or {}
        self._committed: list[Content] = []  # in order
        self._bounds: list[tuple[int, int]] = []  # after each act: the oldest and newest that may be there
        self.points = [
            place
            for place, act in enumerate(acts)
            if place >= after and not isinstance(act, Said) and not act.name.endswith(_IGNORED)
        ]

    def explore(self, states: int, chance: Random) -> Iterator[Found | None]:
        """Draw that many states at random places; yield what is wrong with each, None if nothing."""
        with asyncio.Runner() as runner:
            runner.run(self._commits())
            places = sorted(chance.choice(self.points) for _ in range(states))
            disk, done = Disk(self._files), 0
            for place in places:
                for act in self._acts[done : place + 1]:
                    apply(act, disk)
                done = place + 1
                kept = chance.choice(KEPT)
                files = disk.draw(chance, kept)
                seen = runner.run(self._wrong(place, files))
                yield None if seen is None else Found(place, kept, seen)

    async def _wrong(self, place: int, files: dict[str, bytes]) -> str | None:
        try:
            there = await content(files, self._folder, self._name)
        except (TenutoError, ValueError, sqlite3.Error) as error:
            return f"{type(error).__name__}: {error}"
        oldest, newest = self._bounds[place]
        allowed = self._committed[oldest : newest + 1]
        if any(each.digest == there.digest for each in allowed):
            return None
        needed = self._committed[oldest].entries
        if missing := sorted(needed - there.entries):
            return f"acknowledged and not there: {missing[:5]} of {len(missing)}"
        return "a state that was never committed, or only later"

    async def _commits(self) -> None:
        """Find what was committed when: what a kill (not a power failure) leaves behind.

        Looked at is before each thing that was said, and after each sync.
        """
        disk, changed = Disk(self._files), False
        self._committed = [await content(self._files, self._folder, self._name)]
        at: list[int] = []
        for act in self._acts:
            apply(act, disk)
            changed = changed or isinstance(act, Wrote)
            if changed and isinstance(act, Said | Synced):
                changed = False
                there = await content(disk.draw(Random(0), 1.0), self._folder, self._name)
                if there.digest != self._committed[-1].digest:
                    self._committed.append(there)
            at.append(len(self._committed) - 1)
        oldest = 0
        for act, newest in zip(self._acts, at, strict=True):
            if isinstance(act, Said):
                oldest = max(oldest, self._needed(act.text))
            # The commit that is under way may be there already, although its sync is not over.
            self._bounds.append((oldest, newest + 1))

    def _needed(self, said: bytes) -> int:
        """Return the first committed state that has what was acknowledged."""
        oldest = 0
        for line in said.splitlines():
            kind, _, rest = line.partition(b" ")
            if kind == b"durable":
                run, _, seq = rest.decode().partition(" ")
                entry = (run, int(seq))
                place = next(
                    (place for place, each in enumerate(self._committed) if entry in each.entries),
                    len(self._committed),
                )
                oldest = max(oldest, place)
        return oldest
