"""Taking up what was on disk: each run once, whoever asks; children and listeners included."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tenuto.engine.model import Answered, CancelRequested, Entry, Resumed, Suspended
from tenuto.engine.ports import RunRow, Snapshot
from tenuto.errors import StorageFailed
from tenuto.runtime import memory
from tenuto.runtime.children import NESTED_RUNS_MAX
from tests.runtime.bench import Bench, bench, document
from tests.runtime.test_worker import CHILD, PARENT, THREE, called

LISTENER = "do: [{l: {listen: {to: {one: {with: {type: t}}}}}}]"
MARK = "do: [{m: {call: 'probe.mark:1.0.0@default', with: {name: m}}}]"
PATIENCE_SECONDS = 10.0


async def settled(made: Bench, run: str) -> RunRow:
    """Settle a run, or fail if that hangs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await made.worker.settle(run)


async def all_called(made: Bench, count: int) -> None:
    """Return when so many calls were begun."""
    while len(made.probe.calls) < count:
        await made.journal.flush()


def die_after(made: Bench, run: str, event: type) -> asyncio.Event:
    """Let the process die when such an event of a run is durable, before anything follows from it."""
    dead = asyncio.Event()

    def watch(told: str, seq: int, entry: Entry) -> None:
        if told == run and isinstance(entry.event, event):
            made.worker.fail(RuntimeError("killed"))
            dead.set()

    made.worker.watch(watch)
    return dead


async def test_runs_that_several_ask_for_are_read_once(tmp_path: Path) -> None:
    """Recovery, resume and settle at once: one copy of each run, and a store that lives."""
    async with bench(tmp_path) as made:
        made.probe.hold("b")
        runs = await asyncio.gather(*(made.start(THREE) for _ in range(30)))
        await all_called(made, 60)
        await made.crash()
        made.probe.held["b"].set()
        await asyncio.gather(made.worker.recover(), *(made.worker.resume(run) for run in runs))
        rows = [await settled(made, run) for run in runs]

    assert {row.status for row in rows} == {"completed"}
    assert called(made).count("b") == 60


