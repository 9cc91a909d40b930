"""A process whose runs wait for times, under a clock that somebody else turns (libfaketime); it tells by its lines.

    python -m tests.reliability.waiting DATABASE LIFE SECONDS...

For each number of seconds there is a run that sleeps so long and then reaches the world; one more has steps with limits
in time, one that keeps within its own and one that does not. Lines are those of `disk.life`, and

    limited [OUTCOME, OUTCOME, SECONDS]     how these steps ended, and how long both took by a clock that nobody turns
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, Final

from tenuto import App, current_step, gather, sleep, step, workflow
from tenuto.runtime import timers
from tests.reliability.disk import life as living
from tests.reliability.disk.life import shown
from tests.reliability.evidence import Call, Effect

LONGEST_SLEEP_SECONDS: Final = 0.05
"""In place of half a minute, so that nobody has to wait that long for a clock that was set to be noticed."""

LIMIT_SECONDS: Final = 0.2


@step
async def told() -> None:
    """Reach the world."""
    context = current_step()
    key, attempt = context.idempotency_key, context.attempt
    at = time.monotonic()
    living.say("effect", Effect(run=context.run, task=context.task, key=key, attempt=attempt, life=1, at=at))


@workflow(namespace="house")
async def waiting(seconds: float) -> None:
    """Wait, then tell."""
    await sleep(seconds)
    await told()


@step(timeout_seconds=LIMIT_SECONDS * 50, heartbeat_seconds=LIMIT_SECONDS * 50)
async def quick() -> None:
    """Take less time than it may."""
    await asyncio.sleep(LIMIT_SECONDS)


@step(timeout_seconds=LIMIT_SECONDS)
async def slow() -> None:
    """Take more time than it may."""
    await asyncio.Event().wait()


@workflow(namespace="house")
async def limited() -> tuple[str, str]:
    """Do both; answer how they ended."""

    async def outcome(call: Any) -> str:
        try:
            await call
        except TimeoutError:
            return "timed out"
        return "done"

    return await gather(outcome(quick()), outcome(slow()))


WORKFLOWS: Final = (waiting, limited)


async def live(database: Path, life: int, seconds: list[float]) -> None:
    """Start what is not there yet, and wait until all is over."""
    async with App(workflows=WORKFLOWS, steps=[told], database=database) as app:
        app.desk.runner.watch(shown)
        runs = [(f"waits-{place}", waiting(each), each) for place, each in enumerate(seconds)]
        began = time.monotonic()
        handles = []
        for number, (run, call, value) in enumerate([*runs, ("limited", limited(), None)]):
            line = {"client": life * 1000 + number, "number": 1, "verb": "start", "run": run}
            line["value"] = {"workflow": call.workflow.name, "input": value}
            living.say("call", Call(what="invoke", at=time.monotonic(), **line))
            handles.append(await app.start(call, id=run))
            living.say("call", Call(what="ok", at=time.monotonic(), **line))
        living.say("ready")
        living.say("limited", [*await handles[-1].result(), time.monotonic() - began])
        for handle in handles[:-1]:
            await handle.result()
        living.say("over")


if __name__ == "__main__":
    timers.LONGEST_SLEEP_SECONDS = LONGEST_SLEEP_SECONDS  # type: ignore[misc]
    asyncio.run(live(Path(sys.argv[1]), int(sys.argv[2]), [float(text) for text in sys.argv[3:]]))
