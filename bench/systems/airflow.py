"""Airflow on PostgreSQL. `bench.measuring` says what is measured; run in the environment of `bench.environments`.

    python -m bench.systems.airflow --work in-flight --size 500 --mode local --folder DIR [--seconds 60]

`local` is the LocalExecutor, which needs no broker and whose workers fork a process for each task; API server, scheduler, DAG processor and
triggerer are a process each, the database is a fresh PostgreSQL of Debian's package (its SQLite is not for production). Runs are
started through the API. Limits of concurrency are lifted, the scheduler sleeps 0.1 s where it sleeps 1 s by default
and takes as many tasks at a time as can run, examples are not loaded. Eight tasks run at a time, a number that was not compared with others. Tasks whose process
was killed are noticed after 30 s instead of 300.

A task takes the better part of a second, so nearly every work is done with far fewer runs than asked for.
"""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final

from bench.fitting import (
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
)
from bench.measuring import PAYLOAD_RUNS, STEPS, Answer, lags, options, timed
from bench.syncs import counted
from bench.systems.airflow_server import PARALLEL, Airflow, served

MODES: Final = ("local",)
LOOK_SECONDS: Final = 0.02
ALONE_MAX: Final = 9
"""So few are warmed up with one."""

RUN_SECONDS_MAX: Final = 500.0
PARKED_SECONDS: Final = 5.0
"""A task that is answered while its process still ends is parked again, for ever."""

WOKEN: Final = 8
LEAD_SECONDS: Final = 30.0
FAR: Final = timedelta(days=1)


class Runs:
    """Starts runs and awaits them, by looking at its database."""

    def __init__(self, airflow: Airflow) -> None:
        self.airflow = airflow

    def together(self, dag: str, **conf: object) -> Callable[[int], None]:
        """Return what does so many runs of a DAG at once."""

        def together(runs: int) -> None:
            self.over([self.airflow.trigger(dag, **conf) for _ in range(runs)])

        return together

    def over(self, ids: Sequence[str]) -> None:
        """Return when these runs have ended, all well."""
        self.until(
            "SELECT count(*) FROM dag_run WHERE run_id = ANY(%s) AND state = 'success'", len(ids), list(ids)
        )

    def until(self, query: str, least: int, *values: object) -> None:
        """Return when a query counts so many."""
        end = time.monotonic() + RUN_SECONDS_MAX
        while (found := self.airflow.ask(query, *values)[0][0]) < least:
            failed = self.airflow.ask("SELECT run_id FROM dag_run WHERE state = 'failed' LIMIT 3")
            assert not failed, f"runs have failed: {failed}"
            assert time.monotonic() < end, f"{found} of {least} after {RUN_SECONDS_MAX:.0f} s: {query}"
            time.sleep(LOOK_SECONDS)


@contextmanager
def ready(given: Namespace, answer: Answer, **extra: str) -> Iterator[Runs]:
    """Keep Airflow running on a fresh database; note the version, and what durability rests on."""
    with served(given.folder, extra) as airflow:
        runs = Runs(airflow)
        describe(runs, given, answer)
        yield runs


def describe(runs: Runs, given: Namespace, answer: Answer) -> None:
    """Note the versions, and what durability rests on; do one run to see that it syncs."""
    database = runs.airflow.database
    answer.version = f"airflow {version('apache-airflow')}, PostgreSQL {database.version()}"
    with counted(given.folder, [database.server.pid]) as syncs:
        runs.together("ten", number=0)(1)
    answer.durability = f"{database.durability()}; {syncs.said('one run alone', STEPS)}"


# ── the works ──────────────────────────────────────────────────────────────────────────────


def latency(given: Namespace, answer: Answer) -> None:
    """One run at a time."""
    with ready(given, answer) as runs:
        once = runs.together("ten", number=0)
        one_by_one(lambda _: once(1), answer, min(given.size, ALONE_MAX), given)


def in_flight(given: Namespace, answer: Answer) -> None:
    """So many runs at once."""
    with ready(given, answer) as runs:
        fill(answer, batch(runs.together("ten", number=0), given.size, given.seconds), given.size)


def payload(given: Namespace, answer: Answer) -> None:
    """Runs whose tasks carry a text."""
    with ready(given, answer) as runs:
        together = runs.together("ten_texts", text="x" * given.size)
        fill(answer, batch(together, PAYLOAD_RUNS, given.seconds), PAYLOAD_RUNS)


def fan_out(given: Namespace, answer: Answer) -> None:
    """One run with a mapped task for each item."""

    with ready(given, answer) as runs:
        wide = batch(lambda count: runs.together("side_by_side", count=count)(1), given.size, given.seconds)
    fill_wide(answer, wide, given.size)


