"""The works as Prefect does them, and how its server is set up; `bench.systems.prefect` says why so, and sets its environment."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import sqlite3
import sys
import time
import urllib.request
from argparse import Namespace
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.server.database import configurations

from bench.fitting import (
    WARM_WAITING,
    Growth,
    NotApplicable,
    batch,
    ends,
    fill,
    fill_wide,
    import_ms,
    installed_mb,
    one_by_one,
    shortened,
    until,
    warm_up,
)
from bench.measuring import PAYLOAD_RUNS, STEPS, WARM_STEPS, Answer, collect_seldom, timed
from bench.postgres import Postgres, postgres
from bench.servers import Server
from bench.syncs import counted
from bench.systems.prefect_flows import long, noted, paused, side_by_side, ten, ten_kept, ten_texts

CONNECTIONS: Final = 20
POLL_SECONDS: Final = 10
POLL_SECONDS_LEAST: Final = 1
STARTED_AT_ONCE: Final = 50
_LEVEL: Final = re.compile(r"PRAGMA synchronous = (\w+)")


@dataclass(frozen=True, slots=True)
class Ready:
    """A server, and an event loop on which flows run while something is waited for."""

    server: Server
    database: Postgres | None
    loop: asyncio.Runner
    flow: Any

    def together(self, runs: int) -> None:
        """Do so many flows at once."""
        found = self.all_of(self.flow(number) for number in range(runs))
        assert found == [number + STEPS for number in range(runs)]

    def texts(self, text: str) -> Callable[[int], None]:
        """Return what does so many flows at once that carry a text."""

        def together(runs: int) -> None:
            assert self.all_of(ten_texts(text) for _ in range(runs)) == [text] * runs

        return together

    def all_of(self, these: Any) -> list[Any]:
        """Await all of these, at once."""

        async def gather() -> list[Any]:
            return await asyncio.gather(*these)

        return self.loop.run(gather())


@contextmanager
def served(given: Namespace) -> Iterator[Ready]:
    """Run the server, and PostgreSQL before it."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres(given.folder)) if given.mode != "sqlite" else None
        env = dict(os.environ)
        if database:
            database.ask("CREATE DATABASE prefect")
            env["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database.url("prefect").replace(
                "postgresql", "postgresql+asyncpg", 1
            )
            env["PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE"] = str(CONNECTIONS)
        address = os.environ["PREFECT_API_URL"]
        where = urlsplit(address)
        command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--analytics-off"]
        server = stack.enter_context(
            Server(
                [*command, "--host", str(where.hostname), "--port", str(where.port)],
                given.folder / "prefect.log",
                env=env,
            )
        )
        server.until(lambda: healthy(f"{address}/health"))
        loop = stack.enter_context(asyncio.Runner())
        yield Ready(server, database, loop, ten_kept if given.mode == "postgres-kept" else ten)


@contextmanager
def ready(given: Namespace, answer: Answer) -> Iterator[Ready]:
    """Keep Prefect running on a fresh database; note the version, and what durability rests on."""
    with served(given) as there:
        describe(there, given, answer)
        collect_seldom()
        yield there


def healthy(address: str) -> bool:
    """Tell whether the server answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def describe(there: Ready, given: Namespace, answer: Answer) -> None:
    """Note the versions, and what durability rests on; do one flow to count its syncs."""
    below = f"PostgreSQL {there.database.version()}" if there.database else f"SQLite {sqlite3.sqlite_version}"
    answer.version = f"prefect {version('prefect')}, {below}"
    there.together(1)
    roots = [there.server.pid, *([there.database.server.pid] if there.database else [])]
    with counted(given.folder, roots) as syncs:
        there.together(1)
    # On SQLite nothing needs to be synced before its next checkpoint.
    said = syncs.said("one flow alone", 1 if there.database else 0)
    rests = there.database.durability() if there.database else sqlite_durability(given.folder)
    answer.durability = f"{rests}; {said}"


def sqlite_durability(folder: Path) -> str:
    """Say which journal the file has, and how the server's source opens it."""
    connection = sqlite3.connect(folder / "home" / "prefect.db")
    (journal,) = connection.execute("pragma journal_mode").fetchone()
    connection.close()
    (level,) = _LEVEL.findall(inspect.getsource(configurations))
    loses = (
        " (its own choice: what was committed last can be lost with the power)" if level == "NORMAL" else ""
    )
    return f"journal_mode={journal} synchronous={level}{loses}"


# ── the works ──────────────────────────────────────────────────────────────────────────────


