"""The DAGs of Airflow that are measured; it reads this file before each task, so it imports nothing else of ours."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import dag, get_current_context, task

STEPS = 10
LONG = int(os.environ.get("BENCH_LONG", "2"))
UNLIMITED = 10_000
# A task whose process was killed is tried again at once.
AGAIN = {"retries": 5, "retry_delay": timedelta(0)}
OPTIONS: dict[str, Any] = {
    "schedule": None,
    "catchup": False,
    "max_active_runs": UNLIMITED,
    "max_active_tasks": UNLIMITED,
    "default_args": AGAIN,
}


def given(name: str) -> Any:
    """Return what a run was started with."""
    return get_current_context()["dag_run"].conf[name]


@task
def first(name: str) -> Any:
    """Answer what the run was started with: its first step."""
    value = given(name)
    return value + 1 if isinstance(value, int) else value


@task
def plus_one(number: int) -> int:
    """Do as good as nothing."""
    return number + 1


@task
def echo(text: str) -> str:
    """Answer what is given."""
    return text


@task
def numbers() -> list[int]:
    """Answer the items."""
    return list(range(given("count")))


@task
def total(found: Any) -> int:
    """Answer the sum."""
    return sum(found)


@dag(**OPTIONS)
def ten() -> None:
    """Ten tasks, one after the other."""
    number = first("number")
    for _ in range(STEPS - 1):
        number = plus_one(number)


@dag(**OPTIONS)
def ten_texts() -> None:
    """Ten tasks, one after the other, with much to carry."""
    text = first("text")
    for _ in range(STEPS - 1):
        text = echo(text)


@dag(**OPTIONS)
def side_by_side() -> None:
    """A task for each item, all at once, and their sum."""
    total(plus_one.expand(number=numbers()))


@dag(**OPTIONS)
def long() -> None:
    """Many tasks, one after the other: a DAG has as many as are written down."""
    number = first("number")
    for _ in range(LONG - 1):
        number = plus_one(number)


@dag(**OPTIONS)
def sleeper() -> None:
    """Wait for a time, then do a task."""
    until = DateTimeSensorAsync(task_id="until", target_time="{{ dag_run.conf['due'] }}")
    until >> first("number")


@dag(**OPTIONS)
def receiver() -> None:
    """Wait for an answer, then do a task."""
    wait = HITLOperator(task_id="wait", subject="go on?", options=["go"])
    wait >> first("number")


ten()
ten_texts()
side_by_side()
long()
sleeper()
receiver()
