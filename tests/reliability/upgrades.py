"""L9: what released versions recorded goes on in this one, and a migration may be killed anywhere.

The golden set is in `tests/replay/`. Its histories are folded again by the code of now and have to ask for the same;
its open runs have to go on and end; its oldest database is brought up to date while the power fails, or the process is
killed, at every place. A version that does not know a schema leaves it alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias, get_args
from unittest import mock

import msgspec

from tenuto.engine.model import Entry, Event
from tenuto.errors import Conflict, StorageFailed
from tenuto.storage import schema, sqlite
from tenuto.storage.schema import known_migrations, schema_version, statements
from tenuto.storage.sqlite import open_journal
from tenuto.testing import Environment, ReplayMismatch, check_replay
from tenuto.testing.replay import read
from tests.reliability.checker import check
from tests.reliability.disk.crashes import DATABASE, left
from tests.reliability.disk.lives import ROOT
from tests.reliability.disk.tracing import Act, Resized, Synced, Wrote, check_may_trace, killing, traced
from tests.reliability.evidence import Evidence, Violation
from tests.reliability.programme import Budget, Caught, Layer, Record, broken, fewer, memory
from tests.reliability.reading import builder, read_journals, replayed
from tests.replay.release_0_1 import flows
from tests.servers.provision import CannotRun

STATES_IN_CI: Final = 60
KILLS_IN_CI: Final = 3
SAYS_ITS_SCHEMA: Final = "it says that it is of schema"
KILLED_CALLS: Final = {"pwrite64": Wrote, "fdatasync": Synced, "ftruncate": Resized}

CHANGED_CODE: Final = "changed code under a recorded history"
IN_TWO: Final = "a migration in two transactions"
GOLDEN: Final = ROOT / "tests" / "replay" / "release_0_1"
SIGNALLED: Final = frozenset({"open-purchase", "open-patient"})
"""Runs that wait for an approval."""

KEPT: Final = frozenset({"open-stumbles"})
"""Runs that are suspended until somebody mends their code."""

NOTES: Final = {
    *(
        "started",
        "completed",
        "faulted",
        "cancelled",
        "skipped",
        "retried",
        "waiting",
        "suspended",
        "resumed",
    ),
    *("correlation-started", "correlation-completed"),
    *("progressed", "logged", "patched", "continued", "stuck"),
}
"""What notes may say; the golden set has all of it."""

OPENING: Final = """
import asyncio, sys
from pathlib import Path
from tenuto.storage.sqlite import open_journal

async def opened():
    journal = await open_journal(Path(sys.argv[1]), failed=print)
    await journal.close()

asyncio.run(opened())
"""

PROGRAMS: Final = builder(flows.WORKFLOWS)
Violations: TypeAlias = list[Violation]


@dataclass(slots=True)
class Played:
    """What was done and found so far."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: Violations = field(default_factory=list)
    failing: list[str] = field(default_factory=list)
    not_played: list[str] = field(default_factory=list)

    def add(self, case: str, violations: Violations) -> None:
        """Take down what a case violated."""
        self.counts["cases"] += 1
        if violations:
            self.violations += violations
            self.failing.append(case)


