"""L11: hours of half load with faults in between, compressed into whatever time there is; nothing may grow.

A cycle is one database. In its steady part one process works, is stopped for moments, has its clock set to and fro
and its children killed; meanwhile its memory, files, threads, and the sizes of database and log are sampled, and
lines are fitted through what comes after warming up. In its rough part lives end by SIGKILL. Then all is checked.

    memory       grows by less than so many bytes in all: the more runs, the less for each
    database     grows by the same with each run, at the end as in the beginning (with enough runs to tell)
    log          stays below its bound
    files, threads   are as many at the end as in the beginning, but for a few
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest import mock

import msgspec

from tenuto import App
from tenuto.storage.sqlite import LOG_BYTES_MAX
from tests.reliability.evidence import Violation
from tests.reliability.house.driver import House, noticed, unplayable
from tests.reliability.house.ledger import Ledger, Trouble
from tests.reliability.house.lives import Died, Nursery, descendants, kill_child
from tests.reliability.house.stories import Stories
from tests.reliability.programme import Budget, Caught, Layer, Record

SECONDS_IN_CI: Final = 3.5
CYCLE_SECONDS_MAX: Final = 900.0
STEADY: Final = 0.65
"""The share of a cycle in which the process is not killed."""

LOAD: Final = 0.5
"""Of one processor, which is all that a process of ours can use."""

CONTROL_SECONDS: Final = 1.0
CONTROL_CYCLES_MAX: Final = 5
KEPT: Final = "memory and files are kept"
KEPT_SLOWLY: Final = "1 KB a run is kept"
KEPT_BYTES: Final = 1024
SLOWLY_SHARE: Final = 0.3
SLOWLY_SECONDS_MIN: Final = 35.0
"""In less time there are too few runs for 1 KB of each to be told from noise: this is then not hunted."""

PACE_SECONDS: Final = 0.25
SAMPLES_PER_CYCLE: Final = 400
WARM: Final = 0.4
"""The share of the steady part after which what grew has to have grown enough."""

GROWTH_BYTES_MAX: Final = 1024 * 1024
"""How much memory may grow in all: not at all, but allocators take memory in pieces.

