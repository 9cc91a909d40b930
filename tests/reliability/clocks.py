"""L8: the clock is set, runs too fast or too slow, comes to a change of summer time or a leap second.

*Processes* run under libfaketime, which turns what they take for the time of day; the monotonic clock stays as it is, as it
does where a machine's clock is set. *Seeds* play in this process, with a clock that may jump between any two looks at it.

What has to hold: by the recorded clock no timer fires early, each fires once, none is lost; by a clock that nobody turns,
each fires at most `BOUND_SECONDS` after the turned clock has come to its time; limits of steps do not notice. Recorded times
are what the machine's clock said: where it was set back, a run may have ended before it was started.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias
from unittest import mock
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from tenuto import App
from tenuto.runtime import timers
from tests.reliability.checker import check
from tests.reliability.disk.life import shown
from tests.reliability.disk.lives import Heard, Life, born, overheard
from tests.reliability.evidence import Violation
from tests.reliability.house.driver import noticed
from tests.reliability.programme import Budget, Caught, Layer, Record, at_once, broken, fewer
from tests.reliability.reading import builder
from tests.reliability.waiting import LIMIT_SECONDS, WORKFLOWS, told, waiting
from tests.servers.provision import CannotRun, program

NOT_YET: Final = ("ticks of schedules (I12): schedules do not run before there is a server",)
SEEDS_IN_CI: Final = 12
SEEDS_SHARE: Final = 0.5
"""Of the time, at most; processes have the rest."""

CATCH_SEEDS_MAX: Final = 20
AT_ONCE: Final = 2
HOUR: Final = 3600.0
DAY: Final = 86_400.0
BOUND_SECONDS: Final = 10.0
"""Within this a due timer has fired, on a machine that has much else to do; in production it is half a minute."""

BERLIN: Final = "Europe/Berlin"
TRUSTING: Final = "timers that trust their sleep"
LIBRARY: Final = "libfaketimeMT.so.1"  # the one for programs with threads
PROGRAMS: Final = builder(WORKFLOWS)

Violations: TypeAlias = list[Violation]


# ── a process whose clock is turned ──────────────────────────────────────────────────────


class Turned:
    """The time of day that a process sees, told to it by a file."""

    def __init__(self, folder: Path) -> None:
        program("faketime", "faketime")
        libraries = [
            *Path("/usr/lib").glob(f"*/faketime/{LIBRARY}"),
            *Path("/usr/lib/faketime").glob(LIBRARY),
        ]
        if not libraries:
            raise CannotRun(f"the package faketime has no {LIBRARY}")
        self._file = folder / "clock"
        self.turn(0.0)
        self.environment = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def turn(self, seconds: float, rate: float = 1.0) -> None:
        """Set the clock so much before or after the real time, and let it run so fast from the process's start on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.3f}" + (f" x{rate:g}" if rate != 1.0 else ""))
        new.replace(self._file)