def long_run(given: Namespace, answer: Answer) -> None:
    """One run of a DAG with as many tasks as may be done in the time: about one a second. The run of `describe` has warmed it up."""
    steps = max(2, min(given.size, int(given.seconds)))
    with ready(given, answer, BENCH_LONG=str(steps)) as runs, timed() as clock:
        runs.together("long", number=0)(1)
        rows = runs.airflow.ask(
            "SELECT extract(epoch FROM end_date)::float FROM task_instance WHERE dag_id = 'long' ORDER BY end_date"
        )
    answer.figures, answer.window = ends([moment for (moment,) in rows]), clock.window
    shortened(answer, given.size, steps)


def start_for(runs: Runs, dag: str, most: int, seconds: float, state: str, **conf: object) -> list[str]:
    """Start runs, some at a time, until they are so many or the time is over, and all wait."""
    ids: list[str] = []
    end = time.perf_counter() + seconds
    query = f"SELECT count(*) FROM task_instance WHERE dag_id = '{dag}' AND state = '{state}'"
    while len(ids) < most and time.perf_counter() < end:
        ids += [runs.airflow.trigger(dag, **conf) for _ in range(min(PARALLEL, most - len(ids)))]
        runs.until(query, len(ids))
    return ids


def waiting(given: Namespace, answer: Answer) -> None:
    """Runs with a sensor that has handed its wait for a time far away to the triggerer."""
    with ready(given, answer) as runs:
        growth = Growth(given.folder)
        far = (datetime.now(UTC) + FAR).isoformat()
        with timed() as clock:
            ids = start_for(runs, "sleeper", given.size, given.seconds, "deferred", number=0, due=far)
        quiet = growth.figures(len(ids))
        answer.figures = {**quiet, **wake_some(runs)}
    answer.window = clock.window
    shortened(answer, given.size, len(ids))


def wake_some(runs: Runs) -> dict[str, float]:
    """Start a few more that wait for some seconds; answer how late the task after the sensor began."""
    due = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS)
    ids = [runs.airflow.trigger("sleeper", number=0, due=due.isoformat()) for _ in range(WOKEN)]
    runs.over(ids)
    rows = runs.airflow.ask(
        "SELECT start_date FROM task_instance WHERE run_id = ANY(%s) AND task_id = 'first'", ids
    )
    return lags([(began - due).total_seconds() for (began,) in rows])


def signals(given: Namespace, answer: Answer) -> None:
    """Runs that wait for a person's answer, each then gets one."""
    with ready(given, answer) as runs:
        ids = start_for(runs, "receiver", given.size, given.seconds / 2, "awaiting_input", number=0)
        time.sleep(PARKED_SECONDS)
        with timed() as clock:
            for run in ids:
                runs.airflow.respond(run)
            runs.over(ids)
    answer.window = clock.window
    answer.figures = {"signals_per_second": len(ids) / clock.seconds, "seconds": clock.seconds}
    shortened(answer, given.size, len(ids))


def restart(given: Namespace, answer: Answer) -> None:
    """Kill all parts but the database with open runs, and start them again."""
    with ready(given, answer) as runs:
        began = time.perf_counter()
        runs.together("ten", number=0)(PARALLEL)
        pace = (time.perf_counter() - began) / PARALLEL
        size = max(1, min(given.size, int(given.seconds / pace)))
        airflow = runs.airflow
        ids = [airflow.trigger("ten", number=0) for _ in range(size)]
        since = "FROM task_instance WHERE run_id = ANY(%s) AND end_date > %s"
        done = f"SELECT count(*) {since}"
        runs.until(done, 1, ids, datetime.fromtimestamp(0, UTC))
        for part in airflow.parts.values():
            part.kill()
        with timed() as clock:
            killed = datetime.now(UTC)
            airflow.start_parts()
            runs.until(done, 1, ids, killed)
            runs.over(ids)
        ((first,),) = airflow.ask(f"SELECT min(end_date) {since}", ids, killed)
    answer.window = clock.window
    answer.figures = {
        "first_progress_seconds": (first - killed).total_seconds(),
        "all_over_seconds": clock.seconds,
    }
    shortened(answer, given.size, size)


def footprint(given: Namespace, answer: Answer) -> None:
    """Nothing yet; then one run. With the creation of the database and its schema."""
    began = time.perf_counter()
    with served(given.folder, {}) as airflow:
        started = time.perf_counter()
        runs = Runs(airflow)
        with timed() as clock:
            runs.together("ten", number=0)(1)
        describe(runs, given, answer)
    answer.window = clock.window
    answer.figures = {
        "import_ms": import_ms("from airflow.sdk import dag, task"),
        "start_ms": (started - began) * 1e3,
        "first_result_ms": (started - began + clock.seconds) * 1e3,
        "installed_mb": installed_mb(with_debian=True),
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
    given = options(__doc__, MODES, tuple(WORKS))
    os.environ["AIRFLOW_HOME"] = str(given.folder / "home")  # it makes one when it is imported
    play("airflow", "", WORKS, given)
