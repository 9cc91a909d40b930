"""Works of steps that are done as fast as they can: alone, many at once, side by side, many in a row, with much to carry."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from argparse import Namespace
from pathlib import Path
from typing import Final

from bench.fitting import batch, fill, fill_wide, one_by_one, warm_up
from bench.measuring import (
    PAYLOAD_RUNS,
    STEPS,
    WARM_STEPS,
    Answer,
    floor_seconds,
    growing_seconds,
    rss_kb,
    timed,
)
from bench.ours.flows import Opened
from bench.syncs import counted

GROWING: Final = 50
"""How often syncs of a growing file are compared with the floor."""


def latency(loop: asyncio.Runner, opened: Opened, given: Namespace, answer: Answer) -> None:
    """One run of ten steps at a time."""

    def once(number: int) -> None:
        assert loop.run(opened.run("ten", number)) == number + STEPS

    one_by_one(once, answer, given.size, given)
    slower = growing(given.folder)
    answer.figures |= {
        "growing_ms": answer.figures["floor_ms"] * slower,
        "ratio_growing": answer.figures["ratio"] / slower,
    }


def growing(folder: Path) -> float:
    """Return how many times the floor the same syncs take on a growing file; in turn, as the disk's speed varies."""
    return statistics.median(growing_seconds(folder) / floor_seconds(folder) for _ in range(GROWING))


def in_flight(loop: asyncio.Runner, opened: Opened, given: Namespace, answer: Answer) -> None:
    """So many runs of ten steps at once."""

    def together(runs: int) -> None:
        found = loop.run(opened.together("ten", range(runs)))
        assert found == [number + STEPS for number in range(runs)]

    fill(answer, batch(together, given.size, given.seconds), given.size)
    with counted(given.folder, [os.getpid()]) as syncs:
        together(1)
    answer.durability += f"; {syncs.said('one workflow alone', STEPS)}"


def fan_out(loop: asyncio.Runner, opened: Opened, given: Namespace, answer: Answer) -> None:
    """One run with a step for each item."""

    def once(count: int) -> None:
        assert loop.run(opened.run("listed", count)) == count * (count + 1) // 2

    before = rss_kb()
    fill_wide(answer, batch(once, given.size, given.seconds), given.size)
    answer.figures["rss_growth_mb"] = (rss_kb() - before) / 1024


def payload(loop: asyncio.Runner, opened: Opened, given: Namespace, answer: Answer) -> None:
    """Runs of ten steps, each of which answers a text."""
    text = "x" * given.size

    def together(runs: int) -> None:
        assert loop.run(opened.together("ten-texts", [text] * runs)) == [text] * runs

    fill(answer, batch(together, PAYLOAD_RUNS, given.seconds), PAYLOAD_RUNS)


def long_run(loop: asyncio.Runner, opened: Opened, given: Namespace, answer: Answer) -> None:
    """One run of so many steps, one after the other: what a step costs in its first and in its last tenth."""
    size: int = given.size
    warm_up(lambda steps: loop.run(opened.run("many", steps)), WARM_STEPS, given.seconds)
    tenth, seen = max(1, size // 10), 0
    times: dict[int, tuple[float, float]] = {}  # of the clock, and of the processor, by entry

    def watch(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen in (1, tenth, size - tenth, size):
            times[seen] = (time.perf_counter(), time.process_time())

    async def watched() -> int:
        unwatch = opened.app.desk.runner.watch(watch)
        found: int = await opened.run("many", size)
        unwatch()
        return found

    before = rss_kb()
    with timed() as clock:
        assert loop.run(watched()) == size
    answer.figures = {"steps": size, "rss_growth_mb": (rss_kb() - before) / 1024}
    answer.window = clock.window
    for name, first, last in (("start", 1, tenth), ("end", size - tenth, size)):
        wall, cpu = (ended - began for began, ended in zip(times[first], times[last], strict=True))
        answer.figures[f"us_per_step_{name}"] = wall / (last - first) * 1e6
        answer.figures[f"cpu_us_per_step_{name}"] = cpu / (last - first) * 1e6