async def test_runs_that_have_something_to_do_are_taken_up_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many only wait: those under way and those whose time has come meanwhile do not wait for them."""
    monkeypatch.setattr(memory, "RECOVERY_CHUNK", 2)
    async with bench(tmp_path) as made:
        made.probe.hold("m")
        waiting = [await made.start("do: [{w: {wait: PT1H}}]", name="long") for _ in range(5)]
        due = await made.start("do: [{w: {wait: PT10S}}]", name="short")
        under_way = await made.start(MARK)
        await all_called(made, 1)
        await made.crash()
        made.clock.time += 60.0
        read: list[int] = []
        load_many = made.journal.load_many

        async def noted(numbers: Sequence[int]) -> dict[int, tuple[Snapshot | None, list[bytes]]]:
            read.extend(numbers)
            return await load_many(numbers)

        made.journal.load_many = noted  # type: ignore[method-assign]
        count = await made.worker.recover()
        rows = {run: await made.journal.run(run) for run in [*waiting, due, under_way]}

    numbers = {run: row.number for run, row in rows.items() if row}
    assert count == 7
    assert read == [numbers[run] for run in [due, under_way, *waiting]]


async def test_a_run_that_is_asked_for_while_it_begins_is_there_once(tmp_path: Path) -> None:
    """Whoever asks reads the disk just when its first entry gets there."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("m")
        read, late, begins = made.journal.run, asyncio.Event(), asyncio.Event()
        unread = made.worker._memory.unread

        async def read_late(run: str) -> RunRow | None:
            made.journal.run = read  # type: ignore[method-assign]  # only the first is late
            await late.wait()
            return await read(run)

        async def noted(run: str) -> None:
            begins.set()
            await unread(run)

        made.journal.run = read_late  # type: ignore[method-assign]
        made.worker._memory.unread = noted  # type: ignore[method-assign]
        asking = asyncio.create_task(made.worker.resume("r"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        starting = asyncio.create_task(made.start(MARK, run="r"))
        await begins.wait()
        for _ in range(20):
            await made.journal.flush()
        late.set()
        await asyncio.gather(asking, starting)
        await reached.wait()
        for _ in range(20):
            await made.journal.flush()
        made.probe.held["m"].set()
        row = await settled(made, "r")

    assert (row.status, called(made)) == ("completed", ["m"])


async def test_who_asks_for_a_run_that_is_over_just_when_it_was_read_does_not_ask_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading that is done is still known then, and waiting for it takes no time."""
    shield, asked = asyncio.shield, 0

    def counted(work: Any) -> Any:
        nonlocal asked
        asked += 1
        assert asked < 100, "it goes round and round"
        return shield(work)

    async with bench(tmp_path) as made:
        run = (await made.run(THREE)).id
        read, others = made.journal.run, []

        async def read_and_asked_again(run: str) -> RunRow | None:
            row = await read(run)
            if not others:
                others.append(asyncio.create_task(made.worker.resume(run)))
            return row

        made.journal.run = read_and_asked_again  # type: ignore[method-assign]
        monkeypatch.setattr(asyncio, "shield", counted)
        await made.worker.resume(run)
        await asyncio.gather(*others)
        monkeypatch.undo()

    assert asked == 2


async def test_parents_and_children_are_recovered_together(tmp_path: Path) -> None:
    """A parent takes up its child while recovery comes to it by itself."""
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        made.probe.hold("child")
        runs = await asyncio.gather(*(made.start(PARENT, {"n": n}) for n in range(30)))
        await all_called(made, 30)
        await made.crash()
        made.probe.held["child"].set()
        await made.worker.recover()
        rows = [await settled(made, run) for run in runs]

    assert {row.status for row in rows} == {"completed"}
    assert called(made).count("child") == 60


async def test_a_suspended_parent_finds_its_child_again_after_a_crash(tmp_path: Path) -> None:
    """Resuming asks again for the child that is there."""
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        reached = made.probe.hold("child")
        run = await made.start(PARENT, {"n": 5})
        await reached.wait()
        await made.worker.tell(run, Suspended(made.clock.now()))
        await made.crash()
        made.probe.held["child"].set()
        await made.worker.tell(run, Resumed(made.clock.now()))
        row = await settled(made, run)
        children = await made.journal.runs(parent=run)

    assert row.status == "completed"
    assert len(children) == 1


async def test_a_child_that_ends_while_its_parent_is_being_read_is_not_missed(tmp_path: Path) -> None:
    """Its end is on the way to the disk when the parent asks for it."""
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        reached = made.probe.hold("child")
        run = await made.start(PARENT, {"n": 5})
        await reached.wait()
        (child,) = await made.journal.runs(parent=run)
        await made.crash()
        reached = made.probe.hold("child")
        await made.worker.resume(child.id)
        await reached.wait()
        made.probe.held["child"].set()
        await made.worker.resume(run)
        row = await settled(made, run)

    assert row.status == "completed"
    assert called(made) == ["child", "child", "after"]


async def test_an_event_under_way_at_a_crash_reaches_whoever_listened(tmp_path: Path) -> None:
    """It is sent again only when all who listened are there again, later runs included."""
    speaker = """
        do:
          - h: {call: 'probe.mark:1.0.0@default', with: {name: h}}
          - e: {emit: {event: {with: {type: t}}}}
    """
    async with bench(tmp_path) as made:
        reached = made.probe.hold("h")
        speaking = await made.start(speaker, name="speaker")
        await reached.wait()
        listening = await made.start(LISTENER, name="listener")
        dead = die_after(made, speaking, Answered)
        made.probe.held["h"].set()
        await dead.wait()
        await made.crash()
        await made.worker.recover()
        row = await settled(made, listening)

    assert row.status == "completed"


async def test_a_childs_cancellation_is_as_durable_as_its_parents(tmp_path: Path) -> None:
    """A crash between the two leaves no child that goes on for nobody."""
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        reached = made.probe.hold("child")
        run = await made.start(PARENT, {"n": 5})
        await reached.wait()
        die_after(made, run, CancelRequested)
        with pytest.raises(StorageFailed):
            await made.worker.tell(run, CancelRequested(made.clock.now()))
        await made.crash()
        (child,) = await made.journal.runs(parent=run)

    assert child.status == "cancelled"


async def test_a_child_whose_parent_went_on_without_it_does_not_go_on(tmp_path: Path) -> None:
    """Its parent's timeout was recorded while the child was only on disk."""
    parent = PARENT.replace("sub: {run", "sub: {timeout: {after: PT1H}, run")
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        reached = made.probe.hold("child")
        run = await made.start(parent, {"n": 5})
        await reached.wait()
        (child,) = await made.journal.runs(parent=run)
        await made.crash()
        made.clock.time += 3601.0
        await made.worker.recover()
        row = await settled(made, run)
        gone = await settled(made, child.id)
        await made.crash()
        count = await made.worker.recover()

    assert (row.status, gone.status, count) == ("faulted", "cancelled", 0)


async def test_a_run_that_cannot_be_read_does_not_hold_up_the_others(tmp_path: Path) -> None:
    """Recovery goes on with the next."""
    complaints: list[str] = []
    async with bench(tmp_path) as made:
        reached = made.probe.hold("b")
        runs = [await made.start(THREE, run=f"r{n}") for n in range(3)]
        broken = await made.start("do: [{l: {listen: {to: {any: []}}}}]", name="broken")
        await reached.wait()
        await made.crash()
        made.probe.held["b"].set()
        document_of = made.journal.document

        async def document_or_none(digest: str) -> Any:
            row = await document_of(digest)
            return None if row is not None and row.name == "broken" else row

        made.journal.document = document_or_none  # type: ignore[method-assign]
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        count = await made.worker.recover()
        loop.set_exception_handler(None)
        rows = [await settled(made, run) for run in runs]

    assert count == 3
    assert [broken in complaint for complaint in complaints] == [True]
    assert {row.status for row in rows} == {"completed"}


async def test_a_start_that_comes_late_finds_the_run_that_is_over(tmp_path: Path) -> None:
    """A run that ended between a second start's look at the disk and its own start is not started twice."""
    body = "do: [{s: {set: {x: 1}}}]"
    async with bench(tmp_path) as made:
        look = made.journal.run
        looked, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(run: str) -> RunRow | None:
            row = await look(run)
            if not looked.is_set():
                looked.set()
                await go_on.wait()
            return row

        made.journal.run = slowly  # type: ignore[method-assign]
        late = asyncio.create_task(made.start(body, run="mine"))
        await looked.wait()
        early = asyncio.create_task(made.start(body, run="mine"))
        for _ in range(3):
            await made.journal.flush()
        go_on.set()
        started = await asyncio.gather(late, early)
        row = await made.run(THREE)

    assert started == ["mine", "mine"]
    assert row.status == "completed"


async def test_a_suspended_parent_has_settled_when_its_child_only_waits(tmp_path: Path) -> None:
    """What the child waits for may never come."""
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(LISTENER, "child")])
        run = await made.start(PARENT, {"n": 5})
        while not await made.journal.runs(parent=run, statuses=["waiting"]):
            await made.journal.flush()
        await made.worker.tell(run, Suspended(made.clock.now()))
        row = await settled(made, run)

    assert row.status == "suspended"


