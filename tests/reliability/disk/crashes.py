"""All crash states of a process: from what strace wrote down of it, the disks that a power failure may leave behind.

Each of them is opened by the real store, and has to hold one of the states that were committed, whole: none
in between, and none older than what the process had acknowledged by then. Acknowledged is an entry that was shown, a
start or a signal that a client was told of, and whatever a step did to the world: its entry asked for that.
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
from typing import Final, TypeAlias

import msgspec

from tenuto.engine.model import SIGNAL, Arrived, Entry
from tenuto.errors import TenutoError
from tenuto.storage.sqlite import open_journal
from tests.reliability.disk.forgetful import Disk
from tests.reliability.disk.lives import PROGRAMS
from tests.reliability.disk.tracing import Act, Made, Removed, Resized, Said, Synced, Wrote
from tests.reliability.evidence import Call, Effect, digest_of
from tests.reliability.reading import read_journals, replayed

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


Stored: TypeAlias = tuple[str, int, str]
_NEVER: Final = (0, "")


@dataclass(frozen=True, slots=True)
class Content:
    """What a database holds: a digest of all of it, and which entries (run's id, seq, digest) there are."""

    digest: bytes
    entries: frozenset[Stored]


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
    entries = {
        (run, seq, digest_of(data))
        for run, (_, stored) in read_journals(folder / name).items()
        for seq, data in stored
    }
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
        if oldest == len(self._committed):
            return "what was acknowledged by then was never committed"
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
        oldest, acknowledged = 0, _Acknowledged(self._folder / self._name)
        for act, newest in zip(self._acts, at, strict=True):
            for line in act.text.splitlines() if isinstance(act, Said) else ():
                oldest = max(oldest, self._since(acknowledged.by(line)))
            # The commit that is under way may be there already, although its sync is not over.
            self._bounds.append((oldest, newest + 1))

    def _since(self, needed: Stored | None) -> int:
        """Return the first committed state that has an entry; one more than the last if none has."""
        if needed is None:
            return 0
        found = (place for place, each in enumerate(self._committed) if needed in each.entries)
        return next(found, len(self._committed))


class _Acknowledged:
    """Which entry has to be there once a line was said; found in the journals as they are at last."""

    def __init__(self, database: Path) -> None:
        """Read the journals, and fold them: an entry itself does not have what it asked for."""
        self._signals: dict[tuple[str, bytes], Stored] = {}
        self._asked: dict[tuple[str, str, int], Stored] = {}
        self._began: dict[str, Stored] = {}
        replays = replayed(database, PROGRAMS)
        for run, (_, entries) in read_journals(database).items():
            for (seq, data), wanted in zip(entries, replays[run][0].wanted, strict=False):
                stored = (run, seq, digest_of(data))
                if seq == 1:
                    self._began[run] = stored
                event = msgspec.json.decode(data, type=Entry).event
                if isinstance(event, Arrived) and event.event.get("type") == SIGNAL:
                    self._signals[run, msgspec.json.encode(event.event.get("data"))] = stored
                for command in msgspec.json.decode(wanted):
                    if command["type"] == "perform":
                        self._asked[run, command["key"], command["attempt"]] = stored

    def by(self, line: bytes) -> Stored | None:
        """Return the entry that has to be there, or one that never is; None if nothing was acknowledged."""
        kind, _, rest = line.partition(b" ")
        match kind:
            case b"durable":
                run, seq, digest = rest.decode().split(" ")
                return run, int(seq), digest
            case b"effect":
                effect = msgspec.json.decode(rest, type=Effect)
                asked = effect.run, effect.key, effect.attempt
                return self._asked.get(asked, (effect.run, *_NEVER))
            case b"call":
                call = msgspec.json.decode(rest, type=Call)
                if call.what == "ok" and call.verb == "start":
                    return self._began.get(call.run, (call.run, *_NEVER))
                if call.what == "ok":
                    assert isinstance(call.value, dict)
                    signal = call.run, msgspec.json.encode(call.value["data"])
                    return self._signals.get(signal, (call.run, *_NEVER))
        return None
