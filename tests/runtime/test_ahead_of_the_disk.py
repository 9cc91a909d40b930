"""A run is folded ahead of the disk: what follows from that must not be seen, and not be done, too early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from tenuto import Query, Signal, Workflow, child, emit, race, sleep, step, workflow
from tenuto.engine.model import SIGNAL, Answered, Arrived, CancelRequested, Started
from tenuto.engine.ports import Batch
from tenuto.runtime.actions import Gate
from tenuto.runtime.catalog import Catalog
from tenuto.runtime.children import child_of
from tenuto.runtime.code import Code
from tenuto.runtime.network import SystemNetwork
from tenuto.runtime.recording import read_entry
from tenuto.runtime.steps import Functions, Steps
from tenuto.runtime.system import SystemChance, SystemClock
from tenuto.runtime.worker import Worker
from tenuto.storage.memory import MemoryJournal

CALLS: list[tuple[str, Any]] = []
HELD: dict[str, asyncio.Event] = {}
go = Signal("go", int)
stage = Query("stage", str)


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    CALLS.clear()
    HELD.clear()


@step
async def mark(name: str, value: int = 0) -> int:
    """Remember that this was done."""
    CALLS.append((name, value))
    return value + 1


class SlowJournal(MemoryJournal):
    """A store whose disk takes its time: nothing becomes durable while `stalled` is set."""

    stalled: asyncio.Event | None = None
    stalls_at = 0
    commits = 0

    def commit(self, batch: Batch, done: Callable[[], None]) -> None:
        """Take a batch over; say so when the disk goes on. It stalls at the commit of number `stalls_at`."""
        self.commits += 1
        if self.commits == self.stalls_at:
            self.stalled = asyncio.Event()
        if self.stalled is None:
            super().commit(batch, done)
        else:
            super().commit(batch, lambda: None)
            asyncio.get_running_loop().create_task(self._later(done))

    async def _later(self, done: Callable[[], None]) -> None:
        await self.flush()
        done()

    async def flush(self) -> None:
        """Wait for the disk."""
        if self.stalled is not None:
            await self.stalled.wait()
        await super().flush()


SENT = Arrived(0.0, {"type": SIGNAL, "subject": "go", "data": 1})


def working(journal: SlowJournal, *workflows: Workflow[..., Any]) -> Worker:
    """Return a worker on a journal; it evaluates nothing."""
    steps = Steps()
    code = Code(workflows, steps.know, None, {})
    gate = Gate(Functions(steps, Catalog({})), SystemNetwork(), {})
    clock, chance = SystemClock(), SystemChance()
    return Worker(journal, gate, cast(Any, None), code.build, clock, chance, "0", admit=steps.admit)


async def test_a_run_from_the_disk_does_nothing_that_its_newest_entries_ask_for_before_these_are_there() -> (
    None
):
    """Whoever sends it a signal takes it up; what follows from the signal may be ahead of the disk by then."""

    @workflow
    async def telling() -> None:
        await go.receive()
        await emit("went")
        await mark("after")

    journal = SlowJournal(failed=lambda error: None)
    run = await working(journal, telling).start(telling.document(), {})
    worker = working(journal, telling)
    journal.stalls_at = journal.commits + 2  # that of the event: the signal is on the disk
    await worker.tell(run, SENT)
    for _ in range(20):
        await asyncio.sleep(0)
    early = list(CALLS)
    assert journal.stalled is not None
    journal.stalled.set()
    await worker.ended(run)
    await worker.close()

    assert early == []
    assert CALLS == [("after", 0)]


@step
async def unmark(name: str, result: int) -> None:
    """Take `mark_held` back."""
    CALLS.append((f"undo {name}", result))


@step(undo=unmark)
async def mark_held(name: str) -> int:
    """Do what can be taken back, as long as it is held."""
    CALLS.append((name, 0))
    if name in HELD:
        await HELD[name].wait()
    return 1


async def test_a_child_from_the_disk_that_is_cancelled_with_its_parent_takes_back_what_it_did() -> None:
    """Nobody knows how its action ended that was under way at a crash: that is begun again first."""

    @workflow
    async def kid() -> None:
        await mark_held("m")

    @workflow
    async def family() -> None:
        await child(kid)

    journal = SlowJournal(failed=lambda error: None)
    await journal.put_documents([kid.document()])
    killed = working(journal, family, kid)
    HELD["m"] = asyncio.Event()
    run = await killed.start(family.document(), {})
    for _ in range(30):
        await asyncio.sleep(0)
    killed.fail(RuntimeError("killed"))
    del HELD["m"]
    worker = working(journal, family, kid)
    await worker.tell(run, CancelRequested(0.0))
    for _ in range(100):
        await asyncio.sleep(0)
    rows = [await journal.run(run), await journal.run(child_of(run, 1))]  # which takes nobody up
    await worker.close()

    assert [row and row.status for row in rows] == ["cancelled", "cancelled"]
    assert CALLS == [("m", 0), ("m", 0), ("undo m", 1)]


async def test_a_child_that_is_not_needed_may_clean_up() -> None:
    """It is told once: the second time its code would not be asked any more."""

    @workflow
    async def kid() -> None:
        try:
            await sleep(3600)
        finally:
            await mark("clean")

    @workflow
    async def family() -> None:
        await race(child(kid), go.receive())

    journal = SlowJournal(failed=lambda error: None)
    await journal.put_documents([kid.document()])
    worker = working(journal, family, kid)
    run = await worker.start(family.document(), {})
    for _ in range(30):
        await asyncio.sleep(0)
    await worker.tell(run, SENT)
    async with asyncio.timeout(10):
        row = await worker.ended(child_of(run, 1))
    entries = [read_entry(data).event for _, data in await journal.history(row.number)]
    await worker.close()

    assert CALLS == [("clean", 0)]
    assert [type(event) for event in entries] == [Started, CancelRequested, Answered]


async def test_a_query_shows_nothing_that_is_not_on_the_disk() -> None:
    """A crash could take it back, after somebody has been told."""

    @workflow
    async def telling() -> None:
        stage.set("waiting")
        await go.receive()
        stage.set("going on")
        await go.receive()

    journal = SlowJournal(failed=lambda error: None)
    clock, chance, code = (
        SystemClock(),
        SystemChance(),
        Code([telling], lambda step: None, None, {}),
    )
    worker = Worker(journal, cast(Any, None), cast(Any, None), code.build, clock, chance, "0")
    run = await worker.start(telling.document(), {})
    journal.stalled = asyncio.Event()
    signal = {"type": SIGNAL, "subject": "go", "data": 1}
    sending = asyncio.create_task(worker.tell(run, Arrived(clock.now(), signal)))
    await asyncio.sleep(0)
    asking = asyncio.create_task(worker.query(run, "stage"))
    for _ in range(20):
        await asyncio.sleep(0)
    early = asking.done()
    journal.stalled.set()
    shown = await asking
    await sending
    await worker.close()

    assert not early
    assert shown == "going on"
