"""Works of runs that wait: for a time, for a signal or an event; what they cost meanwhile, and how soon they go on."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from pathlib import Path
from typing import Final

from bench.measuring import WARM_UP, Clock, percentile, rss_kb, timed
from bench.ours.flows import Opened, go, noted

WARM_RUNS: Final = 1_000
IDLE_SECONDS: Final = 10.0
WOKEN: Final = 2_000
WOKEN_PER_SECOND: Final = 100
LAG_SECONDS_MAX: Final = 60.0
FAR_SECONDS: Final = 86_400.0

Figures = tuple[dict[str, float], Clock]


class Growth:
    """What many runs add to the memory of this process, and to its database with the write-ahead log."""

    def __init__(self, folder: Path) -> None:
        gc.collect()
        self._folder = folder
        self._rss, self._disk = rss_kb(), self._disk_kb()

    def _disk_kb(self) -> float:
        return sum(path.stat().st_size for path in self._folder.glob("tenuto.db*")) / 1024

    def figures(self, runs: int) -> dict[str, float]:
        """Return the figures of so many runs; whatever is not on disk is beyond their rows."""
        gc.collect()
        memory, disk = (rss_kb() - self._rss) / runs, (self._disk_kb() - self._disk) / runs
        return {"rss_kb_per_run": memory, "bytes_beyond_row": memory * 1024, "disk_kb_per_run": disk}


async def idle() -> dict[str, float]:
    """Return how much of a processor this process takes while nothing is due."""
    before, began = time.process_time(), time.perf_counter()
    await asyncio.sleep(IDLE_SECONDS)
    taken = (time.process_time() - before) / (time.perf_counter() - began)
    return {"idle_cpu_percent": taken * 100}


async def lags(expected: int) -> dict[str, float]:
    """Return the figures of how long after their time runs went on, once all have."""
    if len(noted.lags_seconds) < expected:
        noted.wanted, noted.all_done = expected - len(noted.lags_seconds), asyncio.Event()
        await asyncio.wait_for(noted.all_done.wait(), LAG_SECONDS_MAX)
    return {f"wake_lag_ms_p{percent}": percentile(noted.lags_seconds, percent) * 1e3 for percent in (50, 99)}


async def on_timers(opened: Opened, size: int) -> Figures:
    """`size` runs wait for a day; some of them, picked by chance, for a time soon after all have been started."""
    began = time.perf_counter()
    await opened.together("sleeper", [time.time()] * WARM_RUNS)
    noted.lags_seconds.clear()
    starting = (time.perf_counter() - began) / WARM_RUNS * size + 1.0
    chance = random.Random(size)
    woken = set(chance.sample(range(size), min(WOKEN, size // WARM_UP)))
    first = time.time() + starting + IDLE_SECONDS + 1.0
    last = first + len(woken) / WOKEN_PER_SECOND
    dues = (chance.uniform(first, last) if number in woken else last + FAR_SECONDS for number in range(size))
    growth = Growth(opened.folder)
    with timed() as clock:
        await opened.start_all("sleeper", dues)
    figures = {**growth.figures(size), "started_per_second": size / clock.seconds, **await idle()}
    assert time.time() < first, "starting took longer than the first that is due could wait"
    await asyncio.sleep(last - time.time())
    return {**figures, **await lags(len(woken))}, clock


async def on_events(opened: Opened, size: int) -> Figures:
    """`size` runs wait for a signal that some of them get; as documents, for one event that all of them get."""
    if opened.mode == "code":
        await _signalled(opened, await opened.start_all("receiver", [None] * WARM_RUNS))
        noted.lags_seconds.clear()
    growth = Growth(opened.folder)
    with timed() as clock:
        ids = await opened.start_all("receiver", [None] * size)
    figures = {**growth.figures(size), "started_per_second": size / clock.seconds, **await idle()}
    if opened.mode != "code":
        began = time.perf_counter()
        await opened.app.emit("go", time.time())
        return {**figures, "told_per_second": size / (time.perf_counter() - began)}, clock
    chance = random.Random(size)
    woken = chance.sample(ids, min(WOKEN, size // WARM_UP))
    loop = asyncio.get_running_loop()
    began = loop.time()
    sent = []
    for when, run in zip(
        sorted(chance.uniform(0, len(woken) / WOKEN_PER_SECOND) for _ in woken), woken, strict=True
    ):
        await asyncio.sleep(began + when - loop.time())
        sent.append(asyncio.create_task(opened.app.handle(run).signal(go, time.time())))
    await asyncio.gather(*sent)
    return {**figures, **await lags(len(woken))}, clock


async def _signalled(opened: Opened, ids: list[str]) -> None:
    """Send each run its signal, all at once, and wait until all are over."""

    async def one(run: str) -> None:
        handle = opened.app.handle(run)
        await handle.signal(go, time.time())
        await handle.result()

    await asyncio.gather(*map(one, ids))


async def signals(opened: Opened, size: int) -> Figures:
    """`size` runs wait for a signal, each gets one, all at once."""
    await _signalled(opened, await opened.start_all("receiver", [None] * max(1, size // WARM_UP)))
    ids = await opened.start_all("receiver", [None] * size)
    with timed() as clock:
        await _signalled(opened, ids)
    return {"signals_per_second": size / clock.seconds, "seconds": clock.seconds}, clock
