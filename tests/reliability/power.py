"""L5: the power fails. SQLite only: there is no storage in PostgreSQL yet.

Two ways, since each sees what the other cannot. *Cuts*: the house works on an ext4 file system of its own, which is
shut down under it at a random moment without writing back what it holds in memory; mounted again, it has what
was synced. *States*: a real process is written down by strace, what it wrote, synced and acknowledged, and the disks that
a power failure may leave behind at any place of that are made from it: sectors of 512 bytes, in any order, each
there or not, as a disk may do that reorders what is in its cache.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

from tests.reliability.checker import check
from tests.reliability.disk.crashes import DATABASE, Crashes, Found, left
from tests.reliability.disk.lives import Heard, born, command
from tests.reliability.disk.mounts import Disk, ext4
from tests.reliability.disk.tracing import Act, Said, Synced, Unfinished, Wrote, check_may_trace, traced
from tests.reliability.evidence import Violation
from tests.reliability.house.driver import House, noticed
from tests.reliability.house.ledger import Ledger
from tests.reliability.house.lives import Died, Nursery
from tests.reliability.house.stories import Stories
from tests.reliability.kills import told
from tests.reliability.programme import Budget, Caught, Layer, Record, broken, fewer, memory
from tests.reliability.reading import read_journals
from tests.servers.provision import CannotRun

NOT_YET: Final = ("PostgreSQL: Tenuto has no storage in PostgreSQL yet",)
CUTS_IN_CI: Final = 10
CUTS_PER_EPISODE: Final = 5
STATES_PER_RECORDING: Final = 250
CARRIED_ON_PER_RECORDING: Final = 2
"""Of so many states a new process takes over, and has to bring all runs to their end."""

SYNCS: Final = 30
"""About how many syncs a recorded life makes in one thread; one of them may fail."""

FAILED: Final = 3
"""The exit code of a life whose store failed."""

SMALL: Final = ("--pages", "30", "--inline", "250")
"""Small limits, so that a short life moves its log into the database and stores blobs."""

SHORTENED: Final = ("--log", "200000")
"""A limit that also lets it shorten the log."""

CONTROL_EPISODES_MAX: Final = 5
FREEZE_SECONDS_MAX: Final = 10.0
WEAK: Final = "tests.reliability.disk.weaknesses:"


class NotReached(Exception):
    """The fault that was to be played did not come about: that is no case."""


@dataclass(slots=True)
class Played:
    """What was done and found so far."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)
    not_played: list[str] = field(default_factory=list)

    def add(self, case: str, violations: list[Violation]) -> None:
        """Take down what a case violated."""
        if violations:
            self.violations += violations
            self.failing.append(case)


# ── cuts: a real file system loses its power ──────────────────────────────────────────────


async def episode(
    disk: Disk, folder: Path, nursery: Nursery, seed: int, cuts: int, played: Played, within: str = ""
) -> list[Violation]:
    """Let a house work on a disk whose power fails so many times; return what is wrong in the end.

    It begins in folders that are not there yet, and the first cut comes as soon as anything was acknowledged.
    """
    random = Random(seed)
    os.makedirs(folder)
    database = disk.place / f"{seed}" / "new" / "deep" / "house.db"
    modules = (WEAK + within,) if within else ()
    async with (
        Ledger(folder / "ledger.jsonl") as ledger,
        House(folder, ledger, database=database, nursery=nursery, within=modules) as house,
    ):
        stories = Stories(house, seed=seed)
        stories.begin()
        for number in range(cuts):
            await _until_cut(house, random, at_once=number == 0)
            _freeze(house)
            disk.cut_power()
            await house.kill()
            disk.again()
            played.counts["power cuts"] += 1
            if lost := _lost(house, folder / "copy"):
                await stories.join(0.0)
                return lost
        life = await house.start()
        assert life.ready is not None
        played.restarts.append(life.ready - life.began)
        await stories.stop()
        await house.settle()
        await house.stop()
        played.counts["entries shown as durable, on ext4"] += len(house.seen_at)
        return house.violations()


async def _until_cut(house: House, random: Random, *, at_once: bool) -> None:
    """Begin a life, and return at the moment at which its power is to fail."""
    starting = asyncio.create_task(house.start())
    if not at_once and random.random() < 0.2:
        await asyncio.wait([starting], timeout=random.random() * 0.06)
    else:
        await starting
        wanted = 1 if at_once else 1 + int(random.expovariate(1 / 60))
        with suppress(TimeoutError):
            await house.life.wait(lambda: house.life.entries >= wanted, 2.0)
        await asyncio.sleep(0 if at_once else random.random() * 0.01)
    starting.add_done_callback(lambda task: task.cancelled() or task.exception())


