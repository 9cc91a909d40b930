"""Children that nobody waits for any more are told so, once: they may clean up, whatever is read from disk then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tenuto import Signal, child, gather, race, sleep, step, workflow
from tenuto.engine.model import SIGNAL, Answered, Arrived, CancelRequested, Event, Started, Suspended
from tenuto.engine.ports import Batch, RunRow, Snapshot
from tenuto.errors import Invalid
from tenuto.runtime.children import child_of
from tenuto.runtime.hot import Hot
from tenuto.runtime.memory import Memory
from tenuto.runtime.recording import read_entry
from tenuto.runtime.worker import Worker
from tests.runtime.test_ahead_of_the_disk import SlowJournal, working

CALLS: list[str] = []
HELD: dict[str, asyncio.Event] = {}
PATIENCE_SECONDS = 10.0
SENT = Arrived(0.0, {"type": SIGNAL, "subject": "go", "data": 1})
go = Signal("go", int)


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    CALLS.clear()
    HELD.clear()
    HELD["clean"] = asyncio.Event()


@step
async def clean(name: str) -> None:
    """Take as long as it is held."""
    CALLS.append(name)
    await HELD["clean"].wait()


@workflow
async def kid() -> None:
    """Wait, and clean up in two steps when that is over."""
    try:
        await sleep(3600)
    finally:
        await clean("first")
        await clean("second")


@workflow
async def family() -> None:
    """Wait for a child no longer than for a signal, and then go on."""
    await race(child(kid), go.receive())
    await go.receive()


async def turns(count: int = 50) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def begun() -> tuple[SlowJournal, Worker, str]:
    """Return a store with a run and its child, and its worker, which has these in memory."""
    journal = SlowJournal(failed=lambda error: None)
    await journal.put_documents([kid.document()])
    worker = working(journal, family, kid)
    run = await worker.start(family.document(), {})
    await turns()
    return journal, worker, run


def crashed(worker: Worker, journal: SlowJournal) -> Worker:
    """Return the worker of the next process."""
    worker.fail(RuntimeError("killed"))
    return working(journal, family, kid)


async def ended(worker: Worker, run: str) -> RunRow:
    """Let the child of a run clean up, and return its end."""
    HELD["clean"].set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await worker.ended(child_of(run, 1))


async def events(journal: SlowJournal, run: str) -> list[type[Event]]:
    """Return what the child of a run was told."""
    row = await journal.run(child_of(run, 1))
    assert row is not None
    return [type(read_entry(data).event) for _, data in await journal.history(row.number)]


async def test_a_crash_while_a_child_cleans_up_does_not_keep_it_from_that() -> None:
    """Its parent waits no more, as at the first time; it knows that already."""
    journal, worker, run = await begun()
    await worker.tell(run, SENT)
    await turns()
    for _ in range(2):
        worker = crashed(worker, journal)
        await worker.recover()
        await turns()
    row = await ended(worker, run)
    told = await events(journal, run)
    await worker.close()

    assert row.status == "cancelled"
    assert CALLS == ["first", "first", "first", "second"]
    assert told == [Started, CancelRequested, Answered, Answered]


async def test_a_child_that_is_taken_up_while_its_parent_lets_go_of_it_is_told_once() -> None:
    """Whoever reads it finds that it is an orphan, just when its parent's turn sends for it."""
    journal, worker, run = await begun()
    worker = crashed(worker, journal)
    parent = await worker._memory.load(run)
    assert parent is not None
    load = journal.load

    async def slowly(number: int) -> tuple[Snapshot | None, list[bytes]]:
        await turns(10)
        return await load(number)

    journal.load = slowly  # type: ignore[method-assign]
    taking_up = asyncio.create_task(worker.resume(child_of(run, 1)))
    await asyncio.sleep(0)
    worker._feeding.feed([(parent, SENT)])
    await taking_up
    await turns()
    row = await ended(worker, run)
    told = await events(journal, run)
    await worker.close()

    assert row.status == "cancelled"
    assert CALLS == ["first", "second"]
    assert told == [Started, CancelRequested, Answered, Answered]


async def test_a_child_on_the_disk_goes_on_if_its_parents_turn_is_undone() -> None:
    """Nothing of that turn has happened."""
    journal, worker, run = await begun()
    worker = crashed(worker, journal)
    parent = await worker._memory.load(run)
    assert parent is not None
    commit = journal.commit

    def refuse(batch: Batch, done: Callable[[], None]) -> None:
        journal.commit = commit  # type: ignore[method-assign]
        raise Invalid("it passes a limit")

    journal.commit = refuse  # type: ignore[method-assign]
    with pytest.raises(Invalid):
        worker._feeding.feed([(parent, SENT)])
    await turns()
    told = await events(journal, run)
    await worker.recover()
    await worker.tell(run, SENT)
    row = await ended(worker, run)
    await worker.close()

    assert told == [Started]
    assert row.status == "cancelled"


async def test_a_paused_parent_is_folded_for_all_of_its_children_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that have something to do are taken up before it is."""

    @workflow
    async def working_kid(number: int) -> None:
        await clean(str(number))

    @workflow
    async def large_family() -> None:
        await gather(*(child(working_kid, number) for number in range(20)))

    journal = SlowJournal(failed=lambda error: None)
    await journal.put_documents([working_kid.document()])
    worker = working(journal, large_family, working_kid)
    run = await worker.start(large_family.document(), {})
    await turns(200)
    await worker.tell(run, Suspended(0.0))
    worker.fail(RuntimeError("killed"))
    worker = working(journal, large_family, working_kid)
    folded: list[str] = []
    fold = Memory._fold

    async def noted(self: Memory, row: RunRow, *stored: Any) -> Hot:
        folded.append(row.name)
        return await fold(self, row, *stored)

    monkeypatch.setattr(Memory, "_fold", noted)
    count = await worker.recover()
    await worker.close()

    assert count == 21
    assert sorted(folded) == ["large-family"] * 2 + ["working-kid"] * 20
