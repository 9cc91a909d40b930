"""How the program of a system measures within its time, and how it answers; used by those that may be slow.

    def in_flight(given: Namespace, answer: Answer) -> None:
        with ... as system:
            fill(answer, batch(system.together, given.size, given.seconds), given)

    play("dbos", version(), {"in-flight": in_flight}, given)

A work that would take longer than `--seconds` is done with fewer runs; `runs` and `note` say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.measuring import (
    STEPS,
    WARM_UP,
    Answer,
    Clock,
    cpu_seconds,
    family,
    latency,
    timed,
)
from bench.servers import end_tidily

Work = Callable[[Namespace, Answer], None]
IMPORTS: Final = 5
IDLE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.01
WAIT_SECONDS_MAX: Final = 1800.0
FEW: Final = 5
WARM_PART: Final = 5
"""The warm-up takes at most this part of the time."""


class NotApplicable(Exception):
    """The system cannot do this work; the message says why."""


def play(system: str, version: str, works: Mapping[str, Work], given: Namespace) -> None:
    """Do the work that is given and print the answer."""
    end_tidily()
    answer = Answer(system, given.mode, given.work, given.size, version)
    try:
        works[given.work](given, answer)
    except NotApplicable as reason:
        answer.reason = str(reason)
    answer.tell()


def batch(together: Callable[[int], None], runs: int, seconds: float, *roots: int) -> tuple[int, Clock]:
    """Warm up with a tenth, then time `runs` that `together` does at once, or as many as will take `seconds`.

    Answers how many they were. The warm-up begins with a few, and tells how many will fit.
    """
    tenth = max(1, runs // WARM_UP)
    pace = _pace(together, min(tenth, FEW))
    more = min(tenth - FEW, int(seconds / WARM_PART / pace))
    if more > 0:
        pace = _pace(together, more)
    fitting = max(1, min(runs, int(seconds / pace)))
    clock = _clocked(together, fitting, *roots)
    while fitting < runs and clock.seconds < seconds / 2:
        # A small warm-up is slower for each, so more fit than it told.
        fitting = min(runs, int(fitting * seconds / clock.seconds))
        clock = _clocked(together, fitting, *roots)
    return fitting, clock


def _clocked(together: Callable[[int], None], runs: int, *roots: int) -> Clock:
    with timed(*roots) as clock:
        together(runs)
    return clock


def _pace(together: Callable[[int], None], runs: int) -> float:
    """Return the seconds that each of so many took."""
    began = time.perf_counter()
    together(runs)
    return (time.perf_counter() - began) / runs


def fill(answer: Answer, measured: tuple[int, Clock], wanted: int, steps: int = STEPS) -> None:
    """Take over what `batch` measured."""
    runs, clock = measured
    answer.figures = clock.rates(runs, steps)
    answer.window = clock.window
    if runs < wanted:
        answer.note = f"{runs:,} at once; {wanted:,} would have taken too long"


def one_by_one(once: Callable[[int], None], answer: Answer, size: int, seconds: float) -> None:
    """Measure so many runs, one after the other, or as many as the time allows."""
    for number in range(max(1, min(FEW, size // WARM_UP))):
        once(number)
    taken: list[float] = []
    with timed() as clock:
        end = time.perf_counter() + seconds
        while len(taken) < size and (not taken or time.perf_counter() < end):
            began = time.perf_counter()
            once(len(taken))
            taken.append(time.perf_counter() - began)
    answer.figures = latency(taken)
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
        answer.note = f"{wanted:,} would have taken too long"


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
    """Return what the files below a folder take on the disk."""
    blocks = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                blocks += os.lstat(os.path.join(place, name)).st_blocks
    return blocks * 512 / 1024


@dataclass(slots=True)
class Growth:
    """What runs that wait add to memory and disk, from when this is made."""

    folder: Path
    roots: Sequence[int] = ()
    memory_kb: float = 0.0
    disk_kb: float = 0.0

    def __post_init__(self) -> None:
        self.memory_kb, self.disk_kb = resident_kb(*self.roots), disk_kb(self.folder)

    def figures(self, runs: int) -> dict[str, float]:
        """Return the growth for each of so many runs, and how busy the processes are while they only wait."""
        memory, disk = resident_kb(*self.roots) - self.memory_kb, disk_kb(self.folder) - self.disk_kb
        began, before = time.perf_counter(), cpu_seconds(family(*self.roots))
        time.sleep(IDLE_SECONDS)
        busy = cpu_seconds(family(*self.roots)) - before
        return {
            "rss_kb_per_run": memory / runs,
            "disk_kb_per_run": disk / runs,
            "idle_cpu_percent": busy / (time.perf_counter() - began) * 100,
        }


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
