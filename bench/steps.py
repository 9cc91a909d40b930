"""Durable steps: one run of ten no-op calls against the disk's own speed, and 500 such runs at once.

    python bench/steps.py [--rounds 15] [--runs 500]

The floor is 12 calls of `fdatasync`, each after appending 4 KiB to a growing file on the same
file system: a run of ten steps has twelve entries at most that have to be on disk one after the other.
Floor and run are measured in turn, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenuto.engine.ports import DocumentRow
from tenuto.language.load import digest
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.definitions import builder
from tenuto.runtime.evaluation import Evaluator
from tenuto.runtime.network import SystemNetwork
from tenuto.runtime.system import SystemChance, SystemClock, collect_seldom
from tenuto.runtime.worker import Worker
from tenuto.storage.sqlite import open_journal

STEPS = 10
SYNCS = 12
SOURCE = "document: {dsl: '1.0.3', namespace: bench, name: ten, version: '1.0.0'}\ndo:\n" + "".join(
    f"  - step{number}: {{call: 'core.noop:1.0.0@default', with: {{value: '${{ . }}'}}}}\n"
    for number in range(STEPS)
)


def floor_seconds(folder: Path) -> float:
    """Time twelve appends with `fdatasync`."""
    descriptor = os.open(folder / "floor", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        started = time.perf_counter()
        for _ in range(SYNCS):
            os.write(descriptor, b"x" * 4096)
            os.fdatasync(descriptor)
        return time.perf_counter() - started
    finally:
        os.close(descriptor)


async def measure(folder: Path, rounds: int, runs: int) -> None:
    """Print the figures."""
    collect_seldom()
    workers: list[Worker] = []
    journal = await open_journal(folder / "bench.db", failed=lambda error: workers[0].fail(error))
    catalog, evaluator = Catalog.discover(), Evaluator()
    secrets: Mapping[str, Any] = {}
    gate = Gate(catalog, SystemNetwork(), secrets)
    worker = Worker(journal, gate, evaluator, builder(catalog), SystemClock(), SystemChance(), "bench")
    workers.append(worker)
    row = DocumentRow(digest=digest(SOURCE), namespace="bench", name="ten", version="1.0.0", source=SOURCE)

    async def one() -> None:
        settled = await worker.settle(await worker.start(row, {"n": 1}))
        assert settled.status == "completed", settled

    await one()
    floors, lone = [], []
    for _ in range(rounds):
        floors.append(floor_seconds(folder))
        started = time.perf_counter()
        await one()
        lone.append(time.perf_counter() - started)
    rates = []
    for _ in range(5):
        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(runs)))
        rates.append(runs * STEPS / (time.perf_counter() - started))
    ratio = statistics.median(b / a for a, b in zip(floors, lone, strict=True))
    print(f"12 fdatasync calls       {statistics.median(floors) * 1e3:9.2f} ms")
    print(f"one run of {STEPS} steps      {statistics.median(lone) * 1e3:9.2f} ms")
    print(f"ratio, pair by pair      {ratio:9.2f}    (at most 3)")
    print(f"{runs} runs at once, steps/s {statistics.median(rates):9,.0f}    (at least 8,000)")
    await worker.close()
    await evaluator.close()
    await journal.close()


def main() -> None:
    """Read the options and measure in a new folder on the disk of the current one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        asyncio.run(measure(Path(folder), options.rounds, options.runs))


if __name__ == "__main__":
    main()
