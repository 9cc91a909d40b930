"""Durable steps per second of Tenuto on SQLite: one JSON line. Run by `bench/peers.py`.

    python tenuto_steps.py --folder DIR [--runs 500] [--mode code|document]

`code` is a workflow in Python, set up as a reader of the tutorial would: an `App` with a database file, and coroutines
for workflow and step. `document` is ten calls of the function `core.noop`, each given the output of the one before, as in `bench/steps.py`.
The settings that durability rests on are read on the connections that the journal itself opened.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tenuto import App, __version__, step, workflow
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
LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")
SOURCE = "document: {dsl: '1.0.3', namespace: bench, name: ten, version: '1.0.0'}\ndo:\n" + "".join(
    f"  - step{number}: {{call: 'core.noop:1.0.0@default', with: {{value: '${{ . }}'}}}}\n"
    for number in range(STEPS)
)


@step
async def plus_one(value: int) -> int:
    """Do as good as nothing."""
    return value + 1


@workflow
async def ten(value: int) -> int:
    """Run the steps one after the other, each with the answer of the one before."""
    for _ in range(STEPS):
        value = await plus_one(value)
    return value


class Connections:
    """Every SQLite connection that this process opens, so that its settings can be asked."""

    def __init__(self) -> None:
        self._opened: list[sqlite3.Connection] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "sqlite3.connect/handle":
            self._opened.append(arguments[0])

    def durability(self) -> str:
        """Say what those that are open answer, and refuse what would not sync each commit."""
        answers: list[str] = []
        for connection in self._opened:
            try:
                (journal,) = connection.execute("pragma journal_mode").fetchone()
                (level,) = connection.execute("pragma synchronous").fetchone()
            except sqlite3.ProgrammingError:
                continue
            assert level >= 2, f"a connection of Tenuto does not sync: {LEVELS[level]}"
            answers.append(f"journal_mode={journal} synchronous={LEVELS[level]}")
        assert answers, "Tenuto opened no connection that could be asked"
        return f"{'; '.join(sorted(set(answers)))} (asked on {len(answers)} connections)"


async def timed(one: Callable[[int], Awaitable[None]], runs: int) -> tuple[float, list[float]]:
    """Warm up, time `runs` runs at once from the first start to the last result; answer steps/s and when."""
    await asyncio.gather(*(one(number) for number in range(max(1, runs // 10))))
    began = time.time()
    started = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(runs)))
    seconds = time.perf_counter() - started
    return runs * STEPS / seconds, [began, began + seconds]


async def measure_document(folder: Path, runs: int) -> dict[str, Any]:
    """Measure the workflow as a document."""
    connections = Connections()
    workers: list[Worker] = []
    journal = await open_journal(folder / "tenuto.db", failed=lambda error: workers[0].fail(error))
    catalog, evaluator = Catalog.discover(), Evaluator()
    secrets: Mapping[str, Any] = {}
    gate = Gate(catalog, SystemNetwork(), secrets)
    worker = Worker(journal, gate, evaluator, builder(catalog), SystemClock(), SystemChance(), "bench")
    workers.append(worker)
    row = DocumentRow(digest=digest(SOURCE), namespace="bench", name="ten", version="1.0.0", source=SOURCE)

    async def one(number: int) -> None:
        settled = await worker.settle(await worker.start(row, {"n": number}))
        assert settled.status == "completed", settled

    try:
        rate, window = await timed(one, runs)
        return {"durability": connections.durability(), "steps_per_second": [rate], "window": window}
    finally:
        await worker.close()
        await evaluator.close()
        await journal.close()


async def measure_code(folder: Path, runs: int) -> dict[str, Any]:
    """Measure the workflow as Python code."""
    connections = Connections()
    async with App(workflows=[ten], database=folder / "tenuto.db") as app:

        async def one(number: int) -> None:
            handle = await app.start(ten, number)
            assert await handle.result() == number + STEPS

        rate, window = await timed(one, runs)
        return {"durability": connections.durability(), "steps_per_second": [rate], "window": window}


MODES = {"code": measure_code, "document": measure_document}


def main() -> None:
    """Read the options, measure, print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--mode", choices=tuple(MODES), default="code")
    options = parser.parse_args()
    collect_seldom()
    figures = asyncio.run(MODES[options.mode](options.folder.resolve(), options.runs))
    version = f"tenuto {__version__}, SQLite {sqlite3.sqlite_version}"
    print(json.dumps({"system": "tenuto", "mode": options.mode, "version": version, **figures}))


if __name__ == "__main__":
    main()
