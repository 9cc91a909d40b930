"""Runs that only wait cost a row, not memory: they are put aside, and miss nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tenuto.engine.model import Answered, Arrived, CancelRequested, Resumed, Suspended
from tenuto.engine.ports import RunRow
from tenuto.runtime.recording import read_entry
from tests.runtime.bench import Bench, bench, document
from tests.runtime.test_worker import PARENT, THREE, called

SLEEPER = "do: [{w: {wait: PT1H}}, {m: {call: 'probe.mark:1.0.0@default', with: {name: m}}}]"
LISTENER = """
    do:
      - l: {listen: {to: {any: [{with: {type: t}}], until: '. | length == 2'}}}
      - m: {call: 'probe.mark:1.0.0@default', with: {name: m, value: '${ . }'}}
"""


async def settled(made: Bench, run: str) -> RunRow:
    """Settle a run, or fail if that hangs."""
    async with asyncio.timeout(10.0):
        return await made.worker.settle(run)


def in_memory(made: Bench) -> set[str]:
    """The runs that are in memory."""
    return set(made.worker._memory.runs)


async def durable(made: Bench, run: str, status: str) -> RunRow:
    """Return when a run has a status on disk."""
    async with asyncio.timeout(10.0):
        while True:
            await made.journal.flush()
            row = await made.journal.run(run)
            if row is not None and row.status == status:
                return row


async def test_timers_fire_for_runs_that_were_put_aside(tmp_path: Path) -> None:
    """Each once, and memory stays bounded."""
    async with bench(tmp_path, hot_runs=10) as made:
        runs = [await made.start(SLEEPER) for _ in range(60)]
        most = len(in_memory(made))
        made.clock.time += 3601.0
        made.worker._timers.check()
        rows = [await settled(made, run) for run in runs]

    assert most <= 12
    assert {row.status for row in rows} == {"completed"}
    assert called(made) == ["m"] * 60


async def test_a_timer_has_fired_when_it_fired_whatever_is_set_meanwhile(tmp_path: Path) -> None:
    """The clock is set back while the run is read from the disk: its history shows no timer before its time."""
    async with bench(tmp_path, hot_runs=1) as made:
        runs = [await made.start(SLEEPER) for _ in range(3)]
        cold = next(run for run in runs if run not in in_memory(made))
        started = made.clock.time
        made.clock.time += 3601.0
        made.worker._timers.check()
        made.clock.time = started
        row = await settled(made, cold)
        entries = [read_entry(data).event for _, data in await made.journal.history(row.number)]

    assert next(event.time for event in entries if isinstance(event, Answered)) >= started + 3600.0


async def test_events_reach_runs_that_were_put_aside(tmp_path: Path) -> None:
    """All of them, each event once, while others come and push them out again."""
    speaker = "do: [{e: {emit: {event: {with: {type: t, data: '${ . }'}}}}}]"
    async with bench(tmp_path, hot_runs=10) as made:
        runs = [await made.start(LISTENER) for _ in range(40)]
        await made.start(speaker, 1, name="speaker")
        for _ in range(30):
            await made.start(SLEEPER)
        await made.start(speaker, 2, name="speaker")
        async with asyncio.timeout(10.0):
            while len(made.probe.calls) < 40:
                await made.journal.flush()
            while await made.journal.runs(statuses=["running"]):
                await made.journal.flush()
        rows = [await made.journal.run(run) for run in runs]

    assert {row.status for row in rows if row} == {"completed"}
    assert {tuple(value) for _, value in made.probe.calls} == {(1, 2)}


async def test_lifecycle_events_reach_a_run_that_waits_long(tmp_path: Path) -> None:
    """They come in the transaction of what they tell of, so their listeners stay in memory."""
    kind = "io.serverlessworkflow.workflow.completed.v1"
    async with bench(tmp_path, hot_runs=5) as made:
        run = await made.start(
            f"do: [{{l: {{listen: {{to: {{one: {{with: {{type: {kind}}}}}}}}}}}}}]", name="n"
        )
        for _ in range(20):
            await made.start(SLEEPER)
        await made.start(THREE)
        row = await durable(made, run, "completed")

    assert row.outcome is not None


async def test_a_child_that_only_waits_ends_with_its_parents_wait(tmp_path: Path) -> None:
    """By the parent's timeout, whatever else was started meanwhile."""
    parent = PARENT.replace("sub: {run", "sub: {timeout: {after: PT30M}, run")
    async with bench(tmp_path, hot_runs=5) as made:
        await made.journal.put_documents([document(SLEEPER, "child")])
        run = await made.start(parent, {"n": 5})
        while not await made.journal.runs(parent=run, statuses=["waiting"]):
            await made.journal.flush()
        for _ in range(20):
            await made.start(SLEEPER)
        made.clock.time += 1801.0
        made.worker._timers.check()
        await durable(made, run, "faulted")
        (child,) = await made.journal.runs(parent=run)
        await durable(made, child.id, "cancelled")

    assert called(made) == []


