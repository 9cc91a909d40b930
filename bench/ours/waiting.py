"""Works of runs that wait: for a time, for a signal or an event; what they cost meanwhile, and how soon they go on."""

from __future__ import annotations

import asyncio
import random
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Final

from bench.fitting import IDLE_SECONDS, WARM_WAITING, Growth, warm_up
from bench.measuring import WARM_UP, Answer, percentile, timed
from bench.ours.flows import Opened, go, noted

WOKEN: Final = 2_000
WOKEN_PER_SECOND: Final = 100
LAG_SECONDS_MAX: Final = 180.0
FAR_SECONDS: Final = 86_400.0


def grown(growth: Growth, runs: int) -> dict[str, float]:
    """Return what so many runs have added; whatever memory they take is beyond their rows, which are on the disk."""
    figures = growth.figures(runs)
    return {**figures, "bytes_beyond_row": figures["rss_kb_per_run"] * 1024}


async def lags(expected: int) -> dict[str, float]:
    """Return the figures of how long after their time runs went on, once all have."""
    if len(noted.lags_seconds) < expected:
        noted.wanted, noted.all_done = expected - len(noted.lags_seconds), asyncio.Event()
        await asyncio.wait_for(noted.all_done.wait(), LAG_SECONDS_MAX)
    return {f"wake_lag_ms_p{percent}": percentile(noted.lags_seconds, percent) * 1e3 for percent in (50, 99)}


def on_timers(loop: asyncio.Runner, opened: Opened, given: Namespace, answer: Answer) -> None:
    """Runs wait for a day; some of them, picked by chance, for a time soon after all have been started."""
    size: int = given.size

    def together(runs: int) -> None:
        loop.run(opened.together("sleeper", [time.time()] * runs))

    pace = warm_up(together, WARM_WAITING, given.seconds)
    noted.lags_seconds.clear()
    chance = random.Random(size)
    woken = set(chance.sample(range(size), min(WOKEN, size // WARM_UP)))
    first = time.time() + pace * size + IDLE_SECONDS + 2.0
    last = first + len(woken) / WOKEN_PER_SECOND
    dues = (chance.uniform(first, last) if number in woken else last + FAR_SECONDS for number in range(size))
    growth = Growth(given.folder)
    with timed() as clock:
        loop.run(opened.start_all("sleeper", dues))
    answer.window = clock.window
    figures = loop.run(asyncio.to_thread(grown, growth, size))
    assert time.time() < first, "starting took longer than the first that is due could wait"
    loop.run(asyncio.sleep(last - time.time()))
    answer.figures = {**figures, "started_per_second": size / clock.seconds, **loop.run(lags(len(woken)))}


def on_events(loop: asyncio.Runner, opened: Opened, given: Namespace, answer: Answer) -> None:
    """Runs wait for a signal that some of them get; as documents, which know none, for one event that all get at once."""
    size: int = given.size
    if opened.mode == "code":
        warm_up(lambda runs: warm_signals(loop, opened, runs), WARM_WAITING, given.seconds)
        noted.lags_seconds.clear()
    growth = Growth(given.folder)
    with timed() as clock:
        ids = loop.run(opened.start_all("receiver", [None] * size))
    answer.window = clock.window
    figures = loop.run(asyncio.to_thread(grown, growth, size))
    answer.figures = {**figures, "started_per_second": size / clock.seconds}
    if opened.mode == "code":
        answer.figures |= loop.run(_signalled_in_time(opened, ids))
        return
    noted.lags_seconds.clear()
    began = time.perf_counter()
    loop.run(opened.app.emit("go", time.time()))
    answer.figures["told_per_second"] = size / (time.perf_counter() - began)
    answer.figures |= loop.run(lags(size))


async def _signalled_in_time(opened: Opened, ids: Sequence[str]) -> dict[str, float]:
    """Send some runs their signals at planned times; each says how long after its time it went on.

    The plan counts, not when this process got to send it: a sender that is held up must not hide how late a run is.
    """
    chance = random.Random(len(ids))
    woken = chance.sample(ids, min(WOKEN, len(ids) // WARM_UP))
    began = time.time()
    planned = sorted(began + chance.uniform(0, len(woken) / WOKEN_PER_SECOND) for _ in woken)
    sent = []
    for when, run in zip(planned, woken, strict=True):
        await asyncio.sleep(when - time.time())
        sent.append(asyncio.create_task(opened.app.handle(run).signal(go, when)))
    await asyncio.gather(*sent)
    return await lags(len(woken))


async def _signalled(opened: Opened, ids: Sequence[str]) -> None:
    """Send each run its signal, all at once, and wait until all are over."""

    async def one(run: str) -> None:
        handle = opened.app.handle(run)
        await handle.signal(go, time.time())
        await handle.result()

    await asyncio.gather(*map(one, ids))


def warm_signals(loop: asyncio.Runner, opened: Opened, runs: int) -> None:
    """Have so many runs wait, and send each its signal."""
    loop.run(_signalled(opened, loop.run(opened.start_all("receiver", [None] * runs))))


def signals(loop: asyncio.Runner, opened: Opened, given: Namespace, answer: Answer) -> None:
    """Runs wait for a signal, each gets one, all at once."""
    size: int = given.size
    warm_up(lambda runs: warm_signals(loop, opened, runs), size // WARM_UP, given.seconds)
    ids = loop.run(opened.start_all("receiver", [None] * size))
    with timed() as clock:
        loop.run(_signalled(opened, ids))
    answer.window = clock.window
    answer.figures = {"signals_per_second": size / clock.seconds, "seconds": clock.seconds}
