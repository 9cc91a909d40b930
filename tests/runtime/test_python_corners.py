"""Workflows in Python where runs are put aside, folded anew, let go of and stuck while others go on."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from tenuto import (
    App,
    Concurrency,
    Query,
    RunCancelled,
    Signal,
    StepFailed,
    Workflow,
    child,
    emit,
    gather,
    log,
    sleep,
    step,
    wait_for_event,
    workflow,
)
from tenuto.authoring.execution import Execution
from tenuto.engine.ports import RunRow
from tenuto.errors import Conflict

CALLS: list[Any] = []
HELD: dict[int, asyncio.Event] = {}
go = Signal("go", int)


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    CALLS.clear()
    HELD.clear()


@step(concurrency=Concurrency(2))
async def mark(n: int) -> int:
    """Remember that this was done; one that is held swallows that it is stopped."""
    CALLS.append(n)
    if n in HELD:
        try:
            await HELD[n].wait()
        except asyncio.CancelledError:
            return -n
    return n


async def begun(n: int, times: int) -> None:
    """Return when a held step was called so often."""
    while CALLS.count(n) < times:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)


async def test_an_event_reaches_every_run_though_memory_holds_few(tmp_path: Path) -> None:
    """Runs that are taken up for it are not put aside again before they have heard."""

    @workflow
    async def listener(n: int) -> int:
        event = await wait_for_event("paid")
        return n + int(event["data"])

    async with App(workflows=[listener], database=tmp_path / "tenuto.db") as app:
        runner: Any = app.desk.runner
        runner._memory._limit = runner._memory._crowded_at = 10
        handles = [await app.start(listener, n) for n in range(30)]
        for handle in handles:
            await app.settle(handle)
        emitting = asyncio.create_task(app.emit("paid", 100))
        more = await asyncio.gather(*(app.start(listener, n) for n in range(30, 60)))
        await emitting
        results = [await handle.result() for handle in handles]
        await app.emit("paid", 1)
        later = [await handle.result() for handle in more]

    assert results == [n + 100 for n in range(30)]
    assert all(result - n in {1, 100} for n, result in enumerate(later, 30))


async def test_a_listener_that_cannot_be_taken_up_keeps_nobody_from_hearing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code was changed while it was put aside."""
    asks = {"more": False}

    @workflow
    async def listener(n: int) -> int:
        if asks["more"] and n == 0:
            await mark(n)
        event = await wait_for_event("paid")
        return n + int(event["data"])

    async with App(workflows=[listener], database=tmp_path / "tenuto.db") as app:
        runner: Any = app.desk.runner
        runner._memory._limit = runner._memory._crowded_at = 1
        handles = [await app.start(listener, n) for n in range(4)]
        monkeypatch.setitem(asks, "more", True)
        await app.emit("paid", 100)
        results = [await handle.result() for handle in handles[1:]]
        with pytest.raises(Conflict, match="does not fit"):
            await handles[0].signal("go", 1)

    assert results == [101, 102, 103]


@pytest.mark.parametrize("beside", [False, True])
async def test_a_slice_that_cannot_be_recorded_keeps_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    """It is folded anew, and goes on when it is mended; what is recorded is not done again."""
    monkeypatch.setattr("tenuto.storage.journal.ENTRY_BYTES_MAX", 10_000)

    async def talking() -> str:
        await mark(1)
        await mark(2)
        log("x" * 20_000)
        return "logged"

    @workflow
    async def flow() -> list[Any]:
        return list(await gather(talking(), mark(3), go.receive()))

    if beside:
        HELD[3] = asyncio.Event()  # under way when the run is folded anew: it is begun again
    async with App(workflows=[flow], database=tmp_path / "tenuto.db") as app:
        handle = await app.start(flow)
        with pytest.raises(Conflict, match="an entry of 20"):
            await handle.result()
        await handle.signal(go, 7)
        HELD.clear()
        monkeypatch.setattr("tenuto.storage.journal.ENTRY_BYTES_MAX", 100_000)
        await handle.resume()
        result = await handle.result()

    assert result == ["logged", 3, 7]
    assert (CALLS.count(1), CALLS.count(2), CALLS.count(3)) == (1, 2, 2 if beside else 1)