def _freeze(house: House) -> None:
    """Let the process do nothing more of its own, wherever it is.

    Otherwise a sync that is under way while the file system is shut down may return as if it had worked, which
    none does on a machine without power; and the process would acknowledge what it waited for.
    """
    house.life.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + FREEZE_SECONDS_MAX
    with suppress(FileNotFoundError, ProcessLookupError):  # It ended of itself.
        while time.monotonic() < deadline:
            tasks = Path(f"/proc/{house.life.pid}/task").iterdir()
            states = {(task / "stat").read_text().rpartition(") ")[2][0] for task in tasks}
            if "R" not in states:
                return
        raise AssertionError(f"the process does not stop: {states}")


def _lost(house: House, folder: Path) -> list[Violation]:
    """Say what is not there any more that was acknowledged, or that the file is damaged; by a copy."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    copy = folder / house.database.name
    for there in (house.database, Path(f"{house.database}-wal")):
        if there.exists():
            shutil.copy(there, folder)
    try:
        with closing(sqlite3.connect(copy)) as database:
            (sound,) = database.execute("PRAGMA integrity_check").fetchone()
        journals = read_journals(copy) if house.seen_at else {}
    except sqlite3.Error as error:
        return [Violation("promise", "", f"after the power failed: {error}")]
    if sound != "ok":
        return [Violation("promise", "", f"after the power failed: integrity_check: {sound}")]
    return [
        Violation("promise", run, f"entry {seq} was acknowledged and is gone after the power failed")
        for run, seq in sorted(house.seen_at)
        if run not in journals or seq > len(journals[run][1])
    ]


# ── states: all that a disk may hold ─────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Recording:
    """What lives did to a folder that held `files`; states after the first `after` acts are of interest.

    `before` are the acts of a life that left these files.
    """

    kind: str
    acts: list[Act]
    name: str = DATABASE
    files: dict[str, bytes] = field(default_factory=dict)
    after: int = 0
    before: list[Act] = field(default_factory=list)


def fresh(folder: Path, random: Random, *options: str) -> Recording:
    """One life, in folders that were not there."""
    name = f"new/deep/{DATABASE}"
    return Recording("a new database", _live(folder, 1, *SHORTENED, *options, name=name), name)


def killed(folder: Path, random: Random, *options: str) -> Recording:
    """A life that is killed anywhere, and another one that goes on from what it wrote, synced or not."""
    first = _live(folder, 1, *options)
    first = first[: random.randrange(1, len(first))]
    second = _live(folder, 2, *random.choice(((), SHORTENED)), *options, files=left(first))
    return Recording("a kill before", first + second, after=len(first))


def killed_as_a_sync_failed(folder: Path, random: Random, *options: str) -> Recording:
    """A life is killed at the moment at which a sync of the log fails; another one goes on from what is in memory."""
    options = (*random.choice(((), ("--pages", "1000"))), *options)
    first, log = _live(folder, 1, *options), f"{DATABASE}-wal"
    failed = random.choice(
        [
            place
            for place, act in enumerate(first)
            if act == Synced(log) and isinstance(first[place - 1], Wrote) and first[place - 1].name == log
        ]
    )
    first = [*first[:failed], Synced(log, worked=False)]
    second = _live(folder, 2, *options, files=left(first))
    return Recording("a failed sync and a kill before", first + second, after=failed)


def sync_failed(folder: Path, random: Random, *options: str) -> Recording:
    """A life in which any sync fails, once, and which has to end of that; another one goes on.

    Raises:
        NotReached: It did not sync so often.
    """
    rule = f"--inject=fdatasync:error=EIO:when={random.randint(1, SYNCS)}"
    first = _live(folder, 1, *options, rule=rule)
    places = [place for place, act in enumerate(first) if isinstance(act, Synced) and not act.worked]
    if not places:
        raise NotReached
    failed = places[0]
    second = _live(folder, 2, *options, files=left(first))
    return Recording("a failed sync before", first + second, after=failed)


def power_failed(folder: Path, random: Random, *options: str) -> Recording:
    """The power fails in a life, and again while the next one recovers and goes on."""
    first = _live(folder, 1, *options)
    first = first[: random.randrange(1, len(first))]
    files = left(first, random, random.random())
    second = _live(folder, 2, *options, files=files)
    return Recording("a power failure before", second, files=files, before=first)


Kind: TypeAlias = Callable[..., Recording]
KINDS: Final[tuple[Kind, ...]] = (fresh, killed_as_a_sync_failed, sync_failed, killed, power_failed)


def _live(
    folder: Path,
    life: int,
    *options: str,
    files: dict[str, bytes] | None = None,
    name: str = DATABASE,
    rule: str = "",
) -> list[Act]:
    """Write a whole life down: one that broke off must not be taken for one that had no more to lose.

    Raises:
        Unfinished: It did not get to its end, although no sync failed in it.
    """
    place = folder / f"life-{life}"
    place.mkdir(parents=True)
    for file, data in (files or {}).items():
        (place / file).write_bytes(data)
    line = command(place / name, life, "--runs", "5", *SMALL, *options)
    is_weak = "--within" in options  # That may also break it, and is to be noticed in whatever it did.
    ends = None if is_weak else (0, FAILED) if rule else (0,)
    acts = traced(line, place, folder / f"log-{life}", *filter(None, [rule]), ends=ends)
    said = {
        line.partition(b" ")[0] for act in acts if isinstance(act, Said) for line in act.text.splitlines()
    }
    has_failed = any(isinstance(act, Synced) and not act.worked for act in acts)
    if not is_weak and b"over" not in said and not (has_failed and b"failed" in said):
        raise Unfinished(f"life {life} said {sorted(said)}")
    return acts


def explored(recording: Recording, states: int, random: Random, place: Path) -> Iterator[Found | None]:
    """Yield what is wrong with each of so many states."""
    crashes = Crashes(
        recording.acts, place, name=recording.name, files=recording.files, after=recording.after
    )
    return crashes.explore(states, random)


def carried_on(recording: Recording, random: Random, folder: Path) -> list[Violation]:
    """Let a new process take over from a crash state, and check everything once all runs are over."""
    place = random.randrange(recording.after, len(recording.acts))
    acts = recording.acts[: place + 1]
    heard = Heard()
    said = [act.text for act in (*recording.before, *acts) if isinstance(act, Said)]
    heard.take(line for text in said for line in text.splitlines())
    database = folder / recording.name
    for name, data in left(acts, random, random.random(), files=recording.files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    with born(database, 9, "--runs", "2") as life:
        lines, errors = life.end()
    heard.take(lines)
    if not any(line.startswith(b"over") for line in lines):
        return [Violation("I1", "", f"the process that took over did not get to its end: {errors[-300:]!r}")]
    return check(heard.evidence(database, settled=True))


def record_and_explore(budget: Budget, number: int, states: int, played: Played) -> None:
    """Write lives down, and look at what the power's failure may leave of them."""
    seed = budget.seed + number
    random, folder = Random(seed), budget.folder / f"states-{seed}"
    kind = KINDS[number % len(KINDS)]
    try:
        recording = kind(folder, random)
    except NotReached:
        played.counts["recordings in which no sync failed: not played"] += 1
        shutil.rmtree(folder)
        return
    played.counts[f"recordings, {recording.kind}"] += 1
    with memory() as place:
        for found in explored(recording, states, random, place / "state"):
            played.counts["crash states"] += 1
            if found is not None:
                seen = f"{recording.kind}, after act {found.act}, kept {found.kept}: {found.seen}"
                played.add(f"states:{seed}:{kind.__name__}", [Violation("promise", "", seen)])
        for again in range(CARRIED_ON_PER_RECORDING):
            played.counts["crash states carried on to the end"] += 1
            violations = carried_on(recording, random, place / f"on-{again}")
            played.add(f"carried:{seed}:{kind.__name__}", violations)
    shutil.rmtree(folder)


