"""The workflows and activities of Temporal that are measured, and how its worker is set up; `bench.systems.temporal` says why so.

    python -m bench.systems.temporal_flows HOST:PORT FILE

is a worker of its own, which appends the time of each activity to a file: the one that is killed, and the one after it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from bench.measuring import STEPS, collect_seldom

QUEUE: Final = "bench"
ACTIVITY_SECONDS_MAX: Final = 10
"""After this time an activity that has not come back is tried again: as long as a workflow task has by default."""
TIMEOUT: Final = timedelta(seconds=ACTIVITY_SECONDS_MAX)
CACHED: Final = 10_000
"""Workflows that the worker keeps in memory; its default, 1,000, would have it replay those of the works with more."""
SLOTS: Final = 1_000


@dataclass(slots=True)
class Noted:
    """What activities and workflows tell the measurement: they run in this process."""

    lags_seconds: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    waiting: int = 0
    log: Callable[[float], None] | None = None


noted = Noted()


@activity.defn
async def plus_one(number: int) -> int:
    """Do as good as nothing."""
    if noted.log is not None:
        noted.log(time.time())
    return number + 1


@activity.defn
async def echo(text: str) -> str:
    """Answer what is given."""
    return text


@activity.defn
async def noting(number: int) -> int:
    """Note when it runs."""
    noted.times.append(time.perf_counter())
    return number + 1


@activity.defn
async def woken(since: float) -> None:
    """Note how late it runs."""
    noted.lags_seconds.append(time.time() - since)


def one_step(local: bool, step: Any, value: Any) -> Any:
    """Begin an activity; a local one is recorded when the workflow task ends."""
    if local:
        return workflow.start_local_activity(step, value, start_to_close_timeout=TIMEOUT)
    return workflow.start_activity(step, value, start_to_close_timeout=TIMEOUT)


@workflow.defn
class Ten:
    """Ten steps, one after the other."""

    @workflow.run
    async def run(self, number: int, local: bool) -> int:
        """Answer the number plus ten."""
        for _ in range(STEPS):
            number = await one_step(local, plus_one, number)
        return number


@workflow.defn
class TenTexts:
    """Ten steps, one after the other, with much to carry."""

    @workflow.run
    async def run(self, text: str, local: bool) -> str:
        """Answer the text."""
        for _ in range(STEPS):
            text = await one_step(local, echo, text)
        return text


@workflow.defn
class SideBySide:
    """A step for each item, all at once."""

    @workflow.run
    async def run(self, count: int, local: bool) -> int:
        """Answer the sum."""
        return sum(await asyncio.gather(*(one_step(local, plus_one, number) for number in range(count))))


@workflow.defn
class Long:
    """Very many steps, one after the other, until a time."""

    @workflow.run
    async def run(self, count: int, end: float) -> int:
        """Answer how many they were."""
        number = 0
        while number < count and workflow.now().timestamp() < end:
            number = await one_step(False, noting, number)
        return number


@workflow.defn
class Sleeper:
    """Wait for a time, then do a step."""

    @workflow.run
    async def run(self, due: float) -> None:
        """End when the step is done."""
        noted.waiting += 1
        await workflow.sleep(max(0.0, due - workflow.now().timestamp()))
        await one_step(False, woken, due)


@workflow.defn
class Receiver:
    """Wait for a signal, then do a step."""

    def __init__(self) -> None:
        self._since: float | None = None

    @workflow.signal
    def go(self, since: float) -> None:
        """Take the signal."""
        self._since = since

    @workflow.run
    async def run(self) -> None:
        """End when the step is done."""
        noted.waiting += 1
        await workflow.wait_condition(lambda: self._since is not None)
        await one_step(False, woken, self._since)


def worker(client: Client) -> Worker:
    """Return a worker that is set up as recommended for much throughput."""
    polling = PollerBehaviorAutoscaling(initial=10)
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[Ten, TenTexts, SideBySide, Long, Sleeper, Receiver],
        activities=[plus_one, echo, noting, woken],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=CACHED,
        max_concurrent_workflow_tasks=SLOTS,
        max_concurrent_activities=SLOTS,
        max_concurrent_local_activities=SLOTS,
        workflow_task_poller_behavior=polling,
        activity_task_poller_behavior=polling,
    )


async def be(address: str, path: Path) -> None:
    """Be a worker until the end."""
    with path.open("a", buffering=1) as file:
        noted.log = lambda moment: print(moment, file=file)
        collect_seldom()
        await worker(await Client.connect(address)).run()


if __name__ == "__main__":
    asyncio.run(be(sys.argv[1], Path(sys.argv[2])))
