"""Waiting for runs: who waits no longer leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from tenuto.runtime.settling import Settling


async def test_who_gives_up_is_forgotten() -> None:
    """Also as the last of several who wait; the others are woken all the same."""
    settling = Settling(lambda run: False)
    tasks = [asyncio.create_task(settling.wait(run)) for run in ("a", "a", "b")]
    await asyncio.sleep(0)
    for number in (0, 2):
        tasks[number].cancel()
    await asyncio.gather(tasks[0], tasks[2], return_exceptions=True)
    left = ("a" in settling, "b" in settling)
    settling.settle("a")

    assert (True, False) == left
    assert await tasks[1] is None
    assert 0 == len(settling)


async def test_who_is_cancelled_while_being_woken_gets_out() -> None:
    """The run has settled in the same turn, so there is nothing left to forget."""
    settling = Settling(lambda run: False)
    task = asyncio.create_task(settling.wait("a"))
    await asyncio.sleep(0)
    settling.settle("a")
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)

    assert isinstance(outcome, asyncio.CancelledError)
    assert 0 == len(settling)


@pytest.mark.parametrize("error", [None, OSError("no space left on device")])
async def test_who_comes_too_late_is_woken_at_once(error: OSError | None) -> None:
    """Whoever read a run from the disk meanwhile must not wait for what nothing brings about any more."""
    settling = Settling(lambda run: False)
    settling.end(error)
    asking = asyncio.wait_for(settling.wait("a"), 10)
    (outcome,) = await asyncio.gather(asking, return_exceptions=True)

    assert outcome is error
    assert 0 == len(settling)