# ── the layer ────────────────────────────────────────────────────────────────────────────


def play(budget: Budget) -> Record:
    """Play cuts and states in turn, then what has to be noticed."""
    began = time.monotonic()
    played = Played()
    caught: list[Caught] = []
    episodes = max(1, round(budget.cases(CUTS_IN_CI) / CUTS_PER_EPISODE))
    with _played(played, "cuts of the power of ext4"):
        asyncio.run(_cuts(budget, episodes, played, caught))
    with _played(played, "crash states"):
        check_may_trace()
        for number in range(episodes):
            if number and budget.over():
                played.not_played += fewer("recordings whose states are explored", number, episodes)
                break
            with _played(played, f"states:{budget.seed + number}"):
                record_and_explore(budget, number, STATES_PER_RECORDING, played)
        for control in CONTROLS:
            with _played(played, f"the hunt for {control[0]}"):
                caught.append(_catch(budget, *control))
    played.not_played += NOT_YET
    return Record(
        layer=LAYER.name,
        cases=played.counts["power cuts"] + played.counts["crash states"],
        seconds=time.monotonic() - began,
        counts=dict(sorted(played.counts.items())),
        violations=tuple(played.violations),
        failing=tuple(played.failing),
        caught=tuple(caught),
        figures={"restart after a power cut, forked, to ready": told(played.restarts)},
        not_played=tuple(played.not_played),
    )


