"""The flows and tasks of Prefect that are measured; `bench.systems.prefect` says how they are run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.flow_runs import pause_flow_run
from prefect.runtime import flow_run

from bench.measuring import STEPS

PAUSE_SECONDS: Final = 86_400


@dataclass(slots=True)
class Noted:
    """What flows and tasks tell the measurement: they run in this process."""

    times: list[float] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


noted = Noted()


@task(cache_policy=NO_CACHE)
async def plus_one(number: int) -> int:
    """Do as good as nothing."""
    return number + 1


@task(cache_policy=NO_CACHE)
async def echo(text: str) -> str:
    """Answer what is given."""
    return text


@task(cache_policy=NO_CACHE)
async def noting(number: int) -> int:
    """Note when it runs."""
    noted.times.append(time.perf_counter())
    return number + 1


plus_one_kept = task(persist_result=True)(plus_one.fn)
"""Its result is written to a file, so that it is taken from there when the flow is run again."""


@flow
async def ten(number: int) -> int:
    """Ten tasks, one after the other."""
    for _ in range(STEPS):
        number = await plus_one(number)
    return number


@flow(persist_result=True)
async def ten_kept(number: int) -> int:
    """Ten tasks, one after the other, whose results are kept."""
    for _ in range(STEPS):
        number = await plus_one_kept(number)
    return number


@flow
async def ten_texts(text: str) -> str:
    """Ten tasks, one after the other, with much to carry."""
    for _ in range(STEPS):
        text = await echo(text)
    return text


@flow
async def side_by_side(count: int) -> int:
    """A task for each item, all at once, as its documentation says for coroutines."""
    return sum(await asyncio.gather(*(plus_one(number) for number in range(count))))


@flow
async def long(count: int, seconds: float) -> int:
    """Very many tasks, one after the other, until a time."""
    number, end = 0, time.perf_counter() + seconds
    while number < count and time.perf_counter() < end:
        number = await noting(number)
    return number


def paused(poll_seconds: int) -> Callable[[int], Any]:
    """Return a flow that pauses, looking so often whether it is to go on, then does a task."""

    @flow(name=f"paused-{poll_seconds}")
    async def receiver(number: int) -> int:
        noted.waiting.append(str(flow_run.id))
        await pause_flow_run(timeout=PAUSE_SECONDS, poll_interval=poll_seconds)
        return await plus_one(number)

    return receiver
