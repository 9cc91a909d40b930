"""L6: the store fails in every way that we can bring about, in real processes.

Whatever fails, a process has to say so once, with what to do about it, acknowledge nothing more, and
do nothing more; and the next one that can open the file goes on without anybody's help, with everything that was
acknowledged.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

from tests.reliability.checker import check
from tests.reliability.disk.lives import ROOT, Heard, Life, born
from tests.reliability.disk.mounts import ext4, fill, tmpfs
from tests.reliability.disk.pretending import pretended
from tests.reliability.disk.tracing import check_may_trace, failing, injected
from tests.reliability.evidence import Violation
from tests.reliability.house.driver import noticed
from tests.reliability.programme import Budget, Caught, Layer, Record, at_once, broken, fewer
from tests.servers.provision import CannotRun, program

FAILING_CALLS_IN_CI: Final = 8
PRETENDED_IN_CI: Final = 8
PRETENDED_SHARE: Final = 0.3
"""Of the time, at most; what fails in earnest has the rest."""

AT_ONCE: Final = 2

CALLS: Final[dict[str, tuple[int, tuple[str, ...]]]] = {
    "pwrite64": (120, ("EIO", "ENOSPC")),
    "fdatasync": (30, ("EIO", "ENOSPC")),
    "fsync": (1, ("EIO",)),
    "ftruncate": (3, ("EIO", "ENOSPC")),
    "pread64": (30, ("EIO",)),
    "openat": (12, ("EIO", "EMFILE", "EACCES", "ENOSPC")),
    "write": (1, ("EIO", "ENOSPC")),
    "bind": (1, ("ENOSPC", "EACCES")),
}
"""System calls on the database's files: about how many a life makes of each in one thread, and how they fail."""

FILES: Final = ("", "-wal", "-journal", "-shm", ".lock")
SMALL: Final = ("--runs", "5", "--pages", "30", "--inline", "250")
SMALL_DISK_BYTES: Final = 4 * 1024 * 1024
RESTARTS_ON_FULL_DISK: Final = 3
SWALLOWS: Final = "swallowed ENOSPC"
SWALLOWING_SHOWS: Final = ("I1", "I3", "I4", "I7", "promise")
"""What is acknowledged and not there, a gap where it was, or what is done for it."""

SWALLOWED: Final = "tests.reliability.disk.weaknesses:failures_swallowed"

DOCUMENT: Final = """
document: {dsl: 1.0.3, namespace: default, name: slowly, version: 1.0.0}
do:
  - first: {set: {a: 1}}
  - pause: {wait: {milliseconds: 5}}
  - last: {set: {b: 2}}
"""

Violations: TypeAlias = list[Violation]


@dataclass(frozen=True, slots=True)
class Case:
    """One way to fail: plays in an empty folder, and says what was wrong about it."""

    name: str
    play: Callable[[Path], Violations]


class NotReached(Exception):
    """The call that was to fail was not made: that is no case."""


