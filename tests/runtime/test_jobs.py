"""The tasks and actions of one process: none is forgotten, none counts for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from tenuto.runtime.jobs import ACTIONS_AT_ONCE, Jobs


async def test_thousands_that_wait_their_turn_may_be_let_go_of_at_once() -> None:
    """Those of a run that was cancelled: each ends at once, which is the turn of the next."""
    jobs, begun = Jobs(lambda: None), 0

    def begin() -> None:
        nonlocal begun
        begun += 1

    for _ in range(ACTIONS_AT_ONCE):
        jobs.act(begin)
    for _ in range(5 * ACTIONS_AT_ONCE):
        jobs.act(jobs.acted)
    jobs.act(begin)
    jobs.acted()

    assert len(jobs) == 0
    assert begun == ACTIONS_AT_ONCE + 1


async def test_a_task_is_over_whatever_goes_wrong_at_its_end() -> None:
    """Who waits for the last task to end must not wait for ever."""
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    idle = asyncio.Event()
    jobs = Jobs(idle.set)

    def then() -> None:
        raise ZeroDivisionError

    jobs.start(asyncio.sleep(0), then)
    async with asyncio.timeout(5.0):
        await idle.wait()

    assert len(jobs) == 0
    assert [type(error) for error in told] == [ZeroDivisionError]