def latency(given: Namespace, answer: Answer) -> None:
    """One flow at a time."""
    with ready(given, answer) as there:
        one_by_one(lambda _: there.together(1), answer, given.size, given)


def in_flight(given: Namespace, answer: Answer) -> None:
    """So many flows at once."""
    with ready(given, answer) as there:
        fill(answer, batch(there.together, given.size, given.seconds), given.size)


def payload(given: Namespace, answer: Answer) -> None:
    """Flows whose tasks carry a text."""
    with ready(given, answer) as there:
        fill(answer, batch(there.texts("x" * given.size), PAYLOAD_RUNS, given.seconds), PAYLOAD_RUNS)


def fan_out(given: Namespace, answer: Answer) -> None:
    """One flow with a task for each item."""

    def once(count: int) -> None:
        assert there.loop.run(side_by_side(count)) == count * (count + 1) // 2

    with ready(given, answer) as there:
        fill_wide(answer, batch(once, given.size, given.seconds), given.size)


def long_run(given: Namespace, answer: Answer) -> None:
    """One flow of as many tasks as the time allows."""

    def once(steps: int) -> int:
        noted.times.clear()
        return int(there.loop.run(long(steps, given.seconds)))

    with ready(given, answer) as there:
        warm_up(once, WARM_STEPS, given.seconds)
        with timed() as clock:
            done = once(given.size)
    answer.figures, answer.window = ends(noted.times), clock.window
    shortened(answer, given.size, done)


async def start_for(flow: Any, most: int, seconds: float) -> list[asyncio.Task[Any]]:
    """Start flows that pause, some at a time, until they are so many or the time is over, and all are paused."""
    tasks: list[asyncio.Task[Any]] = []
    end = time.perf_counter() + seconds
    while len(tasks) < most and time.perf_counter() < end:
        some = range(len(tasks), min(most, len(tasks) + STARTED_AT_ONCE))
        tasks += [asyncio.create_task(_run(flow(number))) for number in some]
        await _noted(len(tasks))
    async with get_client() as client:
        for run in noted.waiting:
            while not (await client.read_flow_run(run)).state.is_paused():  # noqa: ASYNC110 - it has no event for it
                await asyncio.sleep(0.05)
    return tasks


async def _noted(count: int) -> None:
    """Return when so many flows are about to pause."""
    await until(lambda: len(noted.waiting) >= count)


async def _run(flow: Coroutine[Any, Any, Any]) -> Any:
    return await flow


def waiting(given: Namespace, answer: Answer) -> None:
    """Flows that are paused. It has no timers within a flow that outlive the process, so none is woken."""
    with ready(given, answer) as there:
        warm_up(there.together, WARM_WAITING, given.seconds)
        growth = Growth(given.folder)
        with timed() as clock:
            tasks = there.loop.run(start_for(paused(POLL_SECONDS), given.size, given.seconds))
        answer.figures = there.loop.run(asyncio.to_thread(growth.figures, len(tasks)))
        answer.window = clock.window
        there.loop.run(end(tasks))
    shortened(answer, given.size, len(tasks))


async def end(tasks: list[asyncio.Task[Any]]) -> None:
    """End what still waits."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def signals(given: Namespace, answer: Answer) -> None:
    """Flows that are paused, each is then told to go on; they look every second, as often as they can."""

    async def go_on(tasks: list[asyncio.Task[Any]]) -> None:
        async with get_client() as client:
            await asyncio.gather(*(client.resume_flow_run(run) for run in noted.waiting))
        await asyncio.gather(*tasks)

    with ready(given, answer) as there:
        tasks = there.loop.run(start_for(paused(POLL_SECONDS_LEAST), given.size, given.seconds / 2))
        with timed() as clock:
            there.loop.run(go_on(tasks))
    answer.window = clock.window
    answer.figures = {"signals_per_second": len(tasks) / clock.seconds, "seconds": clock.seconds}
    shortened(answer, given.size, len(tasks))


def restart(given: Namespace, answer: Answer) -> None:
    """Not possible."""
    raise NotApplicable("a flow run whose process dies is not taken up again: it has to be run anew")


def footprint(given: Namespace, answer: Answer) -> None:
    """Nothing yet; then one flow."""
    began = time.perf_counter()
    with served(given) as there:
        started = time.perf_counter()
        with timed() as clock:
            there.together(1)
        describe(there, given, answer)
    answer.window = clock.window
    answer.figures = {
        "import_ms": import_ms("from prefect import flow, task"),
        "start_ms": (started - began) * 1e3,
        "first_result_ms": (started - began + clock.seconds) * 1e3,
        "installed_mb": installed_mb(with_debian=given.mode != "sqlite"),
    }
