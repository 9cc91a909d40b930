"""Temporal, on PostgreSQL and on SQLite. `bench.measuring` says what is measured; run in the environment of `bench.environments`.

    python -m bench.systems.temporal --work in-flight --size 500 --mode postgres --folder DIR [--seconds 60]

The server is built from its Go modules: all of its services in one process, configured by its own template. With `postgres` it
keeps its state in a fresh PostgreSQL of Debian's package, through that of its two drivers which took less of PostgreSQL's
processor time (pgx) over 50 connections. It has the template's 4 history shards: 8, and 512 as for a small production cluster,
took about the same processor time for a step and were no faster, in three rounds on a busy machine. `sqlite` keeps it in SQLite files by the template's settings (WAL, synchronous FULL, one
connection). Limits of requests, which protect tenants from each other, are lifted; the version check is off.
Its command-line tool with the development server cannot be built from the proxy: a module that it requires is not published.

One worker and the client share a process, so that workflows and activities start eagerly, which is the default where it
is possible. The worker has autoscaled pollers, as its documentation recommends, slots for a thousand tasks of each kind
(its default is a hundred), memory for ten thousand workflows (a thousand), coroutines as activities, and no sandbox.

`postgres-local` has local activities, which its documentation recommends for short steps: they run within the workflow
task, and are recorded with it when it ends, so not each is on the disk before the next begins.

`durability` has what PostgreSQL answers, or the journal mode of the SQLite file, and how often the processes of server
and database really synced for one workflow alone, counted by strace before the measurement.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHandle

from bench.fitting import (
    FEW,
    WARM_WAITING,
    Growth,
    batch,
    ends,
    fill,
    fill_wide,
    import_ms,
    installed_mb,
    one_by_one,
    play,
    shortened,
    until,
    warm_up,
)
from bench.measuring import (
    PAYLOAD_RUNS,
    STEPS,
    WARM_STEPS,
    WARM_UP,
    Answer,
    collect_seldom,
    lags,
    options,
    timed,
)
from bench.servers import HOST, Server
from bench.syncs import counted
from bench.systems.temporal_flows import (
    QUEUE,
    Long,
    Receiver,
    SideBySide,
    Sleeper,
    Ten,
    TenTexts,
    noted,
    worker,
)
from bench.systems.temporal_server import Temporal, served, version

MODES: Final = ("postgres", "sqlite", "postgres-local")
STARTED_AT_ONCE: Final = 200
FAR_SECONDS: Final = 86_400.0
WOKEN: Final = 200
WOKEN_PER_SECOND: Final = 20
LEAD_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 3.0
"""The server's queues write for a while after the last workflow was accepted."""
PENDING_MAX: Final = 2_000
"""Activities that one workflow may have begun at the same time: `limit.numPendingActivities.error`."""
LONG_MAX: Final = 8_000
"""A workflow's history ends at 51,200 events, of which a step takes six."""


@dataclass(slots=True)
class Ready:
    """A server, a client and a worker on an event loop, which runs while something is waited for."""

    temporal: Temporal
    client: Client
    loop: asyncio.Runner
    local: bool
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def start(self, flow: Any, *values: object) -> WorkflowHandle[Any, Any]:
        """Start a workflow; it is recorded when this returns."""
        name = f"{flow.__qualname__}-{next(self.numbers)}"
        return await self.client.start_workflow(
            flow, args=values, id=name, task_queue=QUEUE, request_eager_start=True
        )

    async def run(self, flow: Any, *values: object) -> Any:
        """Do a workflow; answer its result."""
        return await (await self.start(flow, *values)).result()

    def together(self, runs: int) -> None:
        """Do so many workflows at once."""
        found = self.all_of(self.run(Ten.run, number, self.local) for number in range(runs))
        assert found == [number + STEPS for number in range(runs)]

    def texts(self, text: str) -> Callable[[int], None]:
        """Return what does so many workflows at once that carry a text."""

        def together(runs: int) -> None:
            found = self.all_of(self.run(TenTexts.run, text, self.local) for _ in range(runs))
            assert found == [text] * runs

        return together

    def all_of(self, these: Any) -> list[Any]:
        """Await all of these, at once."""

        async def gather() -> list[Any]:
            return await asyncio.gather(*these)

        return self.loop.run(gather())


@contextmanager
def ready(given: Namespace, answer: Answer) -> Iterator[Ready]:
    """Keep Temporal running on a fresh database; note the version, and what durability rests on."""
    with asyncio.Runner() as loop, served(given.folder, given.mode != "sqlite") as temporal:
        client = loop.run(temporal.connected())
        there = Ready(temporal, client, loop, given.mode == "postgres-local")
        working = loop.run(_working(client))
        try:
            describe(there, given, answer)
            collect_seldom()
            yield there
        finally:
            loop.run(working.shutdown())


async def _working(client: Client) -> Any:
    """Start the worker."""
    there = worker(client)
    task = asyncio.create_task(there.run())
    await until(lambda: there.is_running or task.done())
    return there


