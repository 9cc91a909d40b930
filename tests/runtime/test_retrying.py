"""Starting again from a task: the shared history is taken over, and nothing in it gets in the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tenuto import App, step, workflow
from tenuto.engine.model import CancelRequested, Resumed, Suspended
from tenuto.engine.ports import RunRow
from tenuto.operations.runs import retry_run
from tenuto.runtime import snapshots
from tests.runtime.bench import Bench, bench, document
from tests.runtime.test_worker import CHILD, PARENT, THREE, called


async def settled(made: Bench, run: str) -> RunRow:
    """Settle a run, or fail if that hangs."""
    async with asyncio.timeout(10.0):
        return await made.worker.settle(run)


async def test_a_task_that_a_timeout_started_is_started_again(tmp_path: Path) -> None:
    """The timeout that led there does not begin anew, and what timed out is not done again."""
    body = """
        do:
          - t:
              try:
                - slow: {call: 'probe.mark:1.0.0@default', with: {name: slow}, timeout: {after: PT1H}}
              catch: {do: [{mend: {call: 'probe.mark:1.0.0@default', with: {name: mend, value: '${ . }'}}}]}
          - after: {call: 'probe.mark:1.0.0@default', with: {name: after}}
    """
    async with bench(tmp_path) as made:
        reached = made.probe.hold("slow")
        made.probe.failing.add("mend")
        run = await made.start(body)
        await reached.wait()
        made.clock.time += 3601.0
        made.worker._timers.check()
        faulted = await settled(made, run)
        made.probe.failing.clear()
        again = await made.worker.retry(run, "mend", replace=True, data="new")
        row = await settled(made, again)

    assert (faulted.status, row.status) == ("faulted", "completed")
    assert made.probe.calls[1:] == [("mend", None), ("mend", "new"), ("after", None)]


async def test_a_replaced_input_reaches_a_task_whose_condition_ran_in_a_child(tmp_path: Path) -> None:
    """The task is started in one step and announced in the next; both see the new input."""
    body = """
        do:
          - a: {call: 'probe.mark:1.0.0@default', with: {name: a}}
          - b:
              if: '${ tojson | test("name|new") }'
              call: 'probe.mark:1.0.0@default'
              with: {name: b, value: '${ . }'}
    """
    async with bench(tmp_path) as made:
        run = await made.start(body)
        await settled(made, run)
        again = await made.worker.retry(run, "b", replace=True, data="new")
        row = await settled(made, again)
        skipped = await settled(made, await made.worker.retry(run, "b", replace=True, data="other"))
        same = await settled(made, await made.worker.retry(run, "b"))

    assert {row.status, skipped.status, same.status} == {"completed"}
    assert [value for name, value in made.probe.calls if name == "b"] == [
        {"name": "a", "value": None},
        "new",
        {"name": "a", "value": None},
    ]


async def test_a_pause_in_the_shared_history_is_over(tmp_path: Path) -> None:
    """A new run is not born suspended because its origin was when the task's turn came."""
    async with bench(tmp_path) as made:
        reached = made.probe.hold("a")
        run = await made.start(THREE)
        await reached.wait()
        await made.worker.tell(run, Suspended(made.clock.now()))
        made.probe.held["a"].set()
        await settled(made, run)
        await made.worker.tell(run, Resumed(made.clock.now()))
        await settled(made, run)
        again = await settled(made, await made.worker.retry(run, "b"))

    assert again.status == "completed"
    assert called(made) == ["a", "b", "c", "b", "c"]


async def test_the_time_between_two_runs_does_not_count(tmp_path: Path) -> None:
    """Neither for the duration of an attempt nor for that of all attempts."""
    body = """
        do:
          - t:
              try:
                - a: {call: 'probe.mark:1.0.0@default', with: {name: a}}
                - b: {call: 'probe.mark:1.0.0@default', with: {name: b}}
              catch:
                errors: {with: {status: 503}}
                retry:
                  delay: PT0S
                  limit: {attempt: {count: 2, duration: PT10M}, duration: PT1H}
    """
    async with bench(tmp_path) as made:
        reached = made.probe.hold("b")
        run = await made.start(body)
        await reached.wait()
        await made.worker.tell(run, CancelRequested(made.clock.now()))
        await settled(made, run)
        made.probe.calls.clear()
        made.clock.time += 86_400.0
        reached = made.probe.hold("b")
        again = await made.worker.retry(run, "b")
        await reached.wait()
        made.worker._timers.check()
        made.probe.failing.add("b")
        made.probe.held["b"].set()
        row = await settled(made, again)

    assert row.outcome is not None
    assert row.outcome["error"]["status"] == 503
    assert called(made) == ["b", "a", "b", "a", "b"]


