"""L3: real processes are killed with SIGKILL at random times, and stopped, and their children killed; then all is checked.

An episode is one database, its clients, and so many lives that end by force, one after the other; after the last
one nothing is disturbed any more, all runs have to end, and the checker is asked. Lives are
forked from a nursery, which makes thousands of kills affordable; some are begun as users begin them, and it is those
whose times to recover are told, of starts that nothing disturbs. A kill is a SIGKILL to a process that was alive.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

from tests.reliability.commands import session
from tests.reliability.evidence import Violation
from tests.reliability.house.driver import House, noticed, unplayable
from tests.reliability.house.ledger import Ledger, Trouble, repeated
from tests.reliability.house.lives import Died, Life, Nursery, descendants, kill_child
from tests.reliability.house.stories import COMMON, RARE, Stories
from tests.reliability.programme import Budget, Caught, Layer, Record

KILLS_IN_CI: Final = 32
KILLS_PER_EPISODE: Final = 16
BEGUN_AS_USERS_DO: Final = 0.2
READY_SECONDS: Final = 0.06
"""About how long a forked process takes until it is ready; kills during its start are spread over this."""

COMMANDS_EVERY: Final = 12
COMMANDS_KILLED: Final = 4
"""After so many episodes, so many commands of one run are killed."""

BREAKS_MAX: Final = 10
KILLS_TO_CATCH: Final = 6
CATCH_EPISODES_MAX: Final = 40
HUNTING: Final = 0.5
"""The share of the time in which bugs are hunted at most."""
PATIENCE_WITH_BUG: Final = 3.0
"""How long runs may take to end in a process that has a bug: it may lose them."""

VISIBLE: Final = ("another key after a restart", "a secret in the journal", "commands before the fsync")
VISIBLE_AT_NIGHT: Final[Mapping[str, tuple[str, ...]]] = {
    "another key after a restart": ("I4",),
    "a secret in the journal": ("I11",),
    "commands before the fsync": ("I4", "I5", "promise"),
    "acknowledged before the commit": ("I1", "I7", "promise"),
    "a lost wake up": ("I1",),
    "a full disk swallowed": ("I1", "I4", "I5", "I7", "promise"),
    "two processes on one database": ("I3",),
    "a gap in seq": ("I3", "I10", "promise"),
    "a snapshot one entry ahead": ("I3", "I4", "I10"),
    "another key for each attempt": ("I4",),
    "answers taken twice": ("I3", "I4", "I10"),
    "a pause that does not pause": ("I4", "I5"),
    "undo forgotten after a crash": ("I4", "I10"),
    "timers forgotten on restart": ("I1", "I6"),
    "listeners forgotten on restart": ("I1", "I7"),
    "recovery stops early": ("I1", "I7"),
    "a signal lost on a run put aside": ("I1", "I7"),
    "signals in another order": ("I7", "I10"),
    "a cancellation that is not durable": ("I1", "promise"),
    "two copies of a run": ("I3", "I4", "I10", "promise"),
}
"""The bugs of the zoo that a real process shows when it is killed, and the invariants that may show each.