def describe(there: Ready, given: Namespace, answer: Answer) -> None:
    """Note the versions, and what durability rests on; do one workflow to see that it syncs."""
    database = there.temporal.database
    below = f"PostgreSQL {database.version()}" if database else "its own SQLite"
    answer.version = f"server {version()}, temporalio {package_version('temporalio')}, {below}"
    there.together(1)
    with counted(given.folder, there.temporal.roots) as syncs:
        there.together(1)
    said = syncs.said("one workflow alone", 1 if there.local else STEPS)
    answer.durability = f"{database.durability() if database else sqlite_durability(given.folder)}; {said}"


def sqlite_durability(folder: Path) -> str:
    """Say which journal the server has given its file; how it syncs that only its own connection knows."""
    with sqlite3.connect(folder / "temporal.db") as connection:
        (journal,) = connection.execute("pragma journal_mode").fetchone()
    connection.close()
    assert journal == "wal", f"journal_mode is {journal}"
    return "journal_mode=wal (of the file), synchronous=FULL (in its configuration)"


# ── the works ──────────────────────────────────────────────────────────────────────────────


def latency(given: Namespace, answer: Answer) -> None:
    """One workflow at a time."""
    with ready(given, answer) as there:
        one_by_one(lambda _: there.together(1), answer, given.size, given)


def in_flight(given: Namespace, answer: Answer) -> None:
    """So many workflows at once."""
    with ready(given, answer) as there:
        fill(answer, batch(there.together, given.size, given.seconds), given.size)


def payload(given: Namespace, answer: Answer) -> None:
    """Workflows whose activities carry a text."""
    with ready(given, answer) as there:
        fill(answer, batch(there.texts("x" * given.size), PAYLOAD_RUNS, given.seconds), PAYLOAD_RUNS)


def fan_out(given: Namespace, answer: Answer) -> None:
    """One workflow with an activity for each item; it may not have begun more than some thousand at a time."""

    def once(count: int) -> None:
        assert there.loop.run(there.run(SideBySide.run, count, there.local)) == count * (count + 1) // 2

    with ready(given, answer) as there:
        most = min(given.size, PENDING_MAX)
        fill_wide(answer, batch(once, most, given.seconds), most)
    if given.size > PENDING_MAX:
        answer.note = f"a workflow may have {PENDING_MAX:,} activities at a time"


def long_run(given: Namespace, answer: Answer) -> None:
    """One workflow of as many activities as the time and its history allow."""

    def once(steps: int) -> int:
        noted.times.clear()
        return int(there.loop.run(there.run(Long.run, steps, time.time() + given.seconds)))

    with ready(given, answer) as there:
        warm_up(once, WARM_STEPS, given.seconds)
        most = min(given.size, LONG_MAX)
        with timed() as clock:
            done = once(most)
    answer.figures, answer.window = ends(noted.times), clock.window
    shortened(answer, most, done)
    if done == LONG_MAX:
        answer.note = "a history ends at 51,200 events, six for each step"


async def start_for(
    there: Ready, flow: Any, most: int, seconds: float, *values: object
) -> list[WorkflowHandle[Any, Any]]:
    """Start workflows, some hundred at a time, until they are so many or the time is over, and all wait."""
    handles: list[WorkflowHandle[Any, Any]] = []
    noted.waiting = 0
    end = time.perf_counter() + seconds
    while len(handles) < most and time.perf_counter() < end:
        some = min(STARTED_AT_ONCE, most - len(handles))
        handles += await asyncio.gather(*(there.start(flow, *values) for _ in range(some)))
    await until(lambda: noted.waiting >= len(handles))
    return handles


async def wake_some(there: Ready) -> dict[str, float]:
    """Start a few more that wait for some seconds; answer how late they went on."""
    begin = time.time() + LEAD_SECONDS
    dues = [begin + number / WOKEN_PER_SECOND for number in range(WOKEN)]
    await asyncio.gather(*(there.start(Sleeper.run, due) for due in dues))
    assert time.time() < begin, "starting took longer than the first that is due could wait"
    await until(lambda: len(noted.lags_seconds) >= WOKEN)
    return lags(noted.lags_seconds)


def waiting(given: Namespace, answer: Answer) -> None:
    """Workflows that wait for a time far away."""
    with ready(given, answer) as there:
        warm_up(there.together, WARM_WAITING, given.seconds)
        growth = Growth(given.folder)
        far = time.time() + FAR_SECONDS
        with timed() as clock:
            handles = there.loop.run(start_for(there, Sleeper.run, given.size, given.seconds, far))
        there.loop.run(asyncio.sleep(SETTLE_SECONDS))
        quiet = there.loop.run(asyncio.to_thread(growth.figures, len(handles)))
        answer.figures = {**quiet, **there.loop.run(wake_some(there))}
        answer.window = clock.window
    shortened(answer, given.size, len(handles))