async def test_a_retried_run_can_be_retried(tmp_path: Path) -> None:
    """From any of its tasks, also if it began with its first; keys are its own."""
    async with bench(tmp_path) as made:
        first = await settled(made, await made.start(THREE, {"n": 1}))
        second = await settled(made, await made.worker.retry(first.id, "a", replace=True, data={"n": 2}))
        third = await settled(made, await made.worker.retry(second.id, "b"))
        fourth = await settled(made, await made.worker.retry(second.id, "a", replace=True, data={"n": 4}))
        await made.crash()
        fifth = await settled(made, await made.worker.retry(third.id, "c"))

    assert {row.status for row in (second, third, fourth, fifth)} == {"completed"}
    assert called(made) == ["a", "b", "c", "a", "b", "c", "b", "c", "a", "b", "c", "c"]
    assert [value for name, value in made.probe.calls if name == "a"] == [{"n": 1}, {"n": 2}, {"n": 4}]
    assert len(set(made.probe.keys)) == len(made.probe.keys)


async def test_a_shared_history_is_told_to_nobody_again(tmp_path: Path) -> None:
    """Whoever hears lifecycle events hears of the new run's own only."""
    kind = "io.serverlessworkflow.task.completed.v1"
    hear = f"do: [{{l: {{listen: {{to: {{any: [{{with: {{type: {kind}}}}}], until: '. | length == 5'}}}}}}}}]"
    async with bench(tmp_path) as made:
        made.probe.failing.add("c")
        faulted = await settled(made, await made.start(THREE))
        made.probe.failing.clear()
        hearing = await made.start(hear, name="hear")
        await settled(made, await made.worker.retry(faulted.id, "c"))
        deaf = await settled(made, hearing)

    assert deaf.status == "waiting"


async def test_branches_under_way_and_children_begin_anew(tmp_path: Path) -> None:
    """What was open at the task's start is done again, as the new run's own."""
    body = """
        do:
          - f:
              fork:
                branches:
                  - x: {call: 'probe.mark:1.0.0@default', with: {name: x}}
                  - s: {run: {workflow: {namespace: test, name: child, version: '1.0.0', input: 1}}}
                  - y: {do: [{y1: {call: 'probe.mark:1.0.0@default', with: {name: y1}}},
                             {y2: {call: 'probe.mark:1.0.0@default', with: {name: y2}}}]}
    """
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        reached = [made.probe.hold(name) for name in ("x", "child", "y2")]
        run = await made.start(body)
        for event in reached:
            await event.wait()
        await made.worker.tell(run, CancelRequested(made.clock.now()))
        await settled(made, run)
        for event in made.probe.held.values():
            event.set()
        made.probe.calls.clear()
        again = await made.worker.retry(run, "y2")
        row = await settled(made, again)
        children = [await made.journal.runs(parent=parent) for parent in (run, again)]

    assert row.status == "completed"
    assert sorted(called(made)) == ["child", "x", "y2"]
    assert [[child.status for child in some] for some in children] == [["cancelled"], ["completed"]]


async def test_a_retry_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """The copied history, the turn and the task's start are one transaction."""
    async with bench(tmp_path) as made:
        await made.journal.put_documents([document(CHILD, "child")])
        done = await settled(made, await made.start(PARENT, {"n": 1}))
        made.worker.watch(lambda run, seq, entry: made.worker.fail(RuntimeError("killed")))
        refused = False
        try:
            await made.worker.retry(done.id, "after")
        except Exception:
            refused = True
        await made.crash()
        (open_run,) = await made.journal.open_runs()
        row = await settled(made, open_run.id)

    assert refused
    assert (row.status, row.origin) == ("completed", done.id)
    assert called(made) == ["child", "after", "after"]


@step
async def twice(number: int) -> int:
    """Double a number."""
    return 2 * number


@workflow
async def doubling(number: int) -> int:
    """Begin with the task that is tried again."""
    return await twice(number)


async def test_a_run_that_begins_with_the_task_has_no_state_to_keep_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first entry says only that it begins again: a snapshot that is due by then waits."""
    monkeypatch.setattr(snapshots, "ENTRIES_PER_SNAPSHOT", 1)
    async with App([doubling], database=tmp_path / "tenuto.db") as app:
        first = await app.start(doubling, 4, id="first")
        outputs = [await first.result()]
        outputs.append(await app.handle(await retry_run(app.desk, "first", "twice"), doubling).result())

    assert outputs == [8, 8]
