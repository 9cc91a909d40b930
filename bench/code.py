"""Workflows in Python: durable steps/s, replayed steps/s, and a long list in bounded memory.

    python bench/code.py [--runs 500] [--items 100000] [--replayed 100000]

- 500 runs of ten steps at once, each step an `async def` that returns a number, from the first start to
  the last result; every answer is on disk (fsync) before the next step begins.
- A run of many steps is taken up from its journal: read, decoded, and its code run again over it, until
  it waits for what comes next. The guard against clock and chance is on in live runs, as always.
- `each` over a list: items/s, and the process's memory after lists of growing length, one after the other.
  The database's own cache fills up to 16 MiB meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tenuto import App, Signal, each, step, workflow
from tenuto.runtime.system import collect_seldom

STEPS = 10
AT_ONCE = 200
go = Signal("go", bool)


@step
async def add(number: int) -> int:
    """Add one."""
    return number + 1


@workflow
async def ten(number: int) -> int:
    """Ten steps, one after the other."""
    for _ in range(STEPS):
        number = await add(number)
    return number


@workflow
async def many(count: int) -> int:
    """Many steps, one after the other; then wait."""
    number = 0
    for _ in range(count):
        number = await add(number)
    await go.receive()
    return number


@workflow
async def long_list(count: int) -> int:
    """A step for each item, without holding the results."""
    total = 0
    async for result in each(add, range(count), at_once=AT_ONCE):
        total += result
    return total


def resident_mib() -> float:
    """Return how much memory this process has, in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def at_once(app: App, runs: int) -> float:
    """Return durable steps/s of so many runs at once."""

    async def one(number: int) -> None:
        handle = await app.start(ten, number)
        assert await handle.result() == number + STEPS

    started = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(runs)))
    return runs * STEPS / (time.perf_counter() - started)


async def taken_up(folder: Path, count: int, rounds: int) -> list[float]:
    """Return replayed steps/s: from opening the database to a run that waits again, less opening an empty one."""
    async with App(workflows=[many], database=folder / "replay.db") as app:
        handle = await app.start(many, count, id="long")
        await app.settle(handle)
    rates = []
    for _ in range(rounds):
        async with App(workflows=[many], database=folder / "empty.db"):
            pass
        started = time.perf_counter()
        async with App(workflows=[many], database=folder / "empty.db"):
            opening = time.perf_counter() - started
        gc.collect()
        started = time.perf_counter()
        async with App(workflows=[many], database=folder / "replay.db") as app:
            rates.append(count / (time.perf_counter() - started - opening))
            assert await app.handle("long").status() == "waiting"
    return rates


async def listed(app: App, count: int) -> float:
    """Return items/s of `each`."""
    started = time.perf_counter()
    handle = await app.start(long_list, count)
    assert await handle.result() == count * (count + 1) // 2
    return count / (time.perf_counter() - started)


async def measure(folder: Path, runs: int, items: int, replayed: int) -> None:
    """Print the figures."""
    collect_seldom()
    async with App(workflows=[ten, long_list], database=folder / "steps.db") as app:
        await at_once(app, 20)
        rates = [await at_once(app, runs) for _ in range(5)]
        print(
            f"{runs} runs of {STEPS} at once, steps/s {statistics.median(rates):11,.0f}    (at least 15,000)"
        )
        print(f"{'':25s} range {min(rates):11,.0f} to {max(rates):,.0f}")
        sizes, listing = [], []
        for count in (items // 10, items, items, 2 * items):
            listing.append(await listed(app, count))
            gc.collect()
            sizes.append(f"{resident_mib():.0f}")
        print(f"each over {items:,} items, items/s {statistics.median(listing):8,.0f}    (at least 10,000)")
        print(
            f"memory, MiB, after {items // 10:,}, {items:,}, again, twice as many: {', '.join(sizes)}    (flat)"
        )
    found = await taken_up(folder, replayed, 5)
    print(f"replay of {replayed:,} steps, steps/s {statistics.median(found):9,.0f}    (at least 200,000)")
    print(f"{'':25s} range {min(found):11,.0f} to {max(found):,.0f}")
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores")


def main() -> None:
    """Read the options and measure in a new folder on the disk of the current one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--replayed", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        asyncio.run(measure(Path(folder), options.runs, options.items, options.replayed))


if __name__ == "__main__":
    main()