@contextmanager
def _played(played: Played, what: str) -> Iterator[None]:
    """Go on with the rest where a part cannot be played here, or breaks off: that is a finding."""
    try:
        yield
    except CannotRun as reason:
        played.not_played.append(f"{what}: {reason}")
    except Exception as error:
        played.add(what, [broken(what, error)])


async def _cuts(budget: Budget, episodes: int, played: Played, caught: list[Caught]) -> None:
    # The night gives half of its time to cuts, half to states.
    half = budget.share(0.5)
    with ext4(budget.folder / "ext4") as disk, Nursery() as nursery:
        for number in range(episodes):
            if number and half.over():
                played.not_played += fewer("episodes of cuts", number, episodes)
                break
            seed = budget.seed + number
            folder = budget.folder / f"cuts-{seed}"
            violations = await episode(disk, folder, nursery, seed, CUTS_PER_EPISODE, played)
            played.add(f"cuts:{seed}", violations)
            shutil.rmtree(folder)
            shutil.rmtree(disk.place / f"{seed}")
        caught += [await _catch_by_cuts(disk, budget, nursery, weakness) for weakness in WEAKNESSES]


async def _catch_by_cuts(disk: Disk, budget: Budget, nursery: Nursery, weakness: str) -> Caught:
    began, tried = time.monotonic(), Played()
    by: tuple[str, ...] = ()
    for number in range(CONTROL_EPISODES_MAX):
        seed = 1000 * budget.seed + number
        folder = budget.folder / f"{weakness}-{seed}"
        with suppress(Died):
            seen = await episode(disk, folder, nursery, seed, CUTS_PER_EPISODE, tried, weakness)
            by = noticed(seen, CUTS_SHOW)
        shutil.rmtree(disk.place / f"{seed}", ignore_errors=True)
        if by:
            break
    return Caught(
        bug=_of_cuts(weakness),
        cases=tried.counts["power cuts"] if by else None,
        by=by,
        seconds=time.monotonic() - began,
    )


CUTS_SHOW: Final = ("I1", "I4", "I7", "promise")
"""A start or a signal that was acknowledged, or what was done for an entry, is gone; or the entry itself."""

WEAKNESSES: Final = ("synchronous_normal", "synchronous_off")
CONTROLS: Final[tuple[tuple[str, Kind, tuple[str, ...]], ...]] = (
    ("synchronous_normal", fresh, ()),
    ("synchronous_off", fresh, ()),
    ("folders_not_synced", fresh, ()),
    ("log_not_written_again", killed_as_a_sync_failed, ("--pages", "1000")),
    ("acknowledged_before_the_commit", fresh, ()),
    ("commands_before_the_fsync", fresh, ()),
)


def _catch(budget: Budget, weakness: str, kind: Kind, options: tuple[str, ...]) -> Caught:
    """Look at states of a store with a weakness until one is noticed."""
    began, states, seen = time.monotonic(), 0, False
    for number in range(CONTROL_EPISODES_MAX):
        if seen:
            break
        seed = 1000 * budget.seed + number
        folder = budget.folder / f"{weakness}-{seed}"
        recording = kind(folder, Random(seed), "--within", WEAK + weakness, *options)
        with memory() as place:
            for found in explored(recording, STATES_PER_RECORDING, Random(seed), place / "state"):
                states += 1
                if found is not None:
                    seen = True
                    break
    return Caught(
        bug=_of_states(weakness),
        cases=states if seen else None,
        by=("promise",) if seen else (),
        seconds=time.monotonic() - began,
    )


def _of_cuts(weakness: str) -> str:
    return f"{weakness.replace('_', '=')} (cuts)"


def _of_states(weakness: str) -> str:
    return f"{weakness.replace('_', ' ')} (states)"


LAYER: Final = Layer(
    "L5",
    "power failure",
    play,
    1000 / CUTS_IN_CI,
    (*map(_of_cuts, WEAKNESSES), *(_of_states(control[0]) for control in CONTROLS)),
)