class Episode:
    """Lives under one clock, what they said, and what was wrong about it; each run waits so many seconds."""

    def __init__(self, folder: Path, waits: tuple[float, ...], zone: str = "UTC") -> None:
        self.clock = Turned(folder)
        self.waits = waits
        self.wrong: list[str] = []
        self._database = folder / "t.db"
        self._zone = zone
        self._heard = Heard()
        self._lives = 0

    @contextmanager
    def life(self) -> Iterator[Life]:
        """Be in the next life, until it is killed or over."""
        self._lives += 1
        waits = [f"{seconds:g}" for seconds in self.waits]
        environment = {**self.clock.environment, "TZ": self._zone}
        module = "tests.reliability.waiting"
        with born(self._database, self._lives, *waits, environment=environment, module=module) as life:
            life.until(lambda line: line.startswith(b"ready"), 1)
            yield life
            life.kill()
            lines, errors = life.end()
        lines = [*life.heard, *lines]
        self._heard.take(lines)
        if b"Traceback" in errors:
            self.wrong.append(f"life {self._lives}: {errors[-400:].decode(errors='replace')}")
        for line in lines:
            if line.startswith(b"limited"):
                self._check_limited(msgspec.json.decode(line.partition(b" ")[2]))

    def _check_limited(self, outcome: list[Any]) -> None:
        quick, slow, seconds = outcome
        soonest = LIMIT_SECONDS if self._lives == 1 else 0.0  # in a later life they may have ended before
        if [quick, slow] != ["done", "timed out"] or not soonest <= seconds < BOUND_SECONDS:
            self.wrong.append(f"steps with limits ended {outcome}")

    def fires(self, life: Life, *places: int) -> None:
        """Wait until timers that are due have fired."""
        began = time.monotonic()
        for place in places:
            while f"waits-{place}" not in _told(life) and life.process.poll() is None:
                life.until(lambda line: line.startswith(b"effect"), 1)
            late = time.monotonic() - began
            if late > BOUND_SECONDS:
                self.wrong.append(
                    f"the timer of {self.waits[place]:g} s fired {late:.1f} s after its time had come"
                )

    def hears_of_limits(self, life: Life) -> None:
        """Wait until both steps with limits have ended: for long enough to have looked at the clock."""
        if not any(line.startswith(b"limited") for line in life.heard):
            life.until(lambda line: line.startswith(b"limited"), 1)

    def over(self, life: Life) -> None:
        """Wait for the end of all runs."""
        began = time.monotonic()
        life.until(lambda line: line.startswith(b"over"), 1)
        if not life.heard[-1].startswith(b"over") or time.monotonic() - began > BOUND_SECONDS:
            self.wrong.append("its runs did not come to their end in time")

    def violations(self) -> Violations:
        """Return everything that was wrong."""
        evidence = self._heard.evidence(self._database, settled=True, programs=PROGRAMS, clocks_agree=False)
        return [*[Violation("I6", "", text) for text in self.wrong], *check(evidence)]


def _told(life: Life) -> set[str]:
    effects = [line.partition(b" ")[2] for line in life.heard if line.startswith(b"effect")]
    return {msgspec.json.decode(effect)["run"] for effect in effects}


# ── what is done to clocks ───────────────────────────────────────────────────────────────


def set_forward(folder: Path, random: Random) -> Violations:
    """By a day, and once more while nobody runs."""
    episode = Episode(folder, (HOUR, DAY + HOUR, 2 * DAY + HOUR))
    with episode.life() as life:
        episode.clock.turn(DAY)
        episode.fires(life, 0)
    episode.clock.turn(2 * DAY)
    with episode.life() as life:
        episode.fires(life, 1)
        episode.clock.turn(3 * DAY)
        episode.over(life)
    return episode.violations()


def set_back(folder: Path, random: Random) -> Violations:
    """By a day while runs wait, once more while nobody runs, and then right again."""
    episode = Episode(folder, (HOUR, 2 * HOUR))
    with episode.life() as life:
        episode.clock.turn(-DAY)
        episode.hears_of_limits(life)
    episode.clock.turn(-2 * DAY)
    with episode.life() as life:
        episode.hears_of_limits(life)
        episode.clock.turn(HOUR)
        episode.fires(life, 0)
        episode.clock.turn(2 * HOUR)
        episode.over(life)
    return episode.violations()


def to_and_fro(folder: Path, random: Random) -> Violations:
    """Set again and again, with kills in between; right in the end."""
    episode = Episode(folder, tuple(random.uniform(0.1, 3 * DAY) for _ in range(8)))
    for _ in range(2):
        with episode.life():
            for _ in range(5):
                episode.clock.turn(random.uniform(-DAY, DAY))
                time.sleep(random.uniform(0.0, 0.1))
    with episode.life() as life:
        episode.clock.turn(5 * DAY)
        episode.over(life)
    return episode.violations()


def at_rate(folder: Path, random: Random, rate: float) -> Violations:
    """The clock runs so fast, or so slowly."""
    episode = Episode(folder, tuple(each * rate for each in (0.05, 0.3, 0.6)))
    episode.clock.turn(0.0, rate)
    with episode.life() as life:
        episode.over(life)
    return episode.violations()