@pytest.mark.parametrize("crash", [False, True])
async def test_a_suspended_run_hears_what_is_sent_meanwhile(tmp_path: Path, crash: bool) -> None:
    """Also after a crash: what it is told is recorded, and taken when it goes on."""
    speaker = "do: [{e: {emit: {event: {with: {type: t, data: 7}}}}}]"
    async with bench(tmp_path) as made:
        run = await made.start(
            LISTENER[:-1] + ", {m: {call: 'probe.mark:1.0.0@default', with: {name: m, value: '${ . }'}}}]"
        )
        await made.worker.tell(run, Suspended(made.clock.now()))
        if crash:
            await made.crash()
            await made.worker.recover()
        await settled(made, await made.start(speaker, name="speaker"))
        before = called(made)
        await made.worker.tell(run, Resumed(made.clock.now()))
        row = await settled(made, run)

    assert before == []
    assert row.outcome == {"output": {"name": "m", "value": [7]}}


async def test_a_workflow_that_calls_itself_ends_with_a_named_limit(tmp_path: Path) -> None:
    """The store is not filled with runs that wait for each other."""
    body = "do: [{again: {run: {workflow: {namespace: test, name: flow, version: '1.0.0'}}}}]"
    async with bench(tmp_path) as made:
        row = await settled(made, await made.start(body))
        count = len(await made.journal.runs(limit=1000))

    assert row.outcome is not None
    assert "NESTED_RUNS_MAX" in row.outcome["error"]["detail"]
    assert count == NESTED_RUNS_MAX + 1