@dataclass(slots=True)
class Played:
    """What was done and found so far."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: Violations = field(default_factory=list)
    failing: list[str] = field(default_factory=list)
    not_played: list[str] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)


# ── what has to hold ─────────────────────────────────────────────────────────────────────


def ended(life: Life, heard: Heard, *, may_go_on: bool = True) -> Violations:
    """Wait for the end of a life whose store may have failed; say what it did that it must not do."""
    known, refused = len(heard.failures), heard.refused
    lines, errors = life.end()
    heard.take([*life.heard, *lines])
    wrong = []
    if b"Traceback" in errors:
        wrong.append(f"a traceback for the user: ...{errors[-400:].decode(errors='replace')}")
    if heard.after_failure:
        wrong.append(f"said after the failure: {heard.after_failure[:3]}")
    if life.process.returncode == 0 and may_go_on:
        return _said(wrong)
    told = heard.failures[known:]
    if any(line.startswith(b"ready") for line in [*life.heard, *lines]) and heard.refused == refused:
        wrong.append(
            "the store did not tell of its failure when it failed: nobody knows what was done after it"
        )
    if len(told) != 1:
        wrong.append(
            f"ended with {life.process.returncode} and told of {len(told)} failures: {errors[-200:]!r}"
        )
    badly = [failure for failure in told if failure["code"] != "storage-failed" or not failure["hint"]]
    wrong += [f"told badly: {failure}" for failure in badly]
    return _said(wrong)


def goes_on(database: Path, heard: Heard, life: int) -> Violations:
    """Let a process without faults take over, and check everything."""
    with born(database, life, "--runs", "2") as last:
        lines, errors = last.end()
    heard.take(lines)
    if last.process.returncode:
        return _said([f"the next process did not get to its end: {lines[-1:]} {errors[-300:]!r}"])
    try:
        with closing(sqlite3.connect(database)) as connection:
            (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
        wrong = [] if sound == "ok" else [f"integrity_check: {sound}"]
        return [*_said(wrong), *check(heard.evidence(database, settled=True))]
    except sqlite3.DatabaseError as error:
        return _said([f"the database is damaged: {error}"])


def _said(wrong: list[str]) -> Violations:
    return [Violation("promise", "", text) for text in wrong]


# ── system calls that fail ───────────────────────────────────────────────────────────────


def call_fails(
    folder: Path,
    call: str,
    error: str,
    nth: int,
    *,
    for_good: bool,
    within: str = "",
    counts: Counter[str] | None = None,
) -> Violations:
    """Let the nth call of each thread fail, and all after it if it is for good; count those that did.

    Raises:
        NotReached: There were not so many.
    """
    database, log = folder / "t.db", folder / "strace.log"
    rule = f"{call}:error={error}:when={nth}{'+' if for_good else ''}"
    heard = Heard()
    options = ("--within", within) if within else ()
    with born(database, 1, *SMALL, *options, before=[*failing(log, rule), *_only(database, call)]) as life:
        wrong = ended(life, heard)
    failed = injected(log)
    if counts is not None:
        for file, count in failed.items():
            counts[f"system calls that failed, {_named(file, database)}"] += count
    if not failed and not wrong:
        raise NotReached
    return wrong + goes_on(database, heard, 2)


def _named(file: str, database: Path) -> str:
    """Say which of the database's files it is."""
    return {
        str(database): "of the database",
        f"{database}-wal": "of its log",
        str(database.parent): "of its folder",
    }.get(file, "of others of its files")


def _only(database: Path, call: str) -> list[str]:
    """Return what keeps strace to calls about the database; it cannot tell for the names of sockets."""
    if call == "bind":
        return []
    paths = [str(database.parent), *(f"{database}{file}" for file in FILES)]
    return [option for path in paths for option in ("-P", path)]


def command_fails(folder: Path, call: str, error: str, nth: int) -> Violations:
    """Let a call of `tenuto run` fail; `tenuto resume` goes on."""
    database, log, flow = folder / "t.db", folder / "strace.log", folder / "slowly.yaml"
    flow.write_text(DOCUMENT)
    run = [sys.executable, "-m", "tenuto", "run", str(flow), "--id", "slow", "--db", str(database)]
    failed = _command([*failing(log, f"{call}:error={error}:when={nth}"), *_only(database, call), *run])
    words = failed.stderr.decode()
    wrong = [] if injected(log) else [f"{call} was not called {nth} times"]
    if failed.returncode != 4 or len(re.findall("^error: ", words, re.M)) != 1 or "hint: " not in words:
        wrong.append(f"`tenuto run` ended with {failed.returncode} and said {words!r}")
    if "Traceback" in words:
        wrong.append(f"a traceback for the user: {words}")
    again = _command(run)
    if again.returncode:
        wrong.append(
            f"the next `tenuto run` ended with {again.returncode} and said {again.stderr.decode()!r}"
        )
    return _said(wrong)


def _command(line: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=ROOT, timeout=60
    )


# ── file systems ─────────────────────────────────────────────────────────────────────────


def disk_runs_full(folder: Path, random: Random, figures: dict[str, str], within: str = "") -> Violations:
    """A file system of 4 MB runs full; processes are started again and again; then there is room."""
    heard = Heard()
    with tmpfs(folder, SMALL_DISK_BYTES) as place:
        database = place / "t.db"
        options = ("--runs", "1000000", *(("--within", within) if within else ()))
        with born(database, 1, *options) as life:
            _under_way(life, random.randint(1, 60))
            fill(place)
            wrong = ended(life, heard, may_go_on=False)
        refused = []
        for number in range(RESTARTS_ON_FULL_DISK):
            began = time.monotonic()
            with born(database, 2 + number, "--runs", "1000000") as life:
                wrong += ended(life, heard, may_go_on=False)
            refused.append(time.monotonic() - began)
        (place / "filler").unlink()
        began = time.monotonic()
        wrong += goes_on(database, heard, 9)
        figures["full disk"] = (
            f"{len(refused)} restarts ended by themselves after {max(refused) * 1000:.0f} ms at most, with the error"
            f" `{heard.failures[-1]['message'].rpartition(': ')[2]}`; with room again, the next one had all runs at"
            f" their end after {(time.monotonic() - began) * 1000:.0f} ms"
        )
    return wrong


