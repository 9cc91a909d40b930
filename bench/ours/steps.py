"""Works of steps that are done as fast as they can: alone, many at once, side by side, many in a row, with much to carry."""

from __future__ import annotations

import time
from typing import Final

from bench.measuring import (
    PAYLOAD_RUNS,
    STEPS,
    WARM_UP,
    Clock,
    floor_seconds,
    latency,
    percentile,
    rss_kb,
    timed,
)
from bench.ours.flows import Opened

Figures = tuple[dict[str, float], Clock]
TIMED_SECONDS_MIN: Final = 3.0
TIMED_PART: Final = 3


async def alone(opened: Opened, size: int) -> Figures:
    """`size` runs of ten steps, one at a time; before each, the disk's own time for as many entries."""
    for number in range(max(1, size // WARM_UP)):
        await opened.run("ten", number)
    floors, taken = [], []
    with timed() as clock:
        for number in range(size):
            floors.append(floor_seconds(opened.folder))
            began = time.perf_counter()
            assert await opened.run("ten", number) == number + STEPS
            taken.append(time.perf_counter() - began)
    floor = percentile(floors, 50)
    ratios = [one / floor for one, floor in zip(taken, floors, strict=True)]
    more = {"floor_ms": floor * 1e3, "ratio": percentile(ratios, 50)}
    return {**latency(taken), **more}, clock


async def in_flight(opened: Opened, size: int) -> Figures:
    """`size` runs of ten steps at once; again and again, since once alone would be too short to be timed."""
    wanted = [number + STEPS for number in range(size)]
    await opened.together("ten", range(max(1, size // WARM_UP)))
    times, enough = 0, max(TIMED_SECONDS_MIN, opened.seconds / TIMED_PART)
    with timed() as clock:
        began = time.perf_counter()
        while not times or time.perf_counter() - began < enough:
            assert await opened.together("ten", range(size)) == wanted
            times += 1
    return clock.rates(size * times), clock


async def fan_out(opened: Opened, size: int) -> Figures:
    """One run with a step for each of `size` items."""
    await opened.run("listed", max(1, size // WARM_UP))
    before = rss_kb()
    with timed() as clock:
        total = await opened.run("listed", size)
    assert total == size * (size + 1) // 2
    figures = {"items_per_second": size / clock.seconds, "seconds": clock.seconds}
    return {**figures, "rss_growth_mb": (rss_kb() - before) / 1024}, clock


async def payload(opened: Opened, size: int) -> Figures:
    """Runs of ten steps, each of which answers `size` bytes."""
    text = "x" * size
    await opened.together("ten-texts", [text] * max(1, PAYLOAD_RUNS // WARM_UP))
    with timed() as clock:
        results = await opened.together("ten-texts", [text] * PAYLOAD_RUNS)
    assert results == [text] * PAYLOAD_RUNS
    return {"steps_per_second": PAYLOAD_RUNS * STEPS / clock.seconds}, clock


async def long_run(opened: Opened, size: int) -> Figures:
    """One run of `size` steps, one after the other: what a step costs in its first and in its last tenth."""
    await opened.run("many", max(1, min(size // WARM_UP, 1000)))
    tenth, seen = max(1, size // 10), 0
    times: dict[int, tuple[float, float]] = {}  # of the clock, and of the processor, by entry

    def watch(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen in (1, tenth, size - tenth, size):
            times[seen] = (time.perf_counter(), time.process_time())

    before = rss_kb()
    unwatch = opened.app.desk.runner.watch(watch)
    with timed() as clock:
        assert await opened.run("many", size) == size
    unwatch()
    figures: dict[str, float] = {"steps": size, "rss_growth_mb": (rss_kb() - before) / 1024}
    for name, first, last in (("start", 1, tenth), ("end", size - tenth, size)):
        wall, cpu = (ended - began for began, ended in zip(times[first], times[last], strict=True))
        figures[f"us_per_step_{name}"] = wall / (last - first) * 1e6
        figures[f"cpu_us_per_step_{name}"] = cpu / (last - first) * 1e6
    return figures, clock
