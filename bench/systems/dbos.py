"""DBOS, on SQLite and on PostgreSQL. `bench.measuring` says what is measured; run in the environment of `bench.environments`.

    python -m bench.systems.dbos --work in-flight --size 500 --mode sqlite-sync --folder DIR [--seconds 60]

`sqlite-...` and `postgres-...` are set up as its documentation says, with a name and an address, no more: a pool of 20
connections, SQLite's own journal mode. `...-async` has coroutines, `...-sync` functions, which run in DBOS's unbounded thread
pool. `sqlite-tuned` goes beyond its documentation: sync, the file switched to WAL before the launch, and two connections,
so that threads queue in the pool and do not sleep in SQLite's busy handler. Works of very many that wait, and of steps
side by side, are done with coroutines in every mode: a thread for each would only be worse. `postgres-processes` is `...-async`
in as many processes as there are processors, each with its part of the workflows.

PostgreSQL is a fresh cluster of Debian's package, with memory and distance of checkpoints as recommended for a machine of its
own. What durability rests on is read from DBOS's own connections to SQLite, and from the running PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from dbos import DBOS

from bench.fitting import (
    LOOK_SECONDS,
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
from bench.measuring import PAYLOAD_RUNS, STEPS, WARM_STEPS, WARM_UP, Answer, lags, options, timed
from bench.syncs import counted
from bench.systems.dbos_flows import (
    FAR_SECONDS,
    Launched,
    launched,
    long,
    noted,
    receiver,
    results,
    side_by_side,
    sleeper,
    stored,
    ten_gated,
)

MODES: Final = (
    "sqlite-sync",
    "sqlite-async",
    "sqlite-tuned",
    "postgres-sync",
    "postgres-async",
    "postgres-processes",
)
WOKEN: Final = 100
WOKEN_PER_SECOND: Final = 10
"""So few that writing down what the woken do, which is slow on SQLite, keeps up."""

LEAD_SECONDS: Final = 5.0
STARTED_AT_ONCE: Final = 500
FINISHING: Final = 6
"""Starting a workflow takes this part of the time that doing it takes, about: two commits of twelve."""


@contextmanager
def ready(given: Namespace, answer: Answer) -> Iterator[Launched | Processes]:
    """Keep DBOS launched on a fresh database; note the version, and at the end what durability rests on."""
    start = processes if given.mode == "postgres-processes" else launched
    with stored(given.folder, given.mode) as store, start(store.url, given.mode) as there:
        yield there
        answer.version = store.version()
        answer.durability = store.server.durability() if store.server else there.durability()


@dataclass(frozen=True, slots=True)
class Processes:
    """Several processes that share one database, each with DBOS launched."""

    children: Sequence[subprocess.Popen[str]]

    def together(self, runs: int) -> None:
        """Do so many workflows at once, each process its part."""
        for number, child in enumerate(self.children):
            assert child.stdin is not None
            print((runs + number) // len(self.children), file=child.stdin, flush=True)
        for child in self.children:
            assert child.stdout is not None
            assert child.stdout.readline() == "done\n", "a process of DBOS ended"


@contextmanager
def processes(url: str, mode: str) -> Iterator[Processes]:
    """Keep as many processes as there are processors; the first makes the tables."""
    call = f"from bench.systems import dbos; dbos.serve(*{(url, mode)!r})"
    with ExitStack() as stack:
        children: list[subprocess.Popen[str]] = []
        for number in range(os.cpu_count() or 1):
            child = subprocess.Popen(
                [sys.executable, "-c", call],
                env={**os.environ, "DBOS__VMID": f"bench-{number}"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            children.append(stack.enter_context(child))
            stack.callback(child.kill)
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n", "a process of DBOS did not start"
        yield Processes(children)


def serve(url: str, mode: str) -> None:
    """Be one of these processes: do as many workflows at once as each line of the input says."""
    with launched(url, mode) as there:
        print("ready", flush=True)
        for line in sys.stdin:
            there.together(int(line))
            print("done", flush=True)


def latency(given: Namespace, answer: Answer) -> None:
    """One workflow at a time."""
    with ready(given, answer) as there:
        one_by_one(lambda _: there.together(1), answer, given.size, given)


def in_flight(given: Namespace, answer: Answer) -> None:
    """So many workflows at once."""
    with ready(given, answer) as there:
        fill(answer, batch(there.together, given.size, given.seconds), given.size)
        with counted(given.folder, [os.getpid()]) as syncs:
            there.together(1)
    answer.durability += f"; {syncs.said('one workflow alone', STEPS)}"


def payload(given: Namespace, answer: Answer) -> None:
    """Workflows whose steps carry a text."""
    with ready(given, answer) as there:
        fill(answer, batch(there.texts("x" * given.size), PAYLOAD_RUNS, given.seconds), PAYLOAD_RUNS)


def fan_out(given: Namespace, answer: Answer) -> None:
    """One workflow with a step for each item."""

    def once(count: int) -> None:
        assert there.loop.run(results(side_by_side, [count])) == [count * (count + 1) // 2]

    with ready(given, answer) as there:
        fill_wide(answer, batch(once, given.size, given.seconds), given.size)


def long_run(given: Namespace, answer: Answer) -> None:
    """One workflow of as many steps as the time allows."""

    def once(steps: int) -> int:
        noted.times.clear()
        return int(DBOS.start_workflow(long, time.time() + given.seconds, steps).get_result())

    with ready(given, answer):
        warm_up(once, WARM_STEPS, given.seconds)
        with timed() as clock:
            done = once(given.size)
    answer.figures, answer.window = ends(noted.times), clock.window
    shortened(answer, given.size, done)


async def start_for(workflow: Any, most: int, seconds: float, value: Callable[[int], Any]) -> list[str]:
    """Start workflows, some hundred at a time, until they are so many or the time is over, and all wait; answer their ids."""
    ids: list[str] = []
    noted.waiting = 0
    end = time.perf_counter() + seconds
    while len(ids) < most and time.perf_counter() < end:
        some = range(len(ids), min(most, len(ids) + STARTED_AT_ONCE))
        handles = await asyncio.gather(
            *(DBOS.start_workflow_async(workflow, value(number)) for number in some)
        )
        ids += [handle.workflow_id for handle in handles]
    await until(lambda: noted.waiting >= len(ids))
    return ids


async def wake_some() -> dict[str, float]:
    """Start a few more that wait for some seconds; answer how late they went on."""
    begin = time.time() + LEAD_SECONDS
    due = [begin + number / WOKEN_PER_SECOND for number in range(WOKEN)]
    await asyncio.gather(*(DBOS.start_workflow_async(sleeper, one) for one in due))
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
            ids = there.loop.run(start_for(sleeper, given.size, given.seconds, lambda _: far))
        quiet = there.loop.run(asyncio.to_thread(growth.figures, len(ids)))
        answer.figures = {**quiet, **there.loop.run(wake_some())}
        answer.window = clock.window
    shortened(answer, given.size, len(ids))


def signals(given: Namespace, answer: Answer) -> None:
    """Workflows that wait for a message, each is then sent one."""

    async def send(ids: list[str]) -> None:
        now = time.time()
        await asyncio.gather(*(DBOS.send_async(one, now) for one in ids))
        await asyncio.gather(*(DBOS.get_result_async(one) for one in ids))

    def waiting_ones(count: int) -> list[str]:
        return there.loop.run(start_for(receiver, count, given.seconds, lambda number: number))

    with ready(given, answer) as there:
        warm_up(lambda count: there.loop.run(send(waiting_ones(count))), given.size // WARM_UP, given.seconds)
        ids = waiting_ones(given.size)
        with timed() as clock:
            there.loop.run(send(ids))
    answer.window = clock.window
    answer.figures = {"signals_per_second": len(ids) / clock.seconds, "seconds": clock.seconds}
    shortened(answer, given.size, len(ids))


# ── the restart: two processes, of which the first is killed ────────────────────────────────


def restart(given: Namespace, answer: Answer) -> None:
    """Kill a process with open workflows; the next one takes them up and ends them. PostgreSQL is not killed."""
    with stored(given.folder, given.mode) as store:
        answer.version = store.version()
        with child("leave", store.url, given) as first:
            assert first.stdout is not None
            said = first.stdout.readline()
            first.send_signal(signal.SIGKILL)
        size = int(said)
        given_up = Namespace(**{**vars(given), "size": size})
        with timed() as clock:
            began = time.time()
            with child("take-up", store.url, given_up) as second:
                output, _ = second.communicate()
        assert second.returncode == 0, "the process that takes up what another has left failed"
        told = json.loads(output.splitlines()[-1])
        answer.durability = store.server.durability() if store.server else told["durability"]
    answer.window = clock.window
    answer.figures = {
        "first_progress_seconds": told["first"] - began,
        "all_over_seconds": told["over"] - began,
    }
    shortened(answer, given.size, size)


def child(what: str, url: str, given: Namespace) -> subprocess.Popen[str]:
    """Start one of the two processes. Not with `-m`: the workflows must be of the module of the same name in both."""
    call = f"{(what, url, given.mode, given.size, given.seconds)!r}"
    command = [sys.executable, "-c", f"from bench.systems import dbos; dbos.be(*{call})"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def be(what: str, url: str, mode: str, size: int, seconds: float) -> None:
    """Be one of the two processes."""
    with launched(url, mode) as there:
        if what == "leave":
            there.loop.run(leave(size, seconds))
        else:
            there.loop.run(take_up(size))
            answers = there.durability() if there.seen else ""
            print(json.dumps({"first": noted.first_step, "over": time.time(), "durability": answers}))


async def leave(size: int, seconds: float) -> None:
    """Start workflows whose first step never comes back; say how many they are, and wait to be killed."""
    noted.hold = True
    ids = await start_for(ten_gated, size, seconds / FINISHING, lambda number: number)
    print(len(ids), flush=True)
    await asyncio.Event().wait()


async def take_up(size: int) -> None:
    """Return when all that was left is over."""
    await until(lambda: noted.gated_steps >= size * STEPS)
    while await DBOS.list_workflows_async(status=["PENDING", "ENQUEUED"], limit=1, load_input=False):  # noqa: ASYNC110 - it has no event for it
        await asyncio.sleep(LOOK_SECONDS)


def footprint(given: Namespace, answer: Answer) -> None:
    """Nothing yet; then one workflow."""
    began = time.perf_counter()
    with ready(given, answer) as there:
        started = time.perf_counter()
        with timed() as clock:
            there.together(1)
    answer.window = clock.window
    answer.figures = {
        "import_ms": import_ms("from dbos import DBOS, DBOSConfig"),
        "start_ms": (started - began) * 1e3,
        "first_result_ms": (started - began + clock.seconds) * 1e3,
        "installed_mb": installed_mb(with_debian=given.mode.startswith("postgres")),
    }


WORKS: Final = {
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
    play("dbos", "", WORKS, options(__doc__, MODES, tuple(WORKS)))
