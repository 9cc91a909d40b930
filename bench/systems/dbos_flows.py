"""The workflows of DBOS that are measured, and how it is set up; `bench.systems.dbos` says why so."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from dbos import DBOS, DBOSConfig

from bench.measuring import STEPS, asked, collect_seldom, sqlite_durability
from bench.postgres import Postgres, postgres

FAR_SECONDS: Final = 86_400.0


# ── the workflows ──────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Noted:
    """What steps tell the measurement: they run in this process."""

    lags_seconds: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    waiting: int = 0
    hold: bool = False
    gated_steps: int = 0
    first_step: float = 0.0


noted = Noted()


@DBOS.step()
def plus_one(number: int) -> int:
    """Do as good as nothing."""
    return number + 1


@DBOS.step()
async def plus_one_async(number: int) -> int:
    """Do as good as nothing."""
    return number + 1


@DBOS.step()
def echo(text: str) -> str:
    """Answer what is given."""
    return text


@DBOS.step()
async def echo_async(text: str) -> str:
    """Answer what is given."""
    return text


@DBOS.step()
def noting(number: int) -> int:
    """Note when it runs."""
    noted.times.append(time.perf_counter())
    return number + 1


@DBOS.step()
async def woken(since: float) -> None:
    """Note how late it runs."""
    noted.lags_seconds.append(time.time() - since)


@DBOS.step()
async def gated(number: int) -> int:
    """Never come back in a process that is to be killed; do as good as nothing in the next."""
    if noted.hold:
        noted.waiting += 1
        await asyncio.Event().wait()
    noted.gated_steps += 1
    noted.first_step = noted.first_step or time.time()
    return number + 1


@DBOS.workflow()
def ten(number: int) -> int:
    """Ten steps, one after the other."""
    for _ in range(STEPS):
        number = plus_one(number)
    return number


@DBOS.workflow()
async def ten_async(number: int) -> int:
    """Ten steps, one after the other."""
    for _ in range(STEPS):
        number = await plus_one_async(number)
    return number


@DBOS.workflow()
def ten_texts(text: str) -> str:
    """Ten steps, one after the other, with much to carry."""
    for _ in range(STEPS):
        text = echo(text)
    return text


@DBOS.workflow()
async def ten_texts_async(text: str) -> str:
    """Ten steps, one after the other, with much to carry."""
    for _ in range(STEPS):
        text = await echo_async(text)
    return text


@DBOS.workflow()
async def ten_gated(number: int) -> int:
    """Ten steps that may hang."""
    for _ in range(STEPS):
        number = await gated(number)
    return number


@DBOS.workflow()
async def side_by_side(count: int) -> int:
    """A step for each item, all at once, as its documentation says for coroutines."""
    return sum(await asyncio.gather(*(plus_one_async(number) for number in range(count))))


@DBOS.workflow()
def long(end: float, count: int) -> int:
    """Very many steps, one after the other, until a time."""
    number = 0
    while number < count and time.time() < end:
        number = noting(number)
    return number


@DBOS.workflow()
async def sleeper(due: float) -> None:
    """Wait for a time, then do a step."""
    noted.waiting += 1
    await DBOS.sleep_async(max(0.0, due - time.time()))
    await woken(due)


@DBOS.workflow()
async def receiver(number: int) -> None:
    """Wait for a message, then do a step."""
    noted.waiting += 1
    await woken(await DBOS.recv_async(timeout_seconds=FAR_SECONDS))


# ── how it is set up ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Store:
    """Where its state is; `server` is there for PostgreSQL."""

    url: str
    server: Postgres | None = None

    def version(self) -> str:
        """Return the versions of DBOS and of the database."""
        below = f"PostgreSQL {self.server.version()}" if self.server else f"SQLite {sqlite3.sqlite_version}"
        return f"dbos {version('dbos')}, {below}"


@dataclass(slots=True)
class Launched:
    """DBOS, ready for work."""

    asynchronous: bool
    loop: asyncio.Runner
    seen: list[tuple[str, int]]
    """What its connections to SQLite have answered."""

    def together(self, runs: int) -> None:
        """Do so many workflows at once."""
        self._all(ten, ten_async, list(range(runs)), [number + STEPS for number in range(runs)])

    def texts(self, text: str) -> Callable[[int], None]:
        """Return what does so many workflows at once that carry a text."""
        return lambda runs: self._all(ten_texts, ten_texts_async, [text] * runs, [text] * runs)

    def _all(self, sync: Any, coroutine: Any, given: list[Any], expected: list[Any]) -> None:
        if self.asynchronous:
            found = self.loop.run(results(coroutine, given))
        else:
            handles = [DBOS.start_workflow(sync, one) for one in given]
            found = [handle.get_result() for handle in handles]
        assert found == expected

    def durability(self) -> str:
        """Say what its connections to SQLite answered, and refuse what would not sync each commit."""
        return sqlite_durability(self.seen)


async def results(coroutine: Any, given: list[Any]) -> list[Any]:
    """Do a workflow for each value, all at once; answer their results."""

    async def one(value: Any) -> Any:
        handle = await DBOS.start_workflow_async(coroutine, value)
        return await handle.get_result()

    return await asyncio.gather(*(one(value) for value in given))


def ask_connections() -> list[tuple[str, int]]:
    """Return a list that gets what each connection to SQLite says of itself, once it was used."""
    seen: list[tuple[str, int]] = []

    @sqlalchemy.event.listens_for(sqlalchemy.pool.Pool, "checkin")
    def ask(connection: Any, record: Any) -> None:
        if connection is not None and not record.info.get("asked"):
            record.info["asked"] = True
            seen.append(asked(connection))

    return seen


@contextmanager
def stored(folder: Path, mode: str) -> Iterator[Store]:
    """Keep the place of its state: a file, or a fresh PostgreSQL."""
    if mode.startswith("postgres"):
        with postgres(folder) as server:
            yield Store(server.url("dbos"), server)
        return
    path = folder / "dbos.sqlite"
    if mode == "sqlite-tuned":
        sqlite3.connect(path).execute("pragma journal_mode=wal").connection.close()
    yield Store(f"sqlite:///{path}")


@contextmanager
def launched(url: str, mode: str) -> Iterator[Launched]:
    """Launch DBOS on an event loop of its own, which runs while something is waited for."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "run_admin_server": False,
        "log_level": "CRITICAL",
    }
    if mode == "sqlite-tuned":
        config["sys_db_pool_size"] = 2
    collect_seldom()
    seen = ask_connections() if url.startswith("sqlite") else []
    DBOS(config=config)
    with asyncio.Runner() as loop:
        loop.run(_launch())
        try:
            yield Launched(mode.endswith(("async", "processes")), loop, seen)
        finally:
            DBOS.destroy()


async def _launch() -> None:
    """Launch within the event loop, so that coroutines are run there."""
    DBOS.launch()