The others need what the simulation can do. Whoever waits for a run takes it up: that one was not taken up at the start shows itself
by the events that it did not hear.
"""

SCALE_OF_NIGHTS: Final = 4.0

SQUEEZED: Final = ("tests.reliability.house.squeezed:squeezed",)
CHILDREN: Final = {"evaluation_child": "evaluator", "multiprocessing": "step process"}


@dataclass(slots=True)
class Played:
    """What an episode did and found."""

    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    ready: list[float] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    repeated: tuple[int, int] = (0, 0)
    counted_kills: int = 0
    lost: int = 0


class Killer:
    """Ends lives by force, each in another way and at another time."""

    def __init__(self, house: House, random: Random, counts: Counter[str], slowly: float = 0.0) -> None:
        """Begin this share of lives as users do."""
        self._house = house
        self._random = random
        self._counts = counts
        self._slowly = slowly
        self.undisturbed: set[int] = set()
        """The numbers of the lives that were left alone until they were ready."""

    async def kill_one(self) -> Life:
        """Begin a life and end it; return it."""
        house, random = self._house, self._random
        forked = random.random() >= self._slowly
        starting = asyncio.create_task(house.start(forked=forked))
        if random.random() < 0.25:
            await asyncio.wait([starting], timeout=random.random() * READY_SECONDS * (1 if forked else 6))
            how = "kills while starting" if not starting.done() else "kills at once"
        else:
            await starting
            self.undisturbed.add(house.life.number)
            how = await self._disturb()
        if await house.kill():
            self._counts["kills"] += 1
            self._counts[how or "kills while working"] += 1
        else:
            self._counts["lives that had ended before they were killed"] += 1
        with suppress(Died):
            await starting
        self._look()
        return house.life

    def _look(self) -> None:
        """Now and then, read what is there as another process does."""
        if self._random.random() < 0.2:
            try:
                self._house.look()
            except sqlite3.OperationalError:
                return  # the first process was killed before there was a table
            self._counts["looks from outside"] += 1

    async def _disturb(self) -> str:
        """Let the process work for a while, or stop it for a moment, or kill its children.

        Return what a kill after that is called, "" where it is none of its own kind.
        """
        house, random = self._house, self._random
        life, roll = house.life, random.random()
        self._look()
        with suppress(TimeoutError):
            await life.wait(lambda: life.entries > 0, 1.0)
        if roll < 0.15:
            await house.pause(random.random() * 0.05)
            self._counts["pauses"] += 1
        elif roll < 0.2:
            await house.rival()
            self._counts["second processes"] += 1
        elif roll < 0.35:
            await self._kill_children()
        elif roll < 0.42:
            await house.starve(0.3)
            self._counts["stores that failed"] += house.failed.is_set()
        elif roll < 0.8:
            wanted = life.entries + int(random.expovariate(1 / 25))
            with suppress(TimeoutError):
                await life.wait(lambda: life.entries >= wanted, 0.5)
        await asyncio.sleep(random.random() ** 2 * 0.05)
        if roll > 0.95:
            life.send_signal(signal.SIGSTOP)
            return "kills while stopped"
        if roll > 0.85:
            closing = asyncio.create_task(house.stop())
            await asyncio.wait([closing], timeout=random.random() ** 2 * 0.03)
            return "kills while closing"
        return ""

    async def _kill_children(self) -> None:
        """Kill one child after the other, as they come, for a moment."""
        deadline = time.monotonic() + 0.3
        killed = 0
        while time.monotonic() < deadline and not killed:
            for pid, command in descendants(self._house.life.pid).items():
                kind = next((name for word, name in CHILDREN.items() if word in command), None)
                if kind is not None and self._random.random() < 0.5 and kill_child(pid):
                    self._counts[f"kills of an {kind}" if kind == "evaluator" else f"kills of a {kind}"] += 1
                    killed += 1
            await asyncio.sleep(0.02)


async def episode(
    folder: Path,
    nursery: Nursery,
    seed: int,
    kills: int,
    *,
    bug: str | None = None,
    patience: float = 60.0,
    slowly: float = BEGUN_AS_USERS_DO,
) -> Played:
    """Play one episode; a `bug` of the zoo is in all lives that are killed, and in the last one too.

    This share of lives is begun `slowly`, as users do.
    """
    random, played = Random(seed), Played()
    difficult = random.random() < 0.5
    trouble = (
        Trouble(lose=0.05, refuse=0.05, slow=0.2, seed=seed) if difficult else Trouble(slow=0.1, seed=seed)
    )
    kinds = {**COMMON, **RARE} if random.random() < 0.2 else COMMON
    within = () if random.random() < 0.5 else SQUEEZED
    os.makedirs(folder)
    async with (
        Ledger(folder / "ledger.jsonl", trouble) as ledger,
        House(folder, ledger, nursery=nursery, bug=bug, within=within) as house,
    ):
        stories = Stories(house, seed=seed, kinds=kinds)
        stories.begin()
        killer = Killer(house, random, played.counts, slowly)
        for _ in range(kills):
            await killer.kill_one()
        await house.start()
        await stories.stop(patience)
        await house.settle(patience)
        await house.stop()
        played.violations = house.violations()
        played.counts["runs folded"] = house.folded
        played.lost = house.lost
        _measure(played, house, difficult, killer.undisturbed)
    return played


def _measure(played: Played, house: House, difficult: bool, undisturbed: set[int]) -> None:
    """Take down the times and numbers of an episode."""
    played.counts["runs"] = len({run for run, _ in house.seen_at})
    played.counts["entries"] = len(house.seen_at)
    played.counts["effects"] = len(house.ledger.effects)
    played.counts["acknowledged"] = sum(call.what == "ok" for call in house.calls)
    played.counts["acknowledged starts"] = len(
        {call.run for call in house.calls if call.verb == "start" and call.what == "ok"}
    )
    played.counts["unknown to clients"] = sum(call.what == "info" for call in house.calls)
    played.ready, played.progress = recovered(house.lives, undisturbed)
    if not difficult:
        played.repeated = repeated(house.ledger.effects)
        played.counted_kills = played.counts["kills"]


def recovered(lives: Sequence[Life], undisturbed: Container[int]) -> tuple[list[float], list[float]]:
    """Return the seconds from each kill until the next life was ready, and until it showed its first entry.

    Only of lives begun as users do, and that nobody meant to kill before they were ready: of the others, only the
    quick ones would be counted.
    """
    ready, progress = [], []
    for before, life in pairwise(lives):
        if life.number in undisturbed and not life.forked and life.ready and before.killed:
            ready.append(life.ready - before.killed)
            progress += [life.first_entry - before.killed] if life.first_entry else []
    return ready, progress


# ── the layer ────────────────────────────────────────────────────────────────────────────


def play(budget: Budget) -> Record:
    """Play as many kills as the budget has."""
    return asyncio.run(_play(budget))


async def _play(budget: Budget) -> Record:
    began = time.monotonic()
    total, failing = Played(), []
    wanted, episodes, breaks = budget.cases(KILLS_IN_CI), 0, 0
    bugs = VISIBLE if budget.scale < SCALE_OF_NIGHTS else VISIBLE_AT_NIGHT
    with Nursery() as nursery:
        hunting = budget.share(HUNTING)
        hunts = [await catch(hunting, nursery, bug) for bug in bugs if not hunting.over()]
        await _without_bug(
            budget, nursery, max((episodes for _, episodes in hunts), default=1), total, failing
        )
        # An episode that breaks off counts no kill: a few of them are enough.
        while episodes == 0 or (total.counts["kills"] < wanted and breaks < BREAKS_MAX and not budget.over()):
            seed = budget.seed + episodes
            episodes += 1
            folder = budget.folder / f"kills-{seed}"
            try:
                played = await episode(folder, nursery, seed, KILLS_PER_EPISODE)
            except Exception as error:
                played = Played(violations=[unplayable(error)])
                breaks += 1
            _add(total, played)
            if played.violations:
                failing.append(f"episode:{seed}")
            shutil.rmtree(folder)
            if episodes % COMMANDS_EVERY == 1:
                await _command_line(budget, seed, total, failing)
    return Record(
        layer=LAYER.name,
        cases=total.counts["kills"],
        seconds=time.monotonic() - began,
        counts={"episodes": episodes, **dict(sorted(total.counts.items()))},
        violations=tuple(total.violations),
        failing=tuple(failing),
        caught=tuple(caught for caught, _ in hunts),
        figures=_figures(total),
    )


async def _command_line(budget: Budget, seed: int, total: Played, failing: list[str]) -> None:
    folder = budget.folder / f"commands-{seed}"
    try:
        violations, counts = await session(folder, seed, COMMANDS_KILLED)
    except Exception as error:
        violations, counts = [unplayable(error)], Counter()
    total.violations += violations
    total.counts.update(counts)
    total.counts["kills"] += counts["kills of commands"]
    if violations:
        failing.append(f"commands:{seed}")
    shutil.rmtree(folder)


async def catch(budget: Budget, nursery: Nursery, bug: str) -> tuple[Caught, int]:
    """Play short episodes with a bug of the zoo until one is noticed, or time is up.

    Return how that went, with the kills until then as `cases`, and the number of episodes.
    """
    began, kills, number = time.monotonic(), 0, 0
    by: tuple[str, ...] = ()
    while not by and number < CATCH_EPISODES_MAX and not (number and budget.over()):
        played = await _short(budget, nursery, number, bug)
        kills += played.counts["kills"]
        number += 1
        by = noticed(played.violations, VISIBLE_AT_NIGHT[bug])
    caught = Caught(
        bug=bug,
        cases=kills if by else None,
        by=by,
        seconds=time.monotonic() - began,
        broken_off_after=kills if not by and number < CATCH_EPISODES_MAX else None,
    )
    return caught, number


async def _without_bug(
    budget: Budget, nursery: Nursery, episodes: int, total: Played, failing: list[str]
) -> None:
    """Play as many episodes as the longest hunt had, with no bug in them: what is noticed there is noticed wrongly."""
    for number in range(episodes):
        if number and budget.over():
            break
        played = await _short(budget, nursery, number, None)
        total.violations += played.violations
        total.counts["episodes of hunts, without a bug"] += 1
        failing += [f"without a bug:{number}"] if played.violations else []


async def _short(budget: Budget, nursery: Nursery, number: int, bug: str | None) -> Played:
    """Play one episode as long as those in which bugs are hunted."""
    folder = budget.folder / f"{bug}-{number}"
    try:
        return await episode(
            folder,
            nursery,
            1000 * budget.seed + number,
            KILLS_TO_CATCH,
            bug=bug,
            patience=PATIENCE_WITH_BUG,
            slowly=0.0,
        )
    except Exception as error:
        return Played(violations=[unplayable(error)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _add(total: Played, played: Played) -> None:
    total.violations += played.violations
    total.counts.update(played.counts)
    total.ready += played.ready
    total.progress += played.progress
    total.repeated = (total.repeated[0] + played.repeated[0], total.repeated[1] + played.repeated[1])
    total.counted_kills += played.counted_kills
    total.lost += played.lost


def _figures(total: Played) -> dict[str, str]:
    kills = max(total.counted_kills, 1)
    return {
        "SIGKILL to ready": told(total.ready),
        "SIGKILL to first progress": told(total.progress),
        "entries shown and starts acknowledged that are gone": f"{total.lost}"
        f" of {total.counts['entries'] + total.counts['acknowledged starts']}",
        "effects repeated, per kill": f"{total.repeated[0] / kills:.3f} at a receiver that takes all,"
        f" {total.repeated[1] / kills:.3f} at one that knows keys ({total.counted_kills} kills)",
    }


def told(seconds: list[float]) -> str:
    """Return the median, the 99th percentile and the number of some times."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {ordered[len(ordered) // 2] * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms ({len(ordered)})"


LAYER: Final = Layer(
    "L3", "SIGKILL of real processes at random times", play, 3000 / KILLS_IN_CI, tuple(VISIBLE_AT_NIGHT)
)