async def test_an_event_that_its_listeners_cannot_record_fails_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sent it is told, and does not send it for ever."""
    monkeypatch.setattr("tenuto.storage.journal.ENTRY_BYTES_MAX", 10_000)

    @workflow
    async def listener() -> None:
        await wait_for_event("paid")
        log("x" * 20_000)

    @workflow
    async def sender() -> str:
        try:
            await emit("paid")
        except StepFailed as error:
            return (error.fault.detail or "")[:8]
        return "sent"

    async with App(workflows=[listener, sender], database=tmp_path / "tenuto.db") as app:
        await app.settle(await app.start(listener))
        result = await (await app.start(sender)).result()

    assert result == "an entry"


async def test_an_app_closes_though_code_swallows_everything(tmp_path: Path) -> None:
    """A bare `except` in a loop also swallows that the coroutine is let go of."""

    @workflow
    async def flow() -> None:
        while True:
            try:
                await go.receive()
            except:  # noqa: E722  # the point of the test
                await mark(1)

    async with App(workflows=[flow], database=tmp_path / "tenuto.db") as app:
        await app.settle(await app.start(flow))

    assert CALLS == []


async def test_signals_come_to_their_run_alone(tmp_path: Path) -> None:
    """Who publishes an event of their type signals nobody."""

    @workflow
    async def flow() -> int:
        return await go.receive()

    async with App(workflows=[flow], database=tmp_path / "tenuto.db") as app:
        one, other = await app.start(flow), await app.start(flow)
        await app.emit("io.tenuto.signal.v1", 1, subject="go")
        await one.signal(go, 2)
        result = await one.result()
        status = await other.status()

    assert (result, status) == (2, "waiting")


# ── parents and children, of whom one cannot go on ───────────────────────────────────────


def family(*, parent_asks_more: bool = False, child_asks_more: bool = False) -> list[Workflow[..., Any]]:
    """A child that waits for a signal, and its parent; either with other code than it had."""

    @workflow(name="inner")
    async def inner() -> int:
        if child_asks_more:
            await mark(2)
        return await go.receive()

    @workflow(name="outer")
    async def outer() -> int:
        if parent_asks_more:
            await mark(1)
        return 10 + await child(inner)

    return [outer, inner]


async def child_row(app: App) -> RunRow:
    """The only run that has a parent, once there is one."""
    while not (rows := [row for row in await app.desk.journal.runs() if row.parent]):  # noqa: ASYNC110  # nor of this
        await asyncio.sleep(0)
    return rows[0]


async def begin(path: Path) -> str:
    """Leave parent and child in the middle; return the child's id."""
    outer, inner = family()
    async with App(workflows=[outer, inner], database=path / "tenuto.db") as app:
        await app.start(outer, id="p")
        return (await child_row(app)).id


@pytest.mark.filterwarnings("ignore:the run")
async def test_a_child_goes_on_though_its_parent_cannot(tmp_path: Path) -> None:
    """The App opens; what the child answers is there when the parent's code is mended."""
    run = await begin(tmp_path)
    async with App(workflows=family(parent_asks_more=True), database=tmp_path / "tenuto.db") as app:
        await app.handle(run).signal(go, 7)
        result = await app.handle(run).result()
        status = await app.handle("p").status()
    async with App(workflows=family(), database=tmp_path / "tenuto.db") as app:
        await app.handle("p").resume()
        outcome = await app.handle("p").result()

    assert (result, status, outcome) == (7, "suspended", 17)