def becomes_read_only(folder: Path, random: Random) -> Violations:
    """A file system finds an error in itself and takes no more writes; mounted again, it does."""
    heard = Heard()
    with ext4(folder) as disk:
        database = disk.place / "t.db"
        with born(database, 1, "--runs", "1000000") as life:
            _under_way(life, random.randint(1, 60))
            disk.abort()
            wrong = ended(life, heard, may_go_on=False)
        with born(database, 2, "--runs", "2") as life:
            wrong += ended(life, heard, may_go_on=False)
        disk.again()
        wrong += goes_on(database, heard, 3)
    return wrong


def permission_is_lost(folder: Path, random: Random) -> Violations:
    """The folder and the files may not be written any more; a process that runs may go on, the next one may not begin."""
    setpriv = program("setpriv", "util-linux")
    plain = [str(setpriv), "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    heard, database = Heard(), folder / "t.db"
    with born(database, 1, *SMALL, before=plain) as life:
        _under_way(life, random.randint(1, 20))
        _permit(folder, 0o500, 0o400)
        wrong = ended(life, heard)
    with born(database, 2, *SMALL, before=plain) as life:
        wrong += ended(life, heard, may_go_on=False)
    _permit(folder, 0o700, 0o600)
    return wrong + goes_on(database, heard, 3)


def _permit(folder: Path, mode: int, files: int) -> None:
    folder.chmod(mode)
    for file in folder.iterdir():
        file.chmod(files)


# ── somebody else ────────────────────────────────────────────────────────────────────────


def is_locked(folder: Path, random: Random, *, for_good: bool) -> Violations:
    """Another program holds SQLite's own lock: longer than anybody waits, or not as long."""
    heard, database = Heard(), folder / "t.db"
    with born(
        database, 1, "--runs", "1000000" if for_good else "5", "--busy", "150" if for_good else "30000"
    ) as life:
        _under_way(life, random.randint(1, 20))
        with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            if for_good:
                wrong = ended(life, heard, may_go_on=False)
            other.execute("ROLLBACK")
        if not for_good:
            wrong = ended(life, heard)
            if life.process.returncode:
                wrong += _said(["it gave up although the lock was given back in time"])
    return wrong + goes_on(database, heard, 2)


def is_taken_away(folder: Path, random: Random, what: str) -> Violations:
    """A file is removed or replaced under a process: it has to notice, and end.

    What somebody removes is gone; what has to hold is that nothing is acknowledged into nothing. The file is
    put aside here, and back again at the end.
    """
    heard, database = Heard(), folder / "t.db"
    aside = folder / "aside"
    aside.mkdir()
    with born(database, 1, "--runs", "1000000") as life:
        _under_way(life, random.randint(1, 60))
        taken = [folder / f"t.db{file}" for file in WHAT[what]]
        for file in taken:
            file.rename(aside / file.name)
        if what.startswith("replaced"):
            shutil.copy(aside / "t.db", database)
        wrong = ended(life, heard, may_go_on=False)
    for file in taken:
        (aside / file.name).replace(file)
    return wrong + goes_on(database, heard, 2)


WHAT: Final = {
    "database removed": ("",),
    "database replaced": ("",),
    "log removed": ("-wal",),
    "lock removed": (".lock",),
    "all removed": ("", "-wal", "-shm", ".lock"),
}


def _under_way(life: Life, entries: int) -> None:
    """Wait until a life has shown so many entries."""
    life.until(lambda line: line.startswith(b"durable"), entries)
    if sum(line.startswith(b"durable") for line in life.heard) < entries:
        raise AssertionError(f"a life without faults came to nothing: {life.end()}")


# ── the layer ────────────────────────────────────────────────────────────────────────────


def cases(budget: Budget, figures: dict[str, str], counts: Counter[str]) -> Iterator[Case]:
    """Yield all cases of this size: each kind at least once, then failing calls at random places."""
    random = Random(budget.seed)
    for what in WHAT:
        yield Case(what, partial(is_taken_away, random=Random(random.random()), what=what))
    for for_good in (False, True):
        name = "locked for good" if for_good else "locked for a moment"
        yield Case(name, partial(is_locked, random=Random(random.random()), for_good=for_good))
    yield Case("disk full", partial(disk_runs_full, random=Random(random.random()), figures=figures))
    yield Case("read-only", partial(becomes_read_only, random=Random(random.random())))
    yield Case("permission lost", partial(permission_is_lost, random=Random(random.random())))
    for call, error, nth in (("fdatasync", "EIO", 2), ("pwrite64", "ENOSPC", 4)):
        yield Case(
            f"command line, {call} {error} {nth}", partial(command_fails, call=call, error=error, nth=nth)
        )
    for place in range(budget.cases(FAILING_CALLS_IN_CI)):
        # Each kind of call comes up in CI; at night, each of them at many places.
        call = list(CALLS)[place % len(CALLS)]
        most, errors = CALLS[call]
        error, nth, for_good = random.choice(errors), random.randint(1, most), random.random() < 0.5
        name = f"{call} {error} {nth}{'+' if for_good else ''}"
        rule = {"call": call, "error": error, "nth": nth, "for_good": for_good}
        yield Case(name, partial(call_fails, counts=counts, **rule))


def play(budget: Budget) -> Record:
    """Play failures that are only pretended, then all cases, two at once, then what has to be noticed."""
    began = time.monotonic()
    played = Played()
    _pretend(budget.share(PRETENDED_SHARE), played)
    tried, all_cases = 0, list(cases(budget, played.figures, played.counts))

    def one(numbered: tuple[int, Case]) -> tuple[str, Violations | CannotRun | NotReached] | None:
        number, case = numbered
        folder = budget.folder / f"faults-{number}"
        if budget.over() and number:
            return None
        folder.mkdir()
        try:
            return case.name, case.play(folder)
        except (CannotRun, NotReached) as reason:
            return case.name, reason
        except Exception as error:
            return case.name, [broken("it", error)]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    with at_once(AT_ONCE) as pool:
        for result in pool.map(one, enumerate(all_cases)):
            if result is not None:
                tried += 1
                _take(played, *result)
    played.not_played += fewer("failures of a real disk, file or call", tried, len(all_cases))
    caught = []
    try:
        caught.append(_catch(budget))
    except CannotRun as reason:
        played.not_played.append(f"{SWALLOWS}: {reason}")
    except Exception as error:
        _take(played, f"the hunt for {SWALLOWS}", [broken("it", error)])
    return Record(
        layer=LAYER.name,
        cases=played.counts["cases"],
        seconds=time.monotonic() - began,
        counts=dict(sorted(played.counts.items())),
        violations=tuple(played.violations),
        failing=tuple(played.failing),
        caught=tuple(caught),
        figures=played.figures,
        not_played=tuple(played.not_played),
    )


def _pretend(budget: Budget, played: Played) -> None:
    """Let calls be done and reported as failed, or not be done, in this process."""
    wanted = budget.cases(PRETENDED_IN_CI)
    for number in range(wanted):
        if number and budget.over():
            played.not_played += fewer("failures that are pretended", number, wanted)
            break
        seed = budget.seed + number
        try:
            violations, counts = asyncio.run(pretended(budget.folder / f"pretended-{seed}", seed))
        except Exception as error:
            violations, counts = [broken("it", error)], Counter()
        played.counts.update(counts)
        _take(played, f"executed and reported as failed:{seed}", violations)


def _take(played: Played, name: str, result: Violations | CannotRun | NotReached) -> None:
    if isinstance(result, CannotRun):
        played.not_played.append(f"{name}: {result}")
        return
    if isinstance(result, NotReached):
        played.counts["not reached: there were fewer calls, no case"] += 1
        return
    played.counts["cases"] += 1
    played.counts[re.sub(r"[ :][\d+]+$", "", name)] += 1
    if result:
        played.violations += [Violation(each.invariant, each.run, f"{name}: {each.seen}") for each in result]
        played.failing.append(name)


def _catch(budget: Budget) -> Caught:
    """Let a store swallow that the disk is full; count calls until that is noticed."""
    check_may_trace()
    began = time.monotonic()
    by: tuple[str, ...] = ()
    violations: Violations = []
    for number in range(5):
        folder = budget.folder / f"swallowed-{number}"
        folder.mkdir()
        nth = 60 + 10 * number
        with suppress(NotReached):
            violations = call_fails(folder, "pwrite64", "ENOSPC", nth, for_good=False, within=SWALLOWED)
        shutil.rmtree(folder)
        if by := noticed(violations, SWALLOWING_SHOWS):
            break
    return Caught(bug=SWALLOWS, cases=number + 1 if by else None, by=by, seconds=time.monotonic() - began)


LAYER: Final = Layer("L6", "faults of the disk under the store", play, 100, (SWALLOWS,))