def summer_time(folder: Path, random: Random, change: datetime) -> Violations:
    """In a zone where clocks are set at that moment, runs wait across it."""
    try:
        at = change.replace(tzinfo=ZoneInfo(BERLIN)).timestamp()
    except ZoneInfoNotFoundError:
        raise CannotRun(f"this machine does not know of {BERLIN}: install tzdata") from None
    episode = Episode(folder, (0.2, 0.7), zone=BERLIN)
    episode.clock.turn(at - time.time() - 0.7)
    with episode.life() as life:
        episode.over(life)
    return episode.violations()


def leap_second(folder: Path, random: Random) -> Violations:
    """The last second of a year comes twice, as POSIX has it."""
    episode = Episode(folder, (0.3, 0.8, 1.3))
    before = datetime(2017, 1, 1, tzinfo=UTC).timestamp() - time.time()
    episode.clock.turn(before - 0.7)
    with episode.life() as life:
        episode.fires(life, 0)
        episode.clock.turn(before - 1.7)
        episode.over(life)
    return episode.violations()


KINDS: Final[dict[str, Callable[[Path, Random], Violations]]] = {
    "set forward": set_forward,
    "set back": set_back,
    "to and fro": to_and_fro,
    "ten times as fast": partial(at_rate, rate=10.0),
    "a fifth as fast": partial(at_rate, rate=0.2),
    "summer time begins": partial(summer_time, change=datetime(2026, 3, 29, 3)),
    "summer time ends": partial(summer_time, change=datetime(2026, 10, 25, 2, fold=1)),
    "leap second": leap_second,
}


# ── a clock that jumps between any two looks ─────────────────────────────────────────────


class Jumping:
    """A clock that stands still but for its jumps, to and fro; `engine.ports.Clock`."""

    def __init__(self, random: Random, share: float) -> None:
        self._random = random
        self.share = share
        self.time = 1_800_000_000.0
        self.jumps = 0

    def now(self) -> float:
        """Return the time; it may be another one from now on."""
        time = self.time
        if self._random.random() < self.share:
            self.jumps += 1
            self.time += self._random.choice((-DAY, -HOUR, -1.0, 1.0, HOUR, DAY)) * self._random.random()
        return time


async def seed(folder: Path, number: int) -> tuple[Violations, Counter[str]]:
    """Let runs wait under such a clock, in several lives; in the end it is late enough for all."""
    os.makedirs(folder)
    random = Random(number)
    clock = Jumping(random, random.choice((0.0, 0.05, 0.3)))
    heard = Heard()
    waits = [random.choice((1.0, HOUR, DAY)) * random.random() for _ in range(6)]
    lives = random.randint(2, 4)

    async def live(last: bool) -> None:
        app = App(workflows=[waiting], steps=[told], database=folder / "t.db", clock=clock)
        async with app:
            app.desk.runner.watch(shown)
            handles = [
                await app.start(waiting, each, id=f"waits-{place}") for place, each in enumerate(waits)
            ]
            for _ in range(random.randint(1, 5)):
                clock.time += random.choice((-DAY, -1.0, 1.0, HOUR, DAY)) * random.random()
                await asyncio.sleep(2 * SHORT_SECONDS)
            if last:
                clock.share = 0.0
                clock.time = 1_800_000_000.0 + 100 * DAY
                async with asyncio.timeout(BOUND_SECONDS):
                    await asyncio.gather(*[handle.result() for handle in handles])

    wrong = []
    with (
        mock.patch.object(timers, "LONGEST_SLEEP_SECONDS", SHORT_SECONDS),
        overheard() as lines,
    ):
        try:
            for life in range(1, lives + 1):
                await live(life == lives)
        except TimeoutError:
            wrong.append("timers that were due did not fire")
    heard.take(lines)
    evidence = heard.evidence(folder / "t.db", settled=not wrong, programs=PROGRAMS, clocks_agree=False)
    counts = Counter({"seeds": 1, "jumps between two looks": clock.jumps, "lives of seeds": lives})
    return [*[Violation("I6", "", text) for text in wrong], *check(evidence)], counts