async def test_a_parent_is_kept_while_its_child_cannot_go_on(tmp_path: Path) -> None:
    """It has not failed: both go on once the child's code is mended."""
    run = await begin(tmp_path)
    async with App(workflows=family(child_asks_more=True), database=tmp_path / "tenuto.db") as app:
        with pytest.raises(Conflict, match="does not fit"):
            await app.handle("p").result()
        statuses = await app.handle("p").status(), await app.handle(run).status()
    async with App(workflows=family(), database=tmp_path / "tenuto.db") as app:
        await app.handle(run).resume()
        await app.handle("p").resume()
        await app.handle(run).signal(go, 7)
        outcome = await app.handle("p").result()

    assert (statuses, outcome) == (("suspended", "suspended"), 17)


async def test_a_parent_can_be_cancelled_though_its_child_cannot_go_on(tmp_path: Path) -> None:
    """The child is cancelled once its code is mended."""
    run = await begin(tmp_path)
    async with App(workflows=family(child_asks_more=True), database=tmp_path / "tenuto.db") as app:
        await app.handle("p").cancel()
        with pytest.raises(RunCancelled):
            await app.handle("p").result()
        status = await app.handle(run).status()
    async with App(workflows=family(), database=tmp_path / "tenuto.db") as app:
        with pytest.raises(RunCancelled):
            await app.handle(run).result()

    assert status == "suspended"


async def test_children_of_a_stuck_run_are_cancelled_with_it(tmp_path: Path) -> None:
    """Its code is not asked, and does not say which it had begun."""
    _, inner = family()

    @workflow
    async def outer() -> None:
        async def wrong() -> None:
            await mark("no number")  # type: ignore[arg-type]

        await gather(child(inner), wrong())

    async with App(workflows=[outer, inner], database=tmp_path / "tenuto.db") as app:
        handle = await app.start(outer)
        with pytest.raises(Conflict, match="`n`"):
            await handle.result()
        await handle.cancel()
        rows = [row.status for row in await app.desk.journal.runs()]

    assert set(rows) == {"cancelled"}


async def test_a_run_that_is_over_and_whose_code_has_changed_says_so_when_it_is_asked(
    tmp_path: Path,
) -> None:
    """With an error like others."""
    stage = Query("stage", str)

    def telling(*, asks_more: bool) -> Workflow[..., Any]:
        @workflow(name="telling")
        async def flow() -> None:
            if asks_more:
                await mark(1)
            stage.set("over")

        return flow

    declared = telling(asks_more=False)
    async with App(workflows=[declared], database=tmp_path / "tenuto.db") as app:
        await (await app.start(declared, id="t")).result()
    async with App(workflows=[telling(asks_more=True)], database=tmp_path / "tenuto.db") as app:
        with pytest.raises(Conflict, match="cannot be asked any more"):
            await app.handle("t").query(stage)


async def test_nothing_is_left_of_runs_that_are_over(tmp_path: Path) -> None:
    """Completed, failed, cancelled, with timers, limits, listeners and children."""

    @workflow
    async def inner(n: int) -> int:
        return await mark(n)

    @workflow
    async def flow(n: int) -> int:
        async def listens() -> None:
            await wait_for_event("never", timeout=1000)

        if n % 3 == 0:
            await gather(inner(n), sleep(0.001))
        elif n % 3 == 1:
            await gather(listens(), mark(n), _failing())
        else:
            await gather(listens(), sleep(1000), inner(n))
        return n

    async def _failing() -> None:
        await mark(-1)
        raise ValueError("no")

    async with App(workflows=[flow, inner], database=tmp_path / "tenuto.db") as app:
        handles = [await app.start(flow, n) for n in range(30)]
        for n, handle in enumerate(handles):
            if n % 3 == 2:
                await begun(n, times=1)
                await handle.cancel()
        await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
        runner: Any = app.desk.runner
        for _ in range(10):
            await asyncio.sleep(0)
        gc.collect()
        left = {
            "runs": len(runner._hot),
            "admitted": len(runner._acting._admitted),
            "timers": len(runner._timers),
            "listeners": len(runner._listeners._types) + len(runner._listeners._by_type),
            "settling": len(runner._settling) + len(runner._ending),
            # The last transaction may still be at hand.
            "tens of executions": sum(type(found) is Execution for found in gc.get_objects()) // 10,
        }

    assert left == dict.fromkeys(left, 0)
