"""A run whose code cannot go on says so to everybody who waits for it, whenever they begin to wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tenuto import App, Signal, Step, Workflow, step, workflow
from tenuto.errors import Conflict

LARGE = "x" * (33 * 1024 * 1024)
RETURNED = [LARGE]
go = Signal("go", int)


@step
async def large() -> str:
    """Return what is too large to be recorded."""
    return RETURNED[0]


@workflow
async def copy() -> str:
    """Call a step whose result is too large."""
    return await large()


@step
async def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


@workflow
async def waiting() -> int:
    """Wait for a signal, then call a step."""
    return await double(await go.receive())


async def test_who_waits_late_is_told_why_it_was_kept(tmp_path: Path) -> None:
    """Waiting before the run was suspended, after it, and in another process gives the same answer."""
    reasons = []
    async with App(workflows=[copy], database=tmp_path / "t.db") as app:
        handle = await app.start(copy, id="a")
        for _ in range(2):
            with pytest.raises(Conflict) as caught:
                await handle.result()
            reasons.append(str(caught.value))
    async with App(workflows=[copy], database=tmp_path / "t.db") as app:
        with pytest.raises(Conflict) as caught:
            await app.handle("a").result()
        reasons.append(str(caught.value))

    assert [reasons[0]] * 3 == reasons
    assert "RESULT_BYTES_MAX" in reasons[0]


async def test_a_paused_run_can_be_waited_for(tmp_path: Path) -> None:
    """Nobody is sent away only because somebody has paused the run, also not if it was kept before."""
    async with App(workflows=[waiting], database=tmp_path / "t.db") as app:
        handle = await app.start(waiting)
        await handle.suspend()
        result = asyncio.create_task(handle.result())
        await handle.signal(go, 4)
        await handle.resume()

        assert 8 == await result


async def test_a_run_whose_code_has_two_steps_of_one_name_is_kept(tmp_path: Path) -> None:
    """What it did is not taken back for a slip of the pen."""

    @step(name="double")
    async def other(number: int) -> int:
        """Bear a name that is taken."""
        return number

    def code(second: Step[..., int]) -> Workflow[[], int]:
        @workflow(name="twice")
        async def twice() -> int:
            return await second(await double(2))

        return twice

    slipped = code(other)
    async with App(workflows=[slipped], database=tmp_path / "t.db") as app:
        with pytest.raises(Conflict, match="two steps are called `double`"):
            await (await app.start(slipped, id="a")).result()
    async with App(workflows=[code(double)], database=tmp_path / "t.db") as app:
        handle = app.handle("a")
        await handle.resume()
        result = await handle.result()

    assert result == 8


async def test_a_missing_await_is_named(tmp_path: Path) -> None:
    """Where the call is passed on, as an argument or as the result."""

    @workflow
    async def argument() -> int:
        return await double(double(2))  # type: ignore[arg-type]

    @workflow
    async def result() -> int:
        return double(2)  # type: ignore[return-value]

    async with App(workflows=[argument, result], database=tmp_path / "t.db") as app:
        for flow in (argument, result):
            with pytest.raises(
                Conflict,
                match=r"found a call that was not awaited: `await` is missing|called `double` and never awaited",
            ):
                await (await app.start(flow)).result()
