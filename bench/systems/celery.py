"""Celery with Redis. `bench.measuring` says what is measured; run in the environment of `bench.environments`.

    python -m bench.systems.celery --work in-flight --size 500 --mode prefork --folder DIR [--seconds 60]

A workflow is a chain of ten tasks, each given the result of the one before. **Not durable per step**: a step's result lives in
the message of the next one, and a task is acknowledged when it is done, so that one whose worker dies is done again. Redis
(Debian's package) appends every command to its file and syncs before it answers (`appendfsync always`); its answer is read back.

The worker fetches 64 tasks a process ahead, as the guide to optimizing advises for short tasks, sends no events, and stores no
results but the last of a chain. `prefork` is the default pool, with a process for each processor; `threads` has ten threads. `prefork-everysec` has Redis sync
once a second, its own default for the append-only file: that may lose what the last second has acknowledged.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from celery import chain, group
from celery.exceptions import TimeoutError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from bench.fitting import (
    WARM_WAITING,
    Growth,
    NotApplicable,
    Notes,
    batch,
    ends,
    fill,
    fill_wide,
    import_ms,
    installed_mb,
    one_by_one,
    play,
    shortened,
    warm_up,
)
from bench.measuring import PAYLOAD_RUNS, STEPS, WARM_STEPS, Answer, lags, options, timed
from bench.servers import HOST, Server, free_ports
from bench.syncs import counted
from bench.systems.celery_tasks import app, echo, gated, noting, over, plus_one, woken

MODES: Final = ("prefork", "threads", "prefork-everysec")
THREADS: Final = 10
FAR_SECONDS: Final = 43_200.0
VISIBILITY_SECONDS: Final = 5.0
"""In the work `restart`, tasks whose worker is gone are given to another after so long (its default is an hour)."""

LOST_SECONDS: Final = 30.0
"""What has not gone on for so long then never will."""

WOKEN: Final = 200
WOKEN_PER_SECOND: Final = 20
LEAD_SECONDS: Final = 5.0
FIRST_CHAIN: Final = 100
CHAIN_GROWTH: Final = 3
FINISHING: Final = 6
ASK_SECONDS: Final = 1.0
RESULT_SECONDS_MAX: Final = 120
"""What has no result after this time is lost: batches are sized to take a minute at most."""
LOOK_SECONDS: Final = 0.02
REPLY_SECONDS: Final = 10.0
READY: Final = "Ready to accept connections"


@dataclass(slots=True)
class Cluster:
    """Redis and a worker."""

    folder: Path
    mode: str
    redis: Server
    worker: Server
    ready: float = 0.0
    """When the worker first answered, by `time.perf_counter`."""
    notes: Notes = field(init=False)
    """What the tasks have noted."""

    def __post_init__(self) -> None:
        self.notes = Notes(self.folder / "notes")

    def start(self) -> None:
        """Start both and wait until the worker answers."""
        already = self.redis.output().count(READY)
        self.redis.start()
        self.redis.until(lambda: self.redis.output().count(READY) > already)
        self.worker.start()
        self.worker.until(_worker_answers)
        self.ready = time.perf_counter()

    @property
    def roots(self) -> tuple[int, int]:
        """The processes that are Celery's and Redis's."""
        return self.redis.pid, self.worker.pid

    def workflow(self, step: Any, given: Any, steps: int = STEPS, end: Any = None) -> Any:
        """Start a chain; answer what its result comes to."""
        last = step if end is None else end
        first = step.s(given).set(ignore_result=True)
        middle = [step.s().set(ignore_result=True) for _ in range(steps - 2)]
        return chain(first, *middle, last.s())()

    def together(self, runs: int) -> None:
        """Do so many workflows at once."""
        started = [self.workflow(plus_one, number) for number in range(runs)]
        assert results(started) == [number + STEPS for number in range(runs)]

    def until_noted(self, word: str, count: int) -> None:
        """Return when a word was noted so often."""
        self.worker.until(lambda: len(self.notes.of(word)) >= count, FAR_SECONDS)

    def durability(self) -> str:
        """Say what Redis answers, and refuse what would not sync."""
        with app.connection() as connection:
            client = connection.default_channel.client
            said = {**client.config_get("appendonly"), **client.config_get("appendfsync")}
        said = {str(name): str(value) for name, value in said.items()}
        wanted = {"appendonly": "yes", "appendfsync": syncs(self.mode)}
        assert said == wanted, f"Redis does not sync: {said}"
        return " ".join(f"{name}={value}" for name, value in said.items()) + ", not durable per step"


def results(started: Sequence[Any]) -> list[Any]:
    """Return the results of chains or groups; where some never come, that is why there are no figures."""
    last = time.monotonic() + RESULT_SECONDS_MAX
    return [_result(one, last) for one in started]


def _result(one: Any, last: float) -> Any:
    """Return a result; its client sometimes misses the message that it is there, so it is asked for too."""
    while True:
        try:
            return one.get(timeout=ASK_SECONDS)
        except TimeoutError:
            if not one.ready() and time.monotonic() > last:
                raise NotApplicable(f"a workflow was lost: no result after {RESULT_SECONDS_MAX} s") from None


def _worker_answers() -> bool:
    with suppress(RedisError, OperationalError):  # connections to a Redis that was killed
        return bool(app.control.ping(timeout=0.5, limit=1))
    return False


def syncs(mode: str) -> str:
    """Return when Redis has the disk sync."""
    return "everysec" if mode.endswith("everysec") else "always"


@contextmanager
def running(given: Namespace, answer: Answer, hold: bool = False) -> Iterator[Cluster]:
    """Keep Redis and a worker running on an empty folder; note the version and what durability rests on."""
    (port,) = free_ports(1)
    url = f"redis://{HOST}:{port}/0"
    syncing = ["--appendonly", "yes", "--appendfsync", syncs(given.mode), "--save", ""]
    place = ["--bind", HOST, "--port", str(port), "--dir", given.folder]
    redis = Server(["redis-server", *place, *syncing], given.folder / "redis.log")
    cluster = Cluster(given.folder, given.mode, redis, worker(given, url, hold))
    app.conf.update(broker_url=url, result_backend=url)
    with ExitStack() as stack:
        stack.callback(redis.stop)
        stack.callback(lambda: cluster.worker.stop())  # noqa: PLW0108  # the worker of that time
        cluster.start()
        answer.durability = cluster.durability()
        said = subprocess.run(
            ["redis-server", "--version"], check=True, capture_output=True, text=True
        ).stdout
        answer.version = f"celery {version('celery')}, Redis {said.split('v=')[1].split()[0]}"
        yield cluster


def worker(given: Namespace, url: str, hold: bool = False) -> Server:
    """Return a worker that is not started yet."""
    count = THREADS if given.mode == "threads" else os.cpu_count() or 1
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "bench.systems.celery_tasks",
        "worker",
        "--loglevel",
        "ERROR",
    ]
    pool = ["--pool", given.mode.partition("-")[0], "--concurrency", str(count)]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    env = {**os.environ, "BENCH_REDIS": url, "BENCH_NOTES": str(given.folder / "notes"), "C_FORCE_ROOT": "1"}
    if given.work == "restart":
        env["BENCH_VISIBILITY_SECONDS"] = str(VISIBILITY_SECONDS)
    if hold:
        env["BENCH_HOLD"] = "1"
    at_once = signal.SIGQUIT  # SIGTERM would wait for the tasks under way
    return Server([*command, *pool, *quiet], given.folder / "worker.log", env=env, stop_signal=at_once)


def latency(given: Namespace, answer: Answer) -> None:
    """One workflow at a time."""
    with running(given, answer) as there:
        one_by_one(lambda _: there.together(1), answer, given.size, given)


def in_flight(given: Namespace, answer: Answer) -> None:
    """So many workflows at once."""
    with running(given, answer) as there:
        fill(answer, batch(there.together, given.size, given.seconds), given.size)
        with counted(given.folder, there.roots) as found:
            there.together(1)
    least = STEPS if syncs(given.mode) == "always" else 0
    answer.durability += f"; {found.said('one workflow alone', least)}"


def payload(given: Namespace, answer: Answer) -> None:
    """Workflows whose tasks carry a text."""
    text = "x" * given.size

    def together(runs: int) -> None:
        started = [there.workflow(echo, text) for _ in range(runs)]
        assert results(started) == [text] * runs

    with running(given, answer) as there:
        fill(answer, batch(together, PAYLOAD_RUNS, given.seconds), PAYLOAD_RUNS)


def fan_out(given: Namespace, answer: Answer) -> None:
    """A group of tasks, and their sum."""

    def once(count: int) -> None:
        (found,) = results([group(plus_one.s(number) for number in range(count))()])
        assert sum(found) == count * (count + 1) // 2

    with running(given, answer):
        fill_wide(answer, batch(once, given.size, given.seconds), given.size)


def long_run(given: Namespace, answer: Answer) -> None:
    """Ever longer chains, until one takes a good part of the time: each message carries the rest of the chain."""
    steps, longest = FIRST_CHAIN, given.size

    def once(count: int) -> None:
        assert results([there.workflow(noting, 0, count)]) == [count]

    with running(given, answer) as there:
        warm_up(once, WARM_STEPS, given.seconds)
        while True:
            before = len(there.notes.of("step"))
            with timed() as clock:
                once(steps)
            if steps == longest or clock.seconds * CHAIN_GROWTH**2 > given.seconds:
                break
            steps = min(longest, steps * CHAIN_GROWTH)
        answer.figures = ends([float(when) for when in there.notes.of("step")[before:]])
    answer.window = clock.window
    shortened(answer, given.size, steps)


def waiting(given: Namespace, answer: Answer) -> None:
    """Tasks with a time far away; some more, with a time soon."""
    with running(given, answer) as there:
        warm_up(there.together, WARM_WAITING, given.seconds)
        growth = Growth(given.folder, collect=collect_in_worker)
        far = time.time() + FAR_SECONDS
        with timed() as clock:
            size = 0
            end = time.perf_counter() + given.seconds
            while size < given.size and time.perf_counter() < end:
                later(far)
                size += 1
        with_redis_idle(there)
        quiet = growth.figures(size)
        begin = time.time() + LEAD_SECONDS
        for number in range(WOKEN):
            later(begin + number / WOKEN_PER_SECOND)
        there.until_noted("lag", WOKEN)
        answer.figures = {**quiet, **lags([float(lag) for lag in there.notes.of("lag")])}
    answer.window = clock.window
    shortened(answer, given.size, size)


def collect_in_worker() -> None:
    """Have the worker collect garbage: the process that keeps the tasks which are not due."""
    assert app.control.broadcast("collect_garbage", reply=True, timeout=REPLY_SECONDS, limit=1), (
        "no worker answered"
    )


def later(due: float) -> None:
    """Start a task that waits for a time."""
    woken.apply_async((due,), eta=datetime.fromtimestamp(due, UTC), ignore_result=True)


def with_redis_idle(there: Cluster) -> None:
    """Return when the worker has fetched all that there is."""
    with app.connection() as connection:
        client = connection.default_channel.client
        there.worker.until(lambda: client.llen("celery") == 0)


def restart(given: Namespace, answer: Answer) -> None:
    """Kill Redis and the worker with open workflows; started again, they end them."""
    with running(given, answer, hold=True) as there:
        size = 0
        end = time.perf_counter() + given.seconds / FINISHING
        while size < given.size and time.perf_counter() < end:
            there.workflow(gated, size, STEPS + 1, over)
            size += 1
        there.redis.kill()
        there.worker.kill()
        there.worker = worker(given, app.conf.broker_url)
        with timed() as clock:
            began = time.time()
            there.start()
            done = until_over(there, size)
        steps = [float(when) for when in there.notes.of("step")]
    answer.window = clock.window
    answer.figures = {"first_progress_seconds": steps[0] - began, "all_over_seconds": steps[-1] - began}
    shortened(answer, given.size, size)
    if done < size:
        lost = f"{size - done} of {size} workflows were lost: a worker that is killed loses what it has just fetched"
        answer.note = f"{answer.note}; {lost}" if answer.note else lost


def until_over(there: Cluster, size: int) -> int:
    """Return how many workflows are over, when that are all or nothing has happened for long."""
    heard, last = 0, time.monotonic()
    while (done := len(set(there.notes.of("over")))) < size and time.monotonic() < last + LOST_SECONDS:
        steps = len(there.notes.of("step"))
        if steps > heard:
            heard, last = steps, time.monotonic()
        time.sleep(LOOK_SECONDS)
    return done


def signals(given: Namespace, answer: Answer) -> None:
    """There are none."""
    raise NotApplicable("a chain of tasks cannot wait for a signal")


def footprint(given: Namespace, answer: Answer) -> None:
    """Nothing yet; then one workflow."""
    began = time.perf_counter()
    with running(given, answer) as there, timed() as clock:
        there.together(1)
    answer.window = clock.window
    answer.figures = {
        "import_ms": import_ms("from celery import Celery, chain"),
        "start_ms": (there.ready - began) * 1e3,
        "first_result_ms": (there.ready - began + clock.seconds) * 1e3,
        "installed_mb": installed_mb(with_debian=True),
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
    play("celery", "", WORKS, options(__doc__, MODES, tuple(WORKS)))