Measured with nothing kept, over 12 to 5,000 runs: 0.4 MiB at most, and no more of it with more runs.
"""

RUNS_TO_TELL: Final = 1_000
DATABASE_GROWTH_MAX: Final = 1.3
REPLAYS_MAX: Final = 2_000
"""How many runs of a cycle are folded again: without that their effects, timers and folds cannot be judged."""

SPARED_SECONDS: Final = 1.5
FEW: Final = 12
CLOCK_SECONDS_MAX: Final = 0.3
"""How far the clock is set: what sleeps meanwhile sleeps so much longer."""


class Sample(msgspec.Struct, frozen=True):
    """What was measured at one moment; sizes in bytes, `runs` are those that have ended in this life.

    `at` and `processor` are seconds: of the clock, and those in which the process had a processor.
    """

    at: float
    processor: float
    runs: int
    memory: int
    files: int
    threads: int
    database: int
    log: int


# ── what is in the process ───────────────────────────────────────────────────────────────


@contextmanager
def small_cache() -> Iterator[None]:
    """Give SQLite a cache that is full at once: what grows then is ours."""
    with mock.patch("tenuto.storage.sqlite.CACHE_KIB", 256):
        yield


@contextmanager
def leaking() -> Iterator[None]:
    """Keep a file for each run, and memory: twice what must be noticed, over the short cycle of a control."""
    rate = 2 * GROWTH_BYTES_MAX / (CONTROL_SECONDS * STEADY * (1 - WARM))
    last = time.monotonic()

    def something() -> Any:
        nonlocal last
        before, last = last, time.monotonic()
        return os.urandom(int((last - before) * rate)), os.open("/dev/null", os.O_RDONLY)

    with _keeping(something):
        yield


@contextmanager
def leaking_slowly() -> Iterator[None]:
    """Keep 1 KB for each run."""
    with _keeping(partial(os.urandom, KEPT_BYTES)):
        yield


@contextmanager
def _keeping(something: Callable[[], Any]) -> Iterator[None]:
    kept: list[Any] = []
    start = App.start

    async def keep(self: App, *given: Any, **named: Any) -> Any:
        kept.append(something())
        return await start(self, *given, **named)

    with mock.patch.object(App, "start", keep):
        yield


# ── measuring ────────────────────────────────────────────────────────────────────────────


def sample(house: House, runs: int) -> Sample:
    """Measure a process; raises OSError when it is gone."""
    process = Path(f"/proc/{house.life.pid}")
    pages = int((process / "statm").read_text().split()[1])
    log = Path(f"{house.database}-wal")
    return Sample(
        at=time.monotonic(),
        processor=_processor_seconds(process),
        runs=runs,
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
        files=len(os.listdir(process / "fd")),
        threads=len(os.listdir(process / "task")),
        database=house.database.stat().st_size,
        log=log.stat().st_size if log.exists() else 0,
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how steep the line is that fits best.

    >>> slope([(1, 10), (2, 12), (3, 14)])
    2.0
    """
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def grown(samples: Sequence[Sample]) -> list[Violation]:
    """Return what has grown that must not."""
    warm = warmed_up(samples)
    third = max(1, len(warm) // 3)
    found: dict[str, str] = {}
    bytes_per_run, bound = memory_of_a_run(warm)
    if bytes_per_run > bound:
        found["memory"] = f"memory grows by {bytes_per_run:.0f} bytes with each run, {bound:.0f} is the most"
    for name in ("files", "threads"):
        first = max(getattr(each, name) for each in warm[:third])
        last = max(getattr(each, name) for each in warm[-third:])
        if last > first + FEW:
            found[name] = f"{name} were {first} at most, and are {last}"
    first_half, last_half = warm[: len(warm) // 2], warm[len(warm) // 2 :]
    if last_half and last_half[-1].runs - last_half[0].runs > RUNS_TO_TELL:
        before, after = (
            slope([(each.runs, each.database) for each in half]) for half in (first_half, last_half)
        )
        if after > DATABASE_GROWTH_MAX * before:
            found["database"] = f"the database grew by {before:.0f} bytes a run, and grows by {after:.0f}"
    log = max(each.log for each in samples)
    if log > LOG_BYTES_MAX:
        found["log"] = f"the log had {log} bytes"
    return [Violation(f"flat: {what}", "", seen) for what, seen in found.items()]


def warmed_up(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return the samples after which what grew has grown enough."""
    return samples[int(len(samples) * WARM) :]


def memory_of_a_run(warm: Sequence[Sample]) -> tuple[float, float]:
    """Return by how many bytes memory grows with each run, and by how many it may."""
    bytes_per_run = slope([(each.runs, each.memory) for each in warm])
    return bytes_per_run, GROWTH_BYTES_MAX / max(warm[-1].runs - warm[0].runs, 1)


def load(first: Sample, last: Sample) -> float:
    """Return the share of the time between two samples in which the process worked."""
    return (last.processor - first.processor) / max(last.at - first.at, 1e-9)


def _processor_seconds(process: Path) -> float:
    words = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


# ── a cycle ──────────────────────────────────────────────────────────────────────────────


class Cycle:
    """One database, and what is done to the process that works on it."""

    def __init__(self, house: House, seed: int, counts: Counter[str]) -> None:
        self._house = house
        self._random = Random(seed)
        self._counts = counts
        self._stories = Stories(house, seed=seed, at_once=4)
        self.samples: list[Sample] = []
        self._spared = 0.0

    async def play(self, seconds: float) -> None:
        """Play the steady part, the rough part, and the end."""
        house, stories = self._house, self._stories
        await house.start(forked=False)
        stories.begin()
        await self._steady(seconds * STEADY)
        await self._rough(seconds * (1 - STEADY))
        if house.life.ended is not None:
            await house.start()
        await stories.stop()
        await house.settle()
        await house.stop()

    async def _steady(self, seconds: float) -> None:
        began, life = time.monotonic(), self._house.life
        moment = max(seconds / SAMPLES_PER_CYCLE, 0.02)
        self.samples.append(sample(self._house, 0))
        before = self.samples[0]
        faults = [self._stop, self._set_clock, self._kill_evaluator]
        next_fault = began
        while (now := time.monotonic()) < began + seconds:
            await asyncio.sleep(moment)
            self.samples.append(sample(self._house, self._stories.finished))
            if now - before.at > PACE_SECONDS:
                self._pace(load(before, self.samples[-1]))
                before = self.samples[-1]
            if now > next_fault:
                next_fault = now + self._random.expovariate(1 / max(seconds / 40, 0.2))
                await self._random.choice(faults)()
        with suppress(Died):
            await life.ask("clock", value=0.0)

    def _pace(self, present: float) -> None:
        """Let clients rest longer if there is too much to do, and less if there is too little."""
        rest = max(self._stories.rest_seconds, 0.002)
        self._stories.rest_seconds = min(rest * min(max(present / LOAD, 0.5), 2.0), 1.0)

    async def _stop(self) -> None:
        await self._house.pause(self._random.random() * 0.1)
        self._counts["pauses"] += 1

    async def _set_clock(self) -> None:
        with suppress(Died):
            await self._house.life.ask("clock", value=self._random.uniform(-1, 1) * CLOCK_SECONDS_MAX)
        self._counts["times that the clock was set"] += 1

    async def _kill_evaluator(self) -> None:
        """Kill what evaluates expressions, not too often: an expression is tried twice."""
        if time.monotonic() < self._spared:
            return
        self._spared = time.monotonic() + SPARED_SECONDS
        for pid, command in descendants(self._house.life.pid).items():
            if "evaluation_child" in command:
                self._counts["kills of an evaluator"] += kill_child(pid)
                return

    async def _rough(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._random.random() < 0.3:
                await self._house.starve(0.3)
                self._counts["stores that failed"] += self._house.failed.is_set()
            self._counts["kills"] += await self._house.kill()
            await self._house.start()
            await asyncio.sleep(self._random.expovariate(1 / max(seconds / 20, 0.2)))


async def cycle(
    folder: Path, nursery: Nursery, seed: int, seconds: float, *within: str
) -> tuple[list[Violation], Counter[str], list[Sample]]:
    """Play a cycle in an empty folder; return what is wrong, what was done, and what was measured."""
    counts: Counter[str] = Counter()
    os.makedirs(folder)
    names = tuple(f"{__name__}:{name}" for name in ("small_cache", *within))
    async with (
        Ledger(folder / "ledger.jsonl", Trouble(lose=0.02, refuse=0.02, slow=0.1, seed=seed)) as ledger,
        House(folder, ledger, nursery=nursery, within=names) as house,
    ):
        playing = Cycle(house, seed, counts)
        await playing.play(seconds)
        violations = house.violations(clocks_agree=False, replays=REPLAYS_MAX)
        counts["runs"] = len({run for run, _ in house.seen_at})
        counts["entries"] = len(house.seen_at)
        counts["runs folded"] = house.folded
    shutil.rmtree(folder)
    return [*violations, *grown(playing.samples)], counts, playing.samples


# ── the layer ────────────────────────────────────────────────────────────────────────────


def play(budget: Budget) -> Record:
    """Play cycles for as many seconds as the budget has, then what has to be noticed."""
    return asyncio.run(_play(budget))


async def _play(budget: Budget) -> Record:
    began = time.monotonic()
    seconds_in_all = min(SECONDS_IN_CI * budget.scale, budget.deadline - began)
    slowly = min(seconds_in_all * SLOWLY_SHARE, CYCLE_SECONDS_MAX)
    is_slow = slowly >= SLOWLY_SECONDS_MIN
    end = began + seconds_in_all - (slowly if is_slow else 0.0)
    total: Counter[str] = Counter()
    violations: list[Violation] = []
    failing: list[str] = []
    figures: dict[str, str] = {}
    with Nursery() as nursery:
        while total["cycles"] == 0 or time.monotonic() < end - SECONDS_IN_CI:
            seed = budget.seed + total["cycles"]
            seconds = min(max(end - time.monotonic(), SECONDS_IN_CI), CYCLE_SECONDS_MAX)
            try:
                found, counts, samples = await cycle(budget.folder / f"soak-{seed}", nursery, seed, seconds)
                total.update(counts)
                figures = _figures(samples, total)
            except Exception as error:
                found = [unplayable(error)]
            total["cycles"] += 1
            violations += found
            failing += [f"cycle:{seed}"] if found else []
        caught = [await _control(budget, nursery)]
        for number in range(caught[0].cases or CONTROL_CYCLES_MAX):
            kept = await _short(budget, nursery, number)
            violations += kept
            failing += [f"short cycle:{number}"] if kept else []
        caught += [await _slow_control(budget, nursery, slowly)] if is_slow else []
    return Record(
        layer=LAYER.name,
        cases=total["cycles"],
        seconds=time.monotonic() - began,
        counts=dict(sorted(total.items())),
        violations=tuple(violations),
        failing=tuple(failing),
        caught=tuple(caught),
        figures=figures,
    )


def _figures(samples: Sequence[Sample], counts: Counter[str]) -> dict[str, str]:
    """Say what was measured in the steady part of the last cycle, and how much of it was judged."""
    warm = warmed_up(samples)
    bytes_per_run, bound = memory_of_a_run(warm)
    runs, seconds = samples[-1].runs, samples[-1].at - samples[0].at
    return {
        "steady part": f"{runs} runs in {seconds:.0f} s in one process,"
        f" which worked {load(samples[0], samples[-1]):.0%} of the time",
        "memory": f"{warm[0].memory / 2**20:.1f} MiB, then {warm[-1].memory / 2**20:.1f} MiB:"
        f" {bytes_per_run:.0f} bytes a run, where {bound:.0f} is the most",
        "files and threads": f"{warm[0].files} and {warm[0].threads},"
        f" then {warm[-1].files} and {warm[-1].threads}",
        "database": f"{slope([(each.runs, each.database) for each in warm]):.0f} bytes a run",
        "runs whose effects, timers and folds were judged": f"{counts['runs folded']:,} of {counts['runs']:,}",
        "log": f"{max(each.log for each in samples) / 2**20:.1f} MiB at most",
    }


async def _slow_control(budget: Budget, nursery: Nursery, seconds: float) -> Caught:
    """Play one cycle with a process that keeps little of each run; a machine may be too slow for enough runs."""
    began = time.monotonic()
    folder = budget.folder / "slowly"
    try:
        found, _, samples = await cycle(folder, nursery, budget.seed, seconds, "leaking_slowly")
    except Exception:
        return Caught(bug=KEPT_SLOWLY, cases=None, seconds=time.monotonic() - began)
    by = noticed(found, ("flat: memory",))
    _, bound = memory_of_a_run(warmed_up(samples))
    return Caught(
        bug=KEPT_SLOWLY,
        cases=1 if by else None,
        by=by,
        seconds=time.monotonic() - began,
        broken_off_after=1 if not by and bound > KEPT_BYTES else None,
    )


async def _control(budget: Budget, nursery: Nursery) -> Caught:
    """Play short cycles with a process that keeps what it should let go of; both have to be noticed in one of them."""
    began = time.monotonic()
    by: tuple[str, ...] = ()
    cycles = 0
    kept = ("flat: files", "flat: memory")
    while by != kept and cycles < CONTROL_CYCLES_MAX:
        by = noticed(await _short(budget, nursery, cycles, "leaking"), kept)
        cycles += 1
    return Caught(bug=KEPT, cases=cycles if by == kept else None, by=by, seconds=time.monotonic() - began)


async def _short(budget: Budget, nursery: Nursery, number: int, *within: str) -> list[Violation]:
    """Play a cycle as short as that in which something is kept; without that nothing is to be noticed."""
    folder = budget.folder / "-".join(("short", str(number), *within))
    try:
        found, *_ = await cycle(folder, nursery, budget.seed + number, CONTROL_SECONDS, *within)
    except Exception as error:
        return [unplayable(error)]
    return found


LAYER: Final = Layer(
    "L11", "half load with faults, while nothing may grow", play, 3600 / SECONDS_IN_CI, (KEPT, KEPT_SLOWLY)
)