def unpacked(name: str, folder: Path) -> Path:
    """Unpack a golden database; return its file."""
    folder.mkdir(parents=True)
    with tarfile.open(GOLDEN / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / DATABASE


# ── histories ────────────────────────────────────────────────────────────────────────────


def histories_fit(counts: Counter[str]) -> Violations:
    """Fold every history over the code that is kept with it."""
    workflows = {workflow.name: workflow for workflow in flows.WORKFLOWS}
    wrong = []
    for file in sorted((GOLDEN / "histories").glob("*.jsonl")):
        history = read(file)
        counts["histories"] += 1
        counts["entries of histories"] += len(history.entries)
        given = workflows[history.run.name] if history.run.kind != "document" else None
        try:
            check_replay(history, given)
        except ReplayMismatch as mismatch:
            wrong.append(Violation("I10", file.stem, str(mismatch)))
    return wrong


def golden_set_is_whole(databases: list[Path]) -> Violations:
    """Every kind of event and of note there is has been recorded: a new one needs a new golden set."""
    entries = [entry for file in (GOLDEN / "histories").glob("*.jsonl") for entry in read(file).entries]
    for database in databases:
        for _, stored in read_journals(database).values():
            entries += [msgspec.json.decode(data, type=Entry) for _, data in stored]
    events = {type(entry.event) for entry in entries}
    notes = {note.what for entry in entries for note in entry.notes}
    missing = [kind.__name__ for kind in get_args(Event) if kind not in events] + sorted(NOTES - notes)
    unknown = sorted(notes - NOTES)
    return [Violation("I10", "", f"not in the golden set: {what}") for what in [*missing, *unknown]]


# ── databases ────────────────────────────────────────────────────────────────────────────


def as_it_was(database: Path) -> Violations:
    """Fold every journal of a database twice, and check all that can be checked of runs under way."""
    return check(Evidence(journals=read_journals(database), replays=replayed(database, PROGRAMS)))


async def goes_on(database: Path) -> Violations:
    """Take all runs up, give them what they wait for, and let them end; what had ended stays as it was."""
    before = read_journals(database)
    last = max(row.updated for row, _ in before.values())
    env = Environment(
        flows.WORKFLOWS,
        steps=flows.STEPS,
        secrets={"token": "golden-secret"},
        database=database,
        start_time=datetime.fromtimestamp(last + 1, UTC),
        allow=["process.*"],
    )
    async with env:
        for run, (row, _) in before.items():
            if row.ended is None and run not in KEPT:
                await env.handle(run).resume()
                if run in SIGNALLED:
                    await env.handle(run).signal(flows.APPROVED, True)
        await env.pass_time(timedelta(minutes=30))
        for type, data in EVENTS:
            await env.emit(type, data)
        await env.pass_time(timedelta(days=40))
    after = read_journals(database)
    wrong = [
        Violation("promise", run, "it had ended, and is not as it was")
        for run, (row, entries) in before.items()
        if row.ended is not None and after[run] != (row, entries)
    ]
    wrong += [
        Violation("promise", run, "its history is not the one that it had")
        for run, (_, entries) in before.items()
        if after[run][1][: len(entries)] != entries
    ]
    evidence = Evidence(
        journals=after, replays=replayed(database, PROGRAMS), settled=True, waiting_for_ever=KEPT
    )
    faulted = [
        Violation("promise", run, f"it was open, and is {row.status}: {row.outcome}")
        for run, (row, _) in after.items()
        if run in before and before[run][0].ended is None and run not in KEPT and row.status != "completed"
    ]
    return [*wrong, *faulted, *check(evidence)]


EVENTS: Final = (
    ("golden.news", {"order": "coffee"}),
    ("golden.two", {"n": 2}),
    ("golden.paid", {"order": "z"}),
    ("golden.packed", {"order": "z"}),
)
"""What the open runs of the golden set listen for."""


# ── migrations ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Before:
    """A database of an old schema: its files, and a digest of what has to be in it for ever."""

    files: Mapping[str, bytes]
    kept: bytes

    @classmethod
    def of(cls, folder: Path) -> Before:
        """Read one."""
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        return cls(files, _kept(_laid_out(files, folder.parent / "read")))


def _laid_out(files: Mapping[str, bytes], folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / DATABASE


def _kept(database: Path) -> bytes:
    """Return a digest of all rows, without what a migration adds."""
    digest = hashlib.sha256()
    with closing(sqlite3.connect(database)) as connection:
        for query in (
            "SELECT * FROM runs ORDER BY number",
            "SELECT * FROM journal ORDER BY id",
            "SELECT * FROM snapshots ORDER BY run",
            "SELECT * FROM blobs ORDER BY digest",
            "SELECT id, digest, namespace, name, version, source, origin FROM documents ORDER BY id",
        ):
            for row in connection.execute(query):
                digest.update(repr(row).encode())
    return digest.digest()


async def whole(files: Mapping[str, bytes], before: Before, folder: Path) -> str | None:
    """Say what is wrong with a database whose migration was broken off; None if nothing.

    Its schema is one that there was, nothing of it is lost, and the next start brings it up to date.
    """
    database = _laid_out(files, folder)
    try:
        with closing(sqlite3.connect(database)) as connection:
            (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
            version = schema_version(connection)
            tables = _tables(connection)
        if sound != "ok":
            return f"integrity_check: {sound}"
        if tables != _tables_of(version):
            return f"{SAYS_ITS_SCHEMA} {version}, and has tables of another: {tables}"
        if _kept(database) != before.kept:
            return f"something is lost at schema {version}"
        await _opened(database)
        with closing(sqlite3.connect(database)) as connection:
            version = schema_version(connection)
    except (sqlite3.Error, StorageFailed, Conflict) as error:
        return f"{type(error).__name__}: {error}"
    if version != max(known_migrations()):
        return f"it is of schema {version} after it was opened"
    return None if _kept(database) == before.kept else "something is lost in the end"


def _tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for name in names}


def _tables_of(version: int) -> dict[str, list[str]]:
    """Return the tables of a schema, as its migrations make them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(schema._RECORD)
        for number, file in known_migrations().items():
            for statement in statements(file.read_text("utf-8")) if number <= version else ():
                connection.execute(statement)
        return _tables(connection)


def migrated(folder: Path, before: Before, *more: str) -> list[Act]:
    """Write down what a process does that brings a database up to date."""
    place = folder / "migrating"
    database = _laid_out(before.files, place)
    return traced([sys.executable, *(more or ("-c", OPENING)), str(database)], place, folder / "log")


def broken_off(acts: list[Act], before: Before, states: int, random: Random) -> Iterator[str | None]:
    """Draw states that a power failure may leave behind, any place being as likely as another; judge each."""
    with memory() as folder, asyncio.Runner() as runner:
        for number in range(states):
            # A kill at each place first: these are all states that a process can be killed in.
            place = number if number < len(acts) else random.randrange(len(acts))
            kept = 1.0 if number < len(acts) else random.choice((0.0, 0.5, 0.9))
            files = left(acts[: place + 1], random, kept, files=before.files)
            yield runner.run(whole(files, before, folder / "state"))


def killed(folder: Path, before: Before, call: str, nth: int) -> str | None:
    """Kill a process that migrates at its nth call of a kind; "" if it does not come to that."""
    database = _laid_out(before.files, folder / "killed")
    line = [*killing(folder / "log", call, nth), sys.executable, "-c", OPENING, str(database)]
    done = subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60, cwd=ROOT
    )
    files = {
        file.name: file.read_bytes()
        for file in database.parent.iterdir()
        if file.name.endswith((".db", "-wal", "-journal"))
    }
    seen = asyncio.run(whole(files, before, folder / "state"))
    return "" if seen is None and done.returncode != -signal.SIGKILL else seen


def refused(database: Path) -> Violations:
    """Code that knows only the first schema meets the newest: it says so, and changes nothing."""
    content = database.read_bytes()
    error: Any = None
    with mock.patch.object(schema, "known_migrations", return_value={1: known_migrations()[1]}):
        try:
            asyncio.run(_opened(database))
        except Conflict as conflict:
            error = conflict
    if error is None or not error.hint or "newer version" not in error.message:
        return [Violation("promise", "", f"a schema that is too new was not refused: {error!r}")]
    if database.read_bytes() != content:
        return [Violation("promise", "", "a database that was refused is not as it was")]
    return []


async def _opened(database: Path) -> None:
    journal = await open_journal(database, failed=lambda error: None)
    await journal.close()


# ── the layer ────────────────────────────────────────────────────────────────────────────


def play(budget: Budget) -> Record:
    """Play the golden set once, then as many broken migrations as there is room for."""
    began = time.monotonic()
    played, random = Played(), Random(budget.seed)
    folder = budget.folder / "upgrades"
    open_runs, old = unpacked("open", folder / "open"), unpacked("schema-1", folder / "old")
    before = Before.of(old.parent)
    played.add("histories", histories_fit(played.counts))
    asyncio.run(_opened(old))
    played.add("golden set", golden_set_is_whole([open_runs, old]))
    for name, database in (("open runs", open_runs), ("schema 1", old)):
        played.counts["open runs of old versions"] += sum(
            row.ended is None for row, _ in read_journals(database).values()
        )
        played.add(f"{name}, as they were", as_it_was(database))
        played.add(f"{name}, going on", asyncio.run(goes_on(database)))
    played.add("newer schema", refused(old))
    caught: list[Caught] = [_changed_code()]
    try:
        check_may_trace()
        _migrations(budget, folder, before, random, played)
        caught.append(_catch(folder, before))
    except CannotRun as reason:
        played.not_played.append(f"broken migrations: {reason}")
    except Exception as error:
        played.add("broken migrations", [broken("it", error)])
    shutil.rmtree(folder)
    return Record(
        layer=LAYER.name,
        cases=played.counts["cases"],
        seconds=time.monotonic() - began,
        counts=dict(sorted(played.counts.items())),
        violations=tuple(played.violations),
        failing=tuple(played.failing),
        caught=tuple(caught),
        not_played=tuple(played.not_played),
    )


def _migrations(budget: Budget, folder: Path, before: Before, random: Random, played: Played) -> None:
    acts = migrated(folder, before)
    states, half = budget.cases(STATES_IN_CI), budget.share(0.5)
    for number, seen in enumerate(broken_off(acts, before, states, random), 1):
        played.counts["migrations broken off by the power"] += 1
        played.add(f"state:{number}", [] if seen is None else [Violation("promise", "", seen)])
        if half.over():
            played.not_played += fewer("migrations broken off by the power", number, states)
            break
    places = [
        (call, nth + 1)
        for call, kind in KILLED_CALLS.items()
        for nth in range(sum(isinstance(act, kind) for act in acts))
    ]
    random.shuffle(places)
    for tried, (call, nth) in enumerate(places):
        if played.counts["migrations killed"] >= budget.cases(KILLS_IN_CI):
            break
        if tried and budget.over():
            wanted = min(budget.cases(KILLS_IN_CI), len(places))
            played.not_played += fewer("places where migrations are killed", tried, wanted)
            break
        seen = killed(folder, before, call, nth)
        if seen == "":
            continue
        played.counts["migrations killed"] += 1
        played.add(f"kill:{call}:{nth}", [] if seen is None else [Violation("promise", "", seen)])


def _changed_code() -> Caught:
    """Fold a history over a document that was changed since."""
    began = time.monotonic()
    changed = (GOLDEN / "correlating.yaml").read_text().replace("- both:", "- other:")
    try:
        check_replay(GOLDEN / "histories" / "correlating.jsonl", changed)
        noticed = False
    except ReplayMismatch:
        noticed = True
    return Caught(
        bug=CHANGED_CODE,
        cases=1 if noticed else None,
        by=("I10",) if noticed else (),
        seconds=time.monotonic() - began,
    )


def _catch(folder: Path, before: Before) -> Caught:
    """Let a migration be recorded in another transaction than it is made in; count states until that is noticed."""
    began = time.monotonic()
    cases = None
    acts = migrated(folder, before, "-m", "tests.reliability.upgrades")
    for number, seen in enumerate(broken_off(acts, before, STATES_IN_CI, Random(1)), 1):
        if seen is not None and seen.startswith(SAYS_ITS_SCHEMA):
            cases = number
            break
    by = ("promise",) if cases else ()
    return Caught(bug=IN_TWO, cases=cases, by=by, seconds=time.monotonic() - began)


def in_two(connection: sqlite3.Connection, path: Path) -> None:
    """Migrate, and write down in a transaction of its own that it was done."""
    version = schema_version(connection)
    for number, file in known_migrations().items():
        if number > version:
            for statement in statements(file.read_text("utf-8")):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations (number, name) VALUES (?, ?)", (number, file.stem))


LAYER: Final = Layer("L9", "upgrades, and old journals under new code", play, 20, (CHANGED_CODE, IN_TWO))

if __name__ == "__main__":
    with mock.patch.object(sqlite, "migrate", in_two):
        exec(OPENING)  # as any other process does, but for that
