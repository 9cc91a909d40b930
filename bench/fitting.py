"""How the program of every system measures within its time, and how it answers: one measure for all of them.

    def in_flight(given: Namespace, answer: Answer) -> None:
        with ... as system:
            fill(answer, batch(system.together, given.size, given.seconds), given.size)

    play("dbos", version(), {"in-flight": in_flight}, given)

A work that would take longer than `--seconds` is done with fewer runs; `runs` and `note` say so, and of how many seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.measuring import (
    STEPS,
    WARM_UP,
    Answer,
    Clock,
    collect_seldom,
    cpu_seconds,
    family,
    floor_seconds,
    latency,
    percentile,
    timed,
)
from bench.servers import end_tidily

Work = Callable[[Namespace, Answer], None]
IMPORTS: Final = 5
IDLE_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.01
WAIT_SECONDS_MAX: Final = 1800.0
FEW: Final = 5
WARM_PART: Final = 5
"""The warm-up takes at most this part of the time."""

TIMED_SECONDS_MIN: Final = 3.0
TIMED_PART: Final = 3
"""Batches are repeated for this part of the time, and for so long at least: one alone may be too short to be timed."""

TOO_LONG: Final = "too long"
"""What notes say of a work that does not fit; `play`, which knows the time, puts it in its place."""

WARM_WAITING: Final = 200
"""Runs that are done before others are left waiting, if there is time for so many."""

LOGS: Final = ("*.log", "notes", "home/logs/*")
"""What in a measurement's folder is no state: what servers write about themselves (RocksDB's `.log` files lie deeper)."""


class NotApplicable(Exception):
    """The system cannot do this work; the message says why."""


def play(system: str, version: str, works: Mapping[str, Work], given: Namespace) -> None:
    """Do the work that is given and print the answer."""
    end_tidily()
    collect_seldom()
    answer = Answer(system, given.mode, given.work, given.size, version)
    try:
        works[given.work](given, answer)
    except NotApplicable as reason:
        answer.reason = str(reason)
    answer.note = answer.note.replace(TOO_LONG, f"more than {given.seconds:.3g} s")
    answer.tell()


@dataclass(frozen=True, slots=True)
class Batches:
    """So many `times` so many runs `at_once`, each batch from its first start to its last result; the clock is of all."""

    at_once: int
    times: int
    clock: Clock


def batch(together: Callable[[int], None], runs: int, seconds: float, *roots: int) -> Batches:
    """Warm up, then time `runs` that `together` does at once, again and again for a part of `seconds`.

    Where one batch would take longer than `seconds`, one is done with as many as will fit.
    """
    at_once = max(1, min(runs, int(seconds / warm_up(together, runs // WARM_UP, seconds))))
    while at_once < runs:
        done = _batches(together, at_once, 0.0, *roots)
        # A small warm-up is slower for each, so more fit than it told.
        fitting = min(runs, int(at_once * seconds / done.clock.seconds))
        if fitting < runs and done.clock.seconds >= seconds / 2:
            return done
        at_once = fitting
    return _batches(together, runs, max(TIMED_SECONDS_MIN, seconds / TIMED_PART), *roots)


def _batches(together: Callable[[int], None], at_once: int, seconds: float, *roots: int) -> Batches:
    times = 0
    with timed(*roots) as clock:
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            together(at_once)
            times += 1
    return Batches(at_once, times, clock)


def warm_up(together: Callable[[int], None], runs: int, seconds: float) -> float:
    """Do `runs`, or as many as fit into a part of the time, but one at least; answer how long each took, in seconds.

    It begins with a few, which tell how many will fit.
    """
    pace = _pace(together, max(1, min(runs, FEW)))
    more = min(runs - FEW, int(seconds / WARM_PART / pace))
    return _pace(together, more) if more > 0 else pace


def _pace(together: Callable[[int], None], runs: int) -> float:
    """Return the seconds that each of so many took."""
    began = time.perf_counter()
    together(runs)
    return (time.perf_counter() - began) / runs


def fill(answer: Answer, measured: Batches, wanted: int, steps: int = STEPS) -> None:
    """Take over what `batch` measured."""
    answer.figures = measured.clock.rates(measured.at_once * measured.times, steps)
    answer.window = measured.clock.window
    if measured.at_once < wanted:
        answer.note = f"{measured.at_once:,} at once; {wanted:,} would have taken {TOO_LONG}"


def fill_wide(answer: Answer, measured: Batches, wanted: int) -> None:
    """Take over what `batch` measured of the work `fan-out`: at once were the items of one workflow."""
    seconds = measured.clock.seconds / measured.times
    answer.figures = {"items_per_second": measured.at_once / seconds, "seconds": seconds}
    answer.window = measured.clock.window
    shortened(answer, wanted, measured.at_once)


def one_by_one(once: Callable[[int], None], answer: Answer, size: int, given: Namespace) -> None:
    """Measure so many runs, one after the other, or as many as the time allows; before each, the disk's own time."""

    def several(runs: int) -> None:
        for number in range(runs):
            once(number)

    warm_up(several, size // WARM_UP, given.seconds)
    floors: list[float] = []
    taken: list[float] = []
    with timed() as clock:
        end = time.perf_counter() + given.seconds
        while len(taken) < size and (not taken or time.perf_counter() < end):
            floors.append(floor_seconds(given.folder))
            began = time.perf_counter()
            once(len(taken))
            taken.append(time.perf_counter() - began)
    ratios = [one / floor for one, floor in zip(taken, floors, strict=True)]
    more = {"floor_ms": percentile(floors, 50) * 1e3, "ratio": percentile(ratios, 50)}
    answer.figures = {**latency(taken), **more}
    answer.window = clock.window


async def until(condition: Callable[[], bool], seconds: float = WAIT_SECONDS_MAX) -> None:
    """Return when something is so that nobody tells of."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the system measured has no event for it
            await asyncio.sleep(LOOK_SECONDS)


def shortened(answer: Answer, wanted: int, done: int) -> None:
    """Say what was really done where it is less than was asked for."""
    answer.size = done
    if done < wanted:
        answer.note = f"{wanted:,} would have taken {TOO_LONG}"


def ends(times: Sequence[float]) -> dict[str, float]:
    """Return the figures of the work `long-run`: `times` are when each step was over."""
    tenth = max(1, (len(times) - 1) // 10)
    return {
        "us_per_step_start": (times[tenth] - times[0]) / tenth * 1e6,
        "us_per_step_end": (times[-1] - times[-1 - tenth]) / tenth * 1e6,
        "steps": len(times),
    }


# ── memory and disk ────────────────────────────────────────────────────────────────────────


def resident_kb(*roots: int) -> float:
    """Return the memory of the families of processes, in KiB; a page that several share is counted once (PSS).

    A database's processes share its cache: counted for each, it would be many times what it is.
    """
    total = 0
    for process in family(*roots):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def disk_kb(folder: Path) -> float:
    """Return what the files below a folder take on the disk, without logs that servers write about themselves."""
    logs = {str(path) for pattern in LOGS for path in folder.glob(pattern)}
    blocks = 0
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if os.path.join(place, name) not in logs]
        for name in names:
            path = os.path.join(place, name)
            with contextlib.suppress(FileNotFoundError):
                blocks += 0 if path in logs else os.lstat(path).st_blocks
    return blocks * 512 / 1024


@dataclass(slots=True)
class Growth:
    """What runs that wait add to memory and disk, from when this is made.

    `collect` has the garbage collected in those processes of Python that are not this one.
    """

    folder: Path
    roots: Sequence[int] = ()
    collect: Callable[[], None] | None = None
    memory_kb: float = field(init=False)
    disk_kb: float = field(init=False)

    def __post_init__(self) -> None:
        self.memory_kb, self.disk_kb = self._look()

    def _look(self) -> tuple[float, float]:
        gc.collect()
        if self.collect is not None:
            self.collect()
        return resident_kb(*self.roots), disk_kb(self.folder)

    def figures(self, runs: int) -> dict[str, float]:
        """Return the growth for each of so many runs, and how busy the processes are while they only wait."""
        memory, disk = self._look()
        began, before = time.perf_counter(), cpu_seconds(family(*self.roots))
        time.sleep(IDLE_SECONDS)
        busy = cpu_seconds(family(*self.roots)) - before
        return {
            "rss_kb_per_run": (memory - self.memory_kb) / runs,
            "disk_kb_per_run": (disk - self.disk_kb) / runs,
            "idle_cpu_percent": busy / (time.perf_counter() - began) * 100,
        }


class Notes:
    """What other processes note in a file, a line each, whose first word tells what it is; read on from the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._found: dict[str, list[str]] = {}

    def of(self, word: str) -> list[str]:
        """Return what was noted after a word."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            whole, end, _ = file.read().rpartition(b"\n")
            self._offset += len(whole) + len(end)
            for line in whole.decode().splitlines():
                first, _, rest = line.partition(" ")
                self._found.setdefault(first, []).append(rest)
        return self._found.get(word, [])


# ── the footprint ──────────────────────────────────────────────────────────────────────────


def import_ms(statement: str) -> float:
    """Return how long an import takes: the median of fresh interpreters, whose own start is not counted."""
    code = (
        f"import time; began = time.perf_counter(); {statement}; print((time.perf_counter() - began) * 1e3)"
    )
    command = [sys.executable, "-c", code]
    taken = [
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        for _ in range(IMPORTS)
    ]
    return statistics.median(taken)


def installed_mb(with_debian: bool = False) -> float:
    """Return the size of this system's environment, with its Debian packages or not, as `environments.py` found it."""
    names = ["BENCH_INSTALLED_MB", *(["BENCH_DEBIAN_MB"] if with_debian else [])]
    return sum(float(os.environ.get(name, "nan")) for name in names)