SHORT_SECONDS: Final = 0.002


# ── the layer ────────────────────────────────────────────────────────────────────────────


def play(budget: Budget) -> Record:
    """Play seeds; then each kind so many times, two at once; then what has to be noticed."""
    began = time.monotonic()
    counts: Counter[str] = Counter()
    violations: Violations = []
    failing: list[str] = []

    def take(case: str, found: Violations) -> None:
        if found:
            violations.extend(found)
            failing.append(case)

    def one(case: tuple[int, str]) -> tuple[str, Violations | CannotRun] | None:
        number, kind = case
        folder = budget.folder / f"clock-{number}"
        if number >= len(KINDS) and budget.over():
            return None
        folder.mkdir()
        try:
            return f"{kind}:{number}", KINDS[kind](folder, Random(budget.seed * 1000 + number))
        except CannotRun as reason:
            return kind, reason
        except Exception as error:
            return f"{kind}:{number}", [broken(kind, error)]
        finally:
            shutil.rmtree(folder)

    not_played = [*NOT_YET, *_seeds(budget.share(SEEDS_SHARE), counts, take)]
    cases, played = list(enumerate(list(KINDS) * budget.cases(1))), 0
    with at_once(AT_ONCE) as pool:
        for result in pool.map(one, cases):
            if result is None:
                continue
            played += 1
            name, found = result
            if isinstance(found, CannotRun):
                not_played.append(f"{name}: {found}")
                continue
            counts["episodes"] += 1
            counts[name.partition(":")[0]] += 1
            take(name, found)
    not_played += fewer("processes whose clock is turned", played, len(cases))
    caught = []
    try:
        caught.append(_catch(budget))
    except Exception as error:
        take(f"the hunt for {TRUSTING}", [broken("it", error)])
    return Record(
        layer=LAYER.name,
        cases=counts["episodes"] + counts["seeds"],
        seconds=time.monotonic() - began,
        counts=dict(sorted(counts.items())),
        violations=tuple(violations),
        failing=tuple(failing),
        caught=tuple(caught),
        not_played=tuple(not_played),
    )


def _seeds(budget: Budget, counts: Counter[str], take: Callable[[str, Violations], None]) -> list[str]:
    """Play seeds; say what was not played of them."""
    wanted = budget.cases(SEEDS_IN_CI)
    for number in range(wanted):
        if number and budget.over():
            return fewer("seeds with a clock that jumps", number, wanted)
        try:
            found, more = asyncio.run(seed(budget.folder / f"seed-{number}", budget.seed + number))
        except Exception as error:
            found, more = [broken("it", error)], Counter()
        shutil.rmtree(budget.folder / f"seed-{number}")
        counts.update(more)
        take(f"seed:{budget.seed + number}", found)
    return []


@contextmanager
def trusting() -> Iterator[None]:
    """Timers that fire when they have slept long enough, without another look at the clock."""

    def check_all(self: timers.Timers) -> None:
        if self._heap:
            self._heap[0] = (self._clock.now(), *self._heap[0][1:])
        original(self)

    original = timers.Timers.check
    with mock.patch.object(timers.Timers, "check", check_all):
        yield


def _catch(budget: Budget) -> Caught:
    """Let timers trust their sleep; count seeds until that is noticed."""
    began = time.monotonic()
    by: tuple[str, ...] = ()
    number = 0
    with trusting():
        while not by and number < CATCH_SEEDS_MAX:
            number += 1
            folder = budget.folder / f"trusting-{number}"
            found, _ = asyncio.run(seed(folder, number))
            shutil.rmtree(folder)
            by = noticed(found, ("I6",))
    return Caught(
        bug=TRUSTING,
        cases=number if by else None,
        by=by,
        seconds=time.monotonic() - began,
    )


LAYER: Final = Layer("L8", "clocks that are set", play, 10, (TRUSTING,))
