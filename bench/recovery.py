"""How long until work goes on after `kill -9` with thousands of runs in flight.

    python bench/recovery.py [--runs 10000]

A child process starts the runs, each of ten steps, with functions that never come back; when every run
is under way, it is killed. A new process, with functions that do, takes all of them up: measured are the
time to the first step recorded and to the last run's end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tenuto.engine.model import Entry
from tenuto.engine.ports import DocumentRow
from tenuto.language.load import digest
from tenuto.plugin import Call, function
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.definitions import builder
from tenuto.runtime.evaluation import Evaluator
from tenuto.runtime.network import SystemNetwork
from tenuto.runtime.system import SystemChance, SystemClock, collect_seldom
from tenuto.runtime.worker import Worker
from tenuto.storage.sqlite import open_journal

STEPS = 10
HEADER = "document: {dsl: '1.0.3', namespace: bench, name: ten, version: '1.0.0'}\n"
SOURCE = (
    HEADER
    + "do:\n"
    + "".join(f"  - step{n}: {{call: 'core.noop:1.0.0@default', with: {{value: 1}}}}\n" for n in range(STEPS))
)


def endless() -> ModuleType:
    """Return a connector whose function never comes back."""
    module = ModuleType("core", "A connector that only waits.")

    @function(effect="read")
    async def noop(call: Call, *, value: Any = None) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    noop.__module__ = "core"
    module.__dict__.update(noop=noop, VERSION="1.0.0")
    return module


async def work(database: Path, runs: int) -> None:
    """Be the process: start `runs` runs if there are none, else take up what is there; report on stdout."""
    began = time.perf_counter()
    collect_seldom()
    workers: list[Worker] = []
    journal = await open_journal(database, failed=lambda error: workers[0].fail(error))
    catalog, evaluator = Catalog({"core": endless()}) if runs else Catalog.discover(), Evaluator()
    gate = Gate(catalog, SystemNetwork(), {})
    worker = Worker(journal, gate, evaluator, builder(catalog), SystemClock(), SystemChance(), "bench")
    workers.append(worker)
    entries = 0
    first = 0.0

    def watch(run: str, seq: int, entry: Entry) -> None:
        nonlocal entries, first
        entries += 1
        if entries == 1:
            first = time.perf_counter() - began
        if entries == runs:
            print("under way", flush=True)

    worker.watch(watch)
    if runs:
        row = DocumentRow(
            digest=digest(SOURCE), namespace="bench", name="ten", version="1.0.0", source=SOURCE
        )
        started = await asyncio.gather(*(worker.start(row, None) for _ in range(runs)))
        await asyncio.gather(*(worker.settle(run) for run in started))
        return
    open_runs = []
    after = 0
    while page := await journal.open_runs(after, 1000):
        after = page[-1].number
        open_runs += [run.id for run in page]
    count = await worker.recover()
    await asyncio.gather(*(worker.settle(run) for run in open_runs))
    print(f"runs taken up            {count:9,}")
    print(f"first progress           {first:9.2f} s    (within 2)")
    print(f"all over                 {time.perf_counter() - began:9.2f} s    (within 15)")
    await worker.close()
    await evaluator.close()
    await journal.close()


def main() -> None:
    """Kill a process in the middle and measure the next one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        asyncio.run(work(Path(options.work[0]), int(options.work[1])))
        return
    with tempfile.TemporaryDirectory(dir=".") as folder:
        database = str(Path(folder) / "bench.db")
        child = subprocess.Popen(
            [sys.executable, __file__, "--work", database, str(options.runs)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "under way\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        subprocess.run([sys.executable, __file__, "--work", database, "0"], check=True)


if __name__ == "__main__":
    main()
