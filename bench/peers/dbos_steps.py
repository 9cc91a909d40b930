"""Durable steps per second of DBOS on SQLite: one JSON line. Run by `bench/peers.py` in an environment of its own.

    python dbos_steps.py --folder DIR [--runs 500] [--mode async|sync|tuned]

`async` and `sync` are the set-up of its documentation: a configuration of a name and a `sqlite:///` URL, no more
(pool of 20 connections, SQLite's own journal mode), with coroutines or with functions in DBOS's unbounded thread pool.
`tuned` goes beyond its documentation: sync, the file switched to WAL before the launch, and two connections, so
that threads queue in the pool and do not sleep in SQLite's busy handler. Of sync and async, WAL or not, with 1, 2 or 20
connections, tried once each, it is one of three within 1 % of each other at the top; it is hardly faster than `sync`.
In no mode is `synchronous` written: it is read on DBOS's own connections and must be FULL or EXTRA.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSConfig

STEPS = 10
LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")


def declare_sync() -> Callable[[int], Awaitable[None]]:
    """Declare workflow and step as functions; answer what runs so many of them at once."""

    @DBOS.step()
    def plus_one(value: int) -> int:
        return value + 1

    @DBOS.workflow()
    def ten(value: int) -> int:
        for _ in range(STEPS):
            value = plus_one(value)
        return value

    def together(runs: int) -> None:
        handles = [DBOS.start_workflow(ten, number) for number in range(runs)]
        assert [handle.get_result() for handle in handles] == [number + STEPS for number in range(runs)]

    async def run(runs: int) -> None:
        await asyncio.to_thread(together, runs)

    return run


def declare_async() -> Callable[[int], Awaitable[None]]:
    """Declare workflow and step as coroutines; answer what runs so many of them at once."""

    @DBOS.step()
    async def plus_one(value: int) -> int:
        return value + 1

    @DBOS.workflow()
    async def ten(value: int) -> int:
        for _ in range(STEPS):
            value = await plus_one(value)
        return value

    async def one(number: int) -> None:
        handle = await DBOS.start_workflow_async(ten, number)
        assert await handle.get_result() == number + STEPS

    async def run(runs: int) -> None:
        await asyncio.gather(*(one(number) for number in range(runs)))

    return run


def durability(seen: list[tuple[str, int]]) -> str:
    """Say what every connection of DBOS answered, and refuse what would not sync each commit."""
    assert seen, "DBOS opened no connection that could be asked"
    assert all(level >= 2 for _, level in seen), f"a connection of DBOS does not sync: {seen}"
    answers = sorted({f"journal_mode={mode} synchronous={LEVELS[level]}" for mode, level in seen})
    return f"{'; '.join(answers)} (asked on {len(seen)} connections)"


async def measure(folder: Path, runs: int, mode: str) -> dict[str, Any]:
    """Launch DBOS, warm up, and time `runs` workflows from the first start to the last result."""
    path = folder / "dbos.sqlite"
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{path}",
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    if mode == "tuned":
        sqlite3.connect(path).execute("pragma journal_mode=wal").connection.close()
        config["sys_db_pool_size"] = 2
    seen: list[tuple[str, int]] = []

    @sqlalchemy.event.listens_for(sqlalchemy.pool.Pool, "checkin")
    def ask(connection: Any, record: Any) -> None:
        if connection is not None and not record.info.get("asked"):
            record.info["asked"] = True
            (journal,) = connection.execute("pragma journal_mode").fetchone()
            (level,) = connection.execute("pragma synchronous").fetchone()
            seen.append((journal, level))

    DBOS(config=config)
    run = declare_async() if mode == "async" else declare_sync()
    DBOS.launch()
    try:
        await run(max(1, runs // 10))
        began = time.time()
        started = time.perf_counter()
        await run(runs)
        seconds = time.perf_counter() - started
    finally:
        DBOS.destroy()
    return {
        "system": "dbos",
        "mode": mode,
        "version": f"dbos {version('dbos')}, SQLite {sqlite3.sqlite_version}",
        "durability": durability(seen),
        "steps_per_second": [runs * STEPS / seconds],
        "window": [began, began + seconds],
    }


def main() -> None:
    """Read the options, measure, print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--mode", choices=("async", "sync", "tuned"), default="async")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.folder.resolve(), options.runs, options.mode))))


if __name__ == "__main__":
    main()
