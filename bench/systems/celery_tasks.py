"""The tasks that `bench.systems.celery` measures, and how Celery is set up, in the worker and in who starts them.

What tasks note goes to the file that `BENCH_NOTES` names, a line each. With `BENCH_HOLD`, gated tasks never come back: that
worker is to be killed.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from typing import Final

from celery import Celery
from celery.worker.control import control_command

from bench.measuring import collect_seldom

HOLDS: Final = "BENCH_HOLD" in os.environ
REDIS: Final = os.environ.get("BENCH_REDIS", "")

VISIBILITY: Final[dict[str, float]] = (
    {
        "visibility_timeout": float(os.environ["BENCH_VISIBILITY_SECONDS"]),
        "unacked_restore_interval": 1,  # what a worker that is gone has left is looked for every second,
        "unacked_restore_throttle": 1,  # not every hundred
    }
    if "BENCH_VISIBILITY_SECONDS" in os.environ
    else {"visibility_timeout": 86_400.0}
)

app = Celery("bench", broker=REDIS, backend=REDIS)
app.conf.update(
    task_acks_late=True,  # a task whose worker dies is given to another
    worker_prefetch_multiplier=64,  # for many short tasks, as its guide to optimizing says
    broker_transport_options=VISIBILITY,
    task_compression=None,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
)
_notes = os.open(os.environ.get("BENCH_NOTES", os.devnull), os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def note(*words: object) -> None:
    """Write a line."""
    os.write(_notes, (" ".join(map(str, words)) + "\n").encode())


@app.task
def plus_one(value: int) -> int:
    """Do as good as nothing."""
    return value + 1


@app.task
def echo(text: str) -> str:
    """Answer what is given."""
    return text


@app.task
def noting(value: int) -> int:
    """Note when it runs."""
    note("step", time.time())
    return value + 1


@app.task
def woken(due: float) -> None:
    """Note how late it runs."""
    note("lag", time.time() - due)


@app.task
def gated(value: int) -> int:
    """Never come back in a process that is to be killed; do as good as nothing in the next."""
    if HOLDS:
        threading.Event().wait()
    note("step", time.time())
    return value + 1


@app.task
def over(value: int) -> int:
    """Note that a workflow is over."""
    note("over", value)
    return value


@control_command()
def collect_garbage(_: object) -> dict[str, int]:
    """Collect garbage in the worker's first process, so that memory can be read."""
    return {"collected": gc.collect()}


collect_seldom()