async def test_whoever_settles_a_run_keeps_it_in_memory(tmp_path: Path) -> None:
    """Else it would seem to be over."""
    async with bench(tmp_path, hot_runs=5) as made:
        run = await made.start(SLEEPER)
        settling = asyncio.create_task(made.worker.settle(run))
        for _ in range(20):
            await made.start(SLEEPER)
        kept = run in in_memory(made) and not settling.done()
        made.clock.time += 3601.0
        made.worker._timers.check()
        async with asyncio.timeout(10.0):
            row = await settling

    assert kept
    assert row.status == "completed"


async def test_runs_that_were_put_aside_can_be_told_things(tmp_path: Path) -> None:
    """Suspended, resumed, cancelled, told of events from outside."""
    async with bench(tmp_path, hot_runs=5) as made:
        runs = [await made.start(SLEEPER) for _ in range(20)]
        cancelled, paused, *_ = runs
        listening = await made.start(LISTENER)
        for _ in range(20):
            await made.start(SLEEPER)
        absent = {cancelled, paused, listening} & in_memory(made)
        await made.worker.tell(cancelled, CancelRequested(made.clock.now()))
        await made.worker.tell(paused, Suspended(made.clock.now()))
        for n in range(2):
            event = {"specversion": "1.0", "id": str(n), "source": "/x", "type": "t", "data": n}
            await made.worker.tell(listening, Arrived(made.clock.now(), event))
        heard = await durable(made, listening, "completed")
        stopped = await durable(made, cancelled, "cancelled")
        made.clock.time += 3601.0
        made.worker._timers.check()
        held = await durable(made, paused, "suspended")
        await made.worker.tell(paused, Resumed(made.clock.now()))
        row = await settled(made, paused)

    assert absent == set()
    assert (heard.status, stopped.status, held.status, row.status) == (
        "completed",
        "cancelled",
        "suspended",
        "completed",
    )


async def test_more_runs_at_work_than_the_limit_are_no_burden(tmp_path: Path) -> None:
    """None of them can be put aside; that is not looked for again with each new one."""
    async with bench(tmp_path, hot_runs=20) as made:
        made.probe.hold("a")
        runs = [await made.start(THREE) for _ in range(100)]
        crowded = len(in_memory(made))
        made.probe.held["a"].set()
        rows = [await settled(made, run) for run in runs]

    assert crowded == 100
    assert {row.status for row in rows} == {"completed"}


async def test_recovery_keeps_no_more_in_memory_than_it_must(tmp_path: Path) -> None:
    """Runs that only wait are put aside again, with their timers set."""
    async with bench(tmp_path, hot_runs=10) as made:
        runs = [await made.start(SLEEPER) for _ in range(60)]
        await made.crash()
        count = await made.worker.recover()
        most = len(in_memory(made))
        made.clock.time += 3601.0
        made.worker._timers.check()
        rows = [await settled(made, run) for run in runs]

    assert count == 60
    assert most <= 12
    assert {row.status for row in rows} == {"completed"}