def signals(given: Namespace, answer: Answer) -> None:
    """Workflows that wait for a signal, each is then sent one."""

    async def send(handles: Sequence[WorkflowHandle[Any, Any]]) -> None:
        async def one(handle: WorkflowHandle[Any, Any]) -> None:
            await handle.signal(Receiver.go, time.time())
            await handle.result()

        await asyncio.gather(*map(one, handles))

    def waiting_ones(count: int) -> list[WorkflowHandle[Any, Any]]:
        return there.loop.run(start_for(there, Receiver.run, count, given.seconds / 2))

    with ready(given, answer) as there:
        warm_up(lambda count: there.loop.run(send(waiting_ones(count))), given.size // WARM_UP, given.seconds)
        handles = waiting_ones(given.size)
        with timed() as clock:
            there.loop.run(send(handles))
    answer.window = clock.window
    answer.figures = {"signals_per_second": len(handles) / clock.seconds, "seconds": clock.seconds}
    shortened(answer, given.size, len(handles))


# ── the restart: a server and a worker are killed ──────────────────────────────────────────


def restart(given: Namespace, answer: Answer) -> None:
    """Kill worker and server with open workflows, start both again. PostgreSQL is not killed.

    The workflows are recorded before there is a worker, which is killed once it has done its first activity: so nearly all
    are open. Activities that were under way are tried again after their timeout of ten seconds.
    """
    with ready(given, answer) as there:
        there.together(FEW)
        began = time.perf_counter()
        there.together(STARTED_AT_ONCE)
        pace = (time.perf_counter() - began) / STARTED_AT_ONCE
    size = max(1, min(given.size, int(given.seconds / pace)))
    place = given.folder / "killed"
    place.mkdir()
    with asyncio.Runner() as loop, served(place, given.mode != "sqlite") as temporal:
        told = loop.run(killed(temporal, place, size))
    answer.window = (told["began"], told["over"])
    answer.figures = {
        "first_progress_seconds": told["first"] - told["began"],
        "all_over_seconds": told["over"] - told["began"],
    }
    shortened(answer, given.size, size)


async def killed(temporal: Temporal, folder: Path, size: int) -> dict[str, float]:
    """Start workflows, kill, start again, wait until all are over; say when."""
    client = await temporal.connected()
    for first in range(0, size, STARTED_AT_ONCE):
        some = range(first, min(size, first + STARTED_AT_ONCE))
        await asyncio.gather(
            *(client.start_workflow(Ten.run, args=(n, False), id=f"{n}", task_queue=QUEUE) for n in some)
        )
    with working_apart(temporal, folder / "first") as child:
        child.until((folder / "first").exists)
        child.until(lambda: (folder / "first").stat().st_size > 0)
        child.kill()
        temporal.server.kill()
    began = time.time()
    temporal.server.start()
    client = await temporal.connected()
    with working_apart(temporal, folder / "second"):
        found = await results(client, size)
        over = time.time()
    assert found == [number + STEPS for number in range(size)]
    first_step = float((folder / "second").read_text().split(maxsplit=1)[0])
    return {"began": began, "first": first_step, "over": over}


async def results(client: Client, size: int) -> list[int]:
    """Return the results of workflows, once all are over; some hundred are asked for at a time."""
    found: list[int] = []
    for first in range(0, size, STARTED_AT_ONCE):
        some = range(first, min(size, first + STARTED_AT_ONCE))
        found += await asyncio.gather(*(client.get_workflow_handle(f"{n}").result() for n in some))
    return found


def working_apart(temporal: Temporal, path: Path) -> Server:
    """Return a worker of its own, which notes when its activities run."""
    command = [sys.executable, "-m", "bench.systems.temporal_flows", f"{HOST}:{temporal.port}", path]
    return Server(command, path.with_suffix(".log"))


def footprint(given: Namespace, answer: Answer) -> None:
    """Nothing yet; then one workflow. With the creation of the databases and their schemas."""
    began = time.perf_counter()
    with asyncio.Runner() as loop, served(given.folder, given.mode != "sqlite") as temporal:
        client = loop.run(temporal.connected())
        working = loop.run(_working(client))
        there = Ready(temporal, client, loop, given.mode == "postgres-local")
        started = time.perf_counter()
        with timed() as clock:
            there.together(1)
        describe(there, given, answer)
        loop.run(working.shutdown())
    answer.window = clock.window
    answer.figures = {
        "import_ms": import_ms("import temporalio.client, temporalio.worker, temporalio.workflow"),
        "start_ms": (started - began) * 1e3,
        "first_result_ms": (started - began + clock.seconds) * 1e3,
        "installed_mb": installed_mb(with_debian=given.mode != "sqlite"),
    }


WORKS: Final[dict[str, Callable[[Namespace, Answer], None]]] = {
    "latency": latency,
    "in-flight": in_flight,
    "fan-out": fan_out,
    "waiting": waiting,
    "long-run": long_run,
    "restart": restart,
    "signals": signals,
    "payload": payload,
    "footprint": footprint,
}

if __name__ == "__main__":
    play("temporal", "", WORKS, options(__doc__, MODES, tuple(WORKS)))
